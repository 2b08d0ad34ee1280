"""``s2f models``: what can be built."""

from pathlib import Path
from typing import Any

import click

import s2f_models
from s2f_cli import options
from s2f_cli.report import Report
from s2f_cli.subject import BUNDLED_MODEL


@click.command()
@options.json
def command(json_path: Path | None) -> None:
    """List the networks that can be built and exported, and the bundled artefact."""
    report = Report("models", json_path)
    networks = [_describe(name) for name in s2f_models.list_models()]
    report.table(
        {
            "network": "left",
            "widths": "left",
            "blocks": "left",
            "heads": "right",
            "D": "right",
            "classes": "right",
            "parameters": "right",
        },
        [
            [
                network["name"],
                ", ".join(map(str, network["embed_dims"])),
                " + ".join(map(str, network["depths"])),
                str(network["num_heads"]),
                str(network["levels"]),
                str(network["num_classes"]),
                f"{network['parameters']:,}",
            ]
            for network in networks
        ],
    )
    report.line(f"bundled artefact: {BUNDLED_MODEL}")
    report.json("models", {"networks": networks, "bundled": str(BUNDLED_MODEL)})


def _describe(name: str) -> dict[str, Any]:
    config = s2f_models.find_config(name)
    return {
        "name": name,
        "embed_dims": list(config.embed_dims),
        "depths": list(config.depths),
        "num_heads": config.num_heads,
        "levels": config.levels,
        "num_classes": config.num_classes,
        "strides": list(config.strides),
        "parameters": s2f_models.count_parameters(name),
    }
