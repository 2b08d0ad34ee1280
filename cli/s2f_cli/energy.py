"""``s2f energy``: the bill, layer by layer."""

from pathlib import Path

import click

from s2f_cli import options
from s2f_cli.report import Report, joules
from s2f_cli.simulate import exactness
from s2f_cli.subject import load_subject
from s2f_sim import EnergyReport, energy
from s2f_sim.profile import load_profile
from s2f_sim.simulator import EngineName, simulate


@click.command()
@click.argument("image", type=options.FILE, required=False)
@options.model
@options.timesteps
@click.option(
    "--profile", default="cmos45-horowitz", show_default=True, help="Name, or a TOML file."
)
@options.engine
@options.threads
@options.json
def command(
    image: Path | None,
    model: Path | None,
    timesteps: int | None,
    profile: str,
    engine: EngineName,
    threads: int | None,
    json_path: Path | None,
) -> None:
    """Price the operations of one inference on IMAGE (default: the bundled photograph)."""
    report = Report(f"energy {image or ''}".rstrip(), json_path)
    load_profile(profile)
    subject = load_subject(report, model, [image] if image else [])
    (photograph,) = subject.photographs
    with report.progress("simulating"):
        run = simulate(subject.graph, photograph.x, timesteps, engine, threads)
    bill = energy(run, profile)
    _print(report, bill)
    report.line(exactness(run))
    report.json(
        "energy",
        {"artefact": str(subject.artefact), "image": str(photograph.path), **bill.to_dict()},
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


def _times(ratio: float | None) -> str:
    return "nothing was charged" if ratio is None else f"{ratio:.2f} times less"
