"""``s2f verify``: are the spikes the float model?"""

import math
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from s2f_cli import options
from s2f_cli.report import Report, write_file
from s2f_cli.subject import load_artefact, load_subject
from s2f_deploy.errors import InputError
from s2f_sim import DeployedReport, VerifyReport, verify
from s2f_sim.answer import CLASSIFICATION
from s2f_sim.certificate import read_certificate
from s2f_sim.dataset import Samples, evenly, sample_files
from s2f_sim.simulator import EngineName


@click.command()
@click.argument("files", type=options.FILE, nargs=-1, metavar="[MODEL] [FILES]...")
@options.model
@click.option(
    "--dataset", type=options.FILE, help="Folder of pictures or recordings, and of folders of them."
)
@click.option(
    "--samples", type=click.IntRange(1), metavar="N", help="Only N of them, evenly spaced."
)
@click.option(
    "--certificate", type=options.FILE, help="Write what was compared, by digests, to repeat it."
)
@click.option("--against", type=options.FILE, help="Repeat what a certificate says was compared.")
@options.at
@options.engine
@options.threads
@options.json
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[Path, ...],
    model: Path | None,
    dataset: Path | None,
    samples: int | None,
    certificate: Path | None,
    against: Path | None,
    at_us: int | None,
    engine: EngineName,
    threads: int | None,
    json_path: Path | None,
) -> None:
    """Compare the spikes with the networks stored beside them, on FILES or a dataset.

    Float32 weights: with the float model; exits with status 1 if any count differs beyond its
    computed rounding bound. Integer weights: with the deployed network, run by ONNX Runtime; exits
    with status 1 if any count or any bit of the output differs.
    """
    report = Report(f"verify {' '.join(map(str, files))}".rstrip(), json_path)
    model, paths = options.split(files, model, most=len(files))
    if paths and dataset:
        raise click.UsageError("give files or --dataset, not both")
    expected = read_certificate(against) if against else None
    chosen: Sequence[NDArray[np.float32]]
    if dataset:
        subject = load_artefact(report, model)
        found_files = sample_files(dataset, subject.preparation.suffixes)
        chosen = Samples(evenly(found_files, samples), subject.preparation)
    else:
        subject = load_subject(report, model, paths, at_us)
        chosen = evenly([sample.x for sample in subject.samples], samples)
    if (certificate or expected) and not subject.graph.deployed:
        raise InputError(
            "only integer weights can be certified: sums of float32 depend on their order",
            where=str(subject.artefact),
            fix="export the network with --weights int8 or int16",
        )
    with report.progress("verifying", len(chosen)) as bar:
        found = verify(subject.graph, chosen, engine=engine, threads=threads, progress=bar.update)
    classifies = subject.task == CLASSIFICATION
    if isinstance(found, DeployedReport):
        _print_deployed(report, found, classifies)
    else:
        _print_float(report, found, classifies)
    differences = []
    if isinstance(found, DeployedReport) and certificate:
        write_file(certificate, found.certificate.to_json(), "certificate")
        report.line(f"certificate: {certificate}")
    if isinstance(found, DeployedReport) and expected:
        differences = found.certificate.differences(expected)
        same = "REPEATED: every digest is the certificate's"
        report.line(f"NOT REPEATED: {', '.join(differences[:3])}" if differences else same)
    document = {"artefact": str(subject.artefact), **found.to_dict()}
    report.json("verify", document | ({"not_repeated": differences} if expected else {}))
    subject.hand_on(report)
    if not found.equivalent or differences:
        ctx.exit(1)


def _print_deployed(report: Report, found: DeployedReport, classifies: bool) -> None:
    rows = [
        [
            layer.name,
            f"{layer.neurons:,}",
            f"{layer.mismatches:,}",
            "" if layer.margin is None else f"{layer.margin:.1e}",
            f"{layer.ties:,}" if layer.margin is not None else "",
            f"{layer.changed:,}",
            f"{layer.changed / layer.neurons:.1%}",
        ]
        for layer in found.layers
    ]
    report.table(
        {
            "neuron layer": "left",
            "neurons": "right",
            "differ": "right",
            "nearest comparator": "right",
            "ties": "right",
            "not the float model's": "right",
            "share": "right",
        },
        rows,
    )
    for output in found.outputs:
        report.line(
            f"output {output.name}: {output.mismatches:,} of {output.values:,} values differ; from "
            f"the float model's by up to {output.largest_difference:.2e} (cosine at least "
            f"{output.least_cosine:.4f})"
            + f", another class in {output.changed_classes} of {found.samples}"
            * classifies
        )
    if found.wide_layers:
        report.line(
            f"{len(found.wide_layers)} layers can pass 2^24 units of their grid: {found.runtime} "
            "ran them split, or in double precision"
        )
    report.line(
        f"{found.neurons:,} neurons compared with the deployed network in {found.runtime} on "
        f"{found.samples} sample(s): {found.mismatches:,} differ; integer weights changed "
        f"{found.changed:,} ({found.changed / found.neurons:.2%}) of the float model's counts"
    )
    report.line(
        "EQUIVALENT: every count and every bit of the output"
        if found.equivalent
        else f"NOT EQUIVALENT: {found.mismatches:,} counts or output values differ"
    )


def _print_float(report: Report, found: VerifyReport, classifies: bool) -> None:
    rows = [
        [
            layer.name,
            f"{layer.neurons:,}",
            f"{layer.mismatches:,}",
            f"{layer.explained:,}",
            f"{layer.worst_margin:.2g}" if layer.mismatches else "",
            f"{max(layer.reference_bound, layer.spike_bound):.1e}",
            f"{layer.end_to_end_mismatches:,}",
        ]
        for layer in found.layers
    ]
    report.table(
        {
            "layer, fed the float model's counts": "left",
            "neurons": "right",
            "differ": "right",
            "explained": "right",
            "margin/bound": "right",
            "largest bound": "right",
            "differ end to end": "right",
        },
        rows,
    )
    for output in found.outputs:
        bounded = math.isfinite(output.bound)
        allowed = (
            f"allowed {output.bound:.2e}" if bounded else "not bounded through the host's part"
        )
        report.line(
            f"output {output.name}: largest difference {output.max_abs_difference:.2e} "
            f"({allowed}), end to end {output.end_to_end_max_abs_difference:.2e}"
            + f"; same class in {output.same_class} of {found.samples}"
            * classifies
        )
    if found.first_divergence:
        report.line(f"end to end, counts first differ at {found.first_divergence}")
    report.line(
        f"{found.neurons:,} neurons compared with ONNX Runtime on {found.samples} sample(s): "
        f"{found.mismatches:,} counts differ, {found.explained:,} of them by rounding"
    )
    verdict = "EQUIVALENT" if found.equivalent else "NOT EQUIVALENT"
    report.line(f"{verdict}: {found.unexplained:,} unexplained mismatches")
