"""Run ``napari-lungseg`` in a terminal: parse, print and set the exit status; the work is done elsewhere."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn, cast

import typer

from napari_lungseg import __version__
from napari_lungseg.cli.demo import demo
from napari_lungseg.cli.dicomweb import dicomweb
from napari_lungseg.cli.evaluate import evaluate
from napari_lungseg.cli.export import export
from napari_lungseg.cli.measure import measure
from napari_lungseg.cli.models import models
from napari_lungseg.cli.segment import segment
from napari_lungseg.cli.terminal import INTERRUPTED, SOME_FAILED, complain, is_cut_off, say
from napari_lungseg.cli.train import train
from napari_lungseg.cli.workspace import workspace
from napari_lungseg.errors import InputError, memory_sentence

RESEARCH_ONLY = "For research, not for diagnosis."

app = typer.Typer(
    help=f"Lung masks in CT from a U-Net. {RESEARCH_ONLY}", rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False
)
app.add_typer(models, name="models")
app.add_typer(workspace, name="workspace")
app.add_typer(dicomweb, name="dicomweb")
for command in (segment, train, evaluate, measure, export, demo):
    app.command()(command)


def main(args: list[str] | None = None) -> NoReturn:
    """Run the terminal program and exit: 0 success, 1 some of many inputs failed, 2 unusable arguments or input."""
    # click's base class of errors, of which newer typers carry a copy of their own
    usage_error = cast("type[Exception]", typer.BadParameter.__mro__[2])
    try:
        status = app(args, prog_name="napari-lungseg", standalone_mode=False)
    except InputError as error:
        status = complain(str(error))
    except MemoryError as error:
        status = complain(memory_sentence(error))
    except typer.Abort:
        status = INTERRUPTED
    except usage_error as error:
        status = complain(error.format_message())  # type: ignore[attr-defined]
    status = status if isinstance(status, int) else 0
    sys.exit(status or (SOME_FAILED if is_cut_off() else 0))


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"napari-lungseg {__version__}\n{RESEARCH_ONLY}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Show the help when no command is given."""
    if context.invoked_subcommand is None:
        say(context.get_help())
