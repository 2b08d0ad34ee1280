"""The root command: finds commands on demand and turns errors into one message."""

import importlib
import io
import os
import stat
import sys

import click

COMMANDS = {
    "export": "Turn a checkpoint (or an ONNX file) into an artefact.",
    "simulate": "Classify a photograph by spikes; draw the answer and the spikes.",
    "verify": "Compare the spikes with the float model, layer by layer.",
    "energy": "Price every layer's operations under a named profile.",
    "eval": "Measure it on a labelled data set: mAP, or top-1.",
    "inspect": "Print what an artefact is: layers, bounds of their sums, memory.",
    "models": "List the networks that can be built and exported.",
}


class LazyGroup(click.Group):
    """Imports a command's module only when the command is run: ``--help`` must be instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order a user meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called ``cmd_name``, of the module of that name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"s2f_cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        """Run the chosen command; what a user can mend becomes one message and status 1."""
        _replace_what_a_terminal_lacks()
        try:
            return super().invoke(ctx)
        except click.UsageError:
            _announce_failure()
            raise
        except Exception as error:
            if not _is_ours(error):
                raise
            raise click.ClickException(str(error)) from error


def _is_ours(error: Exception) -> bool:
    """Whether the error names what is wrong, where, and how to mend it."""
    from s2f_deploy.errors import S2FError  # noqa: PLC0415 (numpy and ONNX come with it)

    models = sys.modules.get("s2f_models")
    kinds = (S2FError,) if models is None else (S2FError, models.ModelError)
    return isinstance(error, kinds)


def _replace_what_a_terminal_lacks() -> None:
    """Let a terminal without Greek letters show a question mark instead of ending us."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _announce_failure() -> None:
    """A banner without a report: the next command of a pipeline must not take us for nobody."""
    try:
        piped = stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return
    if piped:
        click.echo("s2f failed")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="s2f")
def s2f() -> None:
    """Deploy integer-trained spiking networks as binary spikes, proved and counted."""
