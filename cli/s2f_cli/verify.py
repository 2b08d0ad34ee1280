"""``s2f verify``: are the spikes the float model?"""

from pathlib import Path

import click

from s2f_cli import options
from s2f_cli.report import Report
from s2f_cli.subject import load_subject
from s2f_sim import VerifyReport, verify
from s2f_sim.simulator import EngineName


@click.command()
@click.argument("images", type=options.FILE, nargs=-1)
@options.model
@options.engine
@options.threads
@options.json
@click.pass_context
def command(
    ctx: click.Context,
    images: tuple[Path, ...],
    model: Path | None,
    engine: EngineName,
    threads: int | None,
    json_path: Path | None,
) -> None:
    """Compare spikes and float model on IMAGES (default: the bundled photograph).

    Exits with status 1 if any count differs beyond its computed rounding bound.
    """
    report = Report(f"verify {' '.join(map(str, images))}".rstrip(), json_path)
    subject = load_subject(report, model, images)
    samples = [photograph.x for photograph in subject.photographs]
    with report.progress("verifying") as bar:
        found = verify(subject.graph, samples, engine=engine, threads=threads, progress=bar.update)
    _print(report, found)
    report.json("verify", {"artefact": str(subject.artefact), **found.to_dict()})
    subject.hand_on(report)
    if not found.equivalent:
        ctx.exit(1)


def _print(report: Report, found: VerifyReport) -> None:
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
        report.line(
            f"output {output.name}: largest difference {output.max_abs_difference:.2e} "
            f"(allowed {output.bound:.2e}), end to end {output.end_to_end_max_abs_difference:.2e}; "
            f"same class in {output.same_class} of {found.samples}"
        )
    if found.first_divergence:
        report.line(f"end to end, counts first differ at {found.first_divergence}")
    report.line(
        f"{found.neurons:,} neurons compared with ONNX Runtime on {found.samples} sample(s): "
        f"{found.mismatches:,} counts differ, {found.explained:,} of them by rounding"
    )
    verdict = "EQUIVALENT" if found.equivalent else "NOT EQUIVALENT"
    report.line(f"{verdict}: {found.unexplained:,} unexplained mismatches")
