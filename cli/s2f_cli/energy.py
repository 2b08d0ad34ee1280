"""``s2f energy``: the bill, layer by layer."""

from pathlib import Path

import click

from s2f_cli import options
from s2f_cli.report import Report, joules
from s2f_cli.simulate import exactness
from s2f_cli.subject import Subject, load_artefact, load_subject
from s2f_sim import EnergyReport, energy
from s2f_sim.profile import load_profile
from s2f_sim.published_rates import energy_of_rates, read_rates
from s2f_sim.simulator import EngineName, simulate


@click.command()
@click.argument("files", type=options.FILE, nargs=-1, metavar="[MODEL] [FILE]")
@options.model
@options.at
@options.timesteps
@click.option(
    "--profile", default="cmos45-horowitz", show_default=True, help="Name, or a TOML file."
)
@click.option(
    "--rates",
    type=options.FILE,
    help="Simulate nothing: CSV of neuron,rate[,mac], mean counts that somebody published.",
)
@options.engine
@options.threads
@options.json
def command(
    files: tuple[Path, ...],
    model: Path | None,
    at_us: int | None,
    timesteps: int | None,
    profile: str,
    rates: Path | None,
    engine: EngineName,
    threads: int | None,
    json_path: Path | None,
) -> None:
    """Price the operations of one inference on FILE (default: what is bundled with the network)."""
    report = Report(f"energy {' '.join(map(str, files))}".rstrip(), json_path)
    model, paths = options.split(files, model, most=1)
    load_profile(profile)
    if rates:
        _price_rates(report, load_artefact(report, model), rates, profile)
        return
    subject = load_subject(report, model, paths, at_us)
    (sample,) = subject.samples
    with report.progress("simulating"):
        run = simulate(subject.graph, sample.x, timesteps, engine, threads)
    bill = energy(run, profile)
    _print(report, bill)
    report.line(exactness(run))
    report.json(
        "energy",
        {"artefact": str(subject.artefact), "image": str(sample.path), **bill.to_dict()},
    )
    subject.hand_on(report)


def _print(report: Report, bill: EnergyReport) -> None:
    shown = [layer for layer in bill.layers if layer.kind != "neuron"]
    rows = [
        [
            layer.name,
            layer.kind,
            f"{layer.mean_activation:.3f}" if layer.spikes else "",
            f"{layer.ac_events:,.0f}",
            f"{layer.ac_meanfield:,.0f}",
            f"{layer.mac:,.0f}",
            joules(layer.energy_events_pj) if layer.charged else "not charged",
            joules(layer.energy_meanfield_pj) if layer.charged else "not charged",
        ]
        for layer in shown
    ]
    rows.append(
        [
            "all charged layers",
            "",
            "",
            f"{sum(x.ac_events for x in shown if x.charged):,.0f}",
            f"{sum(x.ac_meanfield for x in shown if x.charged):,.0f}",
            f"{sum(x.mac for x in shown if x.charged):,.0f}",
            joules(bill.total("energy_events_pj")),
            joules(bill.total("energy_meanfield_pj")),
        ]
    )
    report.table(
        {
            "layer": "left",
            "kind": "left",
            "mean count": "right",
            "AC exact": "right",
            "AC mean-field": "right",
            "MAC": "right",
            "energy, exact": "right",
            "energy, mean-field": "right",
        },
        rows,
    )
    report.line(
        f"dense float network: {joules(bill.ann_pj)}; spikes: {joules(bill.energy_pj)} "
        f"({bill.count_rule} counts, as the profile says): {_times(bill.ratio)}"
    )
    report.line(
        f"profile {bill.profile} ({bill.evidence}; digest {bill.profile_digest[:12]}), "
        "per image; a convention, not a measurement"
    )


def _price_rates(report: Report, subject: Subject, rates: Path, profile: str) -> None:
    bill = energy_of_rates(subject.graph, read_rates(rates), profile)
    rows = [
        [
            layer.name,
            layer.neuron,
            "" if layer.rate is None else f"{layer.rate:.4f}",
            f"{layer.mac:,}",
            joules(layer.energy_pj),
        ]
        for layer in bill.layers
    ]
    total = sum(layer.mac for layer in bill.layers)
    rows.append(["all layers", "", "", f"{total:,}", joules(bill.energy_pj)])
    columns = {
        "layer": "left",
        "reads": "left",
        "rate": "right",
        "dense MAC": "right",
        "energy": "right",
    }
    report.table(columns, rows)
    report.line(
        f"published rates x this network's products: {joules(bill.energy_pj)}, "
        f"{bill.synops / 1e9:,.3f} G synaptic operations; dense float network: "
        f"{joules(bill.dense_pj)}"
    )
    if bill.stated_pj is not None:
        report.line(f"with the products that the table itself states: {joules(bill.stated_pj)}")
    report.json("energy-rates", {"artefact": str(subject.artefact), **bill.to_dict()})
    subject.hand_on(report)


def _times(ratio: float | None) -> str:
    return "nothing was charged" if ratio is None else f"{ratio:.2f} times less"
