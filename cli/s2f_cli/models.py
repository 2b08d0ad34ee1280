"""``s2f models``: what can be built, and what comes with the package."""

from pathlib import Path
from typing import Any

import click

import s2f_models
from s2f_cli import options
from s2f_cli.bundled import BUNDLED
from s2f_cli.report import Report


@click.command()
@options.json
def command(json_path: Path | None) -> None:
    """List the networks that can be built and exported, and the trained ones that are bundled."""
    report = Report("models", json_path)
    networks = [_describe(name) for name in s2f_models.list_models()]
    report.table(
        {
            "network": "left",
            "task": "left",
            "widths": "left",
            "blocks": "left",
            "D": "right",
            "T": "right",
            "classes": "right",
            "parameters": "right",
        },
        [
            [
                network["name"],
                network["task"],
                ", ".join(map(str, network["embed_dims"])),
                " + ".join(map(str, network["depths"])),
                str(network["levels"]),
                str(network["timesteps"]),
                str(network["num_classes"]),
                f"{network['parameters']:,}",
            ]
            for network in networks
        ],
    )
    report.line()
    report.table(
        {"bundled, by the name that --model takes": "left", "": "left"},
        [[name, bundled.about] for name, bundled in BUNDLED.items()],
    )
    bundled = {name: str(b.artefact) for name, b in BUNDLED.items()}
    report.json("models", {"networks": networks, "bundled": bundled})


def _describe(name: str) -> dict[str, Any]:
    config = s2f_models.find_config(name)
    return {
        "name": name,
        "task": config.task,
        "embed_dims": list(config.embed_dims),
        "depths": list(config.depths),
        "levels": config.levels,
        "timesteps": config.timesteps,
        "num_classes": config.num_classes,
        "strides": list(config.strides),
        "parameters": s2f_models.count_parameters(name),
    }
