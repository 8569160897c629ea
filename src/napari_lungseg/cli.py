"""The terminal: ``napari-lungseg``. It parses, prints and sets the exit status; the work is done elsewhere."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import typer

from napari_lungseg import __version__
from napari_lungseg.architecture import DEFAULT_MODEL
from napari_lungseg.cli_evaluate import evaluate
from napari_lungseg.cli_measure import measure
from napari_lungseg.cli_train import train
from napari_lungseg.cli_workspace import workspace
from napari_lungseg.errors import InputError
from napari_lungseg.terminal import INTERRUPTED, SOME_FAILED, UNUSABLE, complain, memory_sentence, printable, say

#: Names of labels that are lung.
LUNGS = {"right", "left", "lungs"}

RESEARCH_ONLY = "For research, not for diagnosis."

app = typer.Typer(
    help=f"Lung masks in CT from a U-Net. {RESEARCH_ONLY}", rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False
)
models = typer.Typer(help="List, show, import, accept and remove models.", rich_markup_mode=None, no_args_is_help=True)
app.add_typer(models, name="models")
app.add_typer(workspace, name="workspace")
app.command("measure")(measure)
app.command("train")(train)
app.command("evaluate")(evaluate)


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
    sys.exit(status if isinstance(status, int) else 0)


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


@app.command()
def segment(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files, DICOM folders, or folders of scans.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A file (its ending decides the format) or, for several scans, a folder.")],
    model: Annotated[str, typer.Option(help="Name or folder of a model.")] = DEFAULT_MODEL,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    threshold: Annotated[
        float, typer.Option(help="Probability, 0 to 1, from which on a voxel is lung, or what else the model finds.")
    ] = 0.5,
    save_probability: Annotated[bool, typer.Option("--save-probability", help="Write the probability (percent) as well.")] = False,
    no_postprocess: Annotated[bool, typer.Option("--no-postprocess", help="Only threshold.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write what was done to this JSON file.")] = None,
    jobs: Annotated[int, typer.Option(help="Scans at a time, each in a process of its own.")] = 1,
    series: Annotated[str | None, typer.Option(help="Which series (number or description) or point of time, if several.")] = None,
    fill_gaps: Annotated[bool, typer.Option("--fill-gaps", help="Interpolate where DICOM slices are missing or uneven.")] = False,
) -> int:
    """Segment the lungs: label 1 is the right lung, 2 the left. Other models have the labels of their cards."""
    from tqdm import tqdm

    from napari_lungseg.cohort import CohortSettings, Outcome, segment_files, write_report
    from napari_lungseg.files import new_path
    from napari_lungseg.mask import MaskSettings
    from napari_lungseg.tasks import Task, plan

    mask = MaskSettings.without_postprocessing(threshold) if no_postprocess else MaskSettings(threshold=threshold)
    settings = CohortSettings(model, device, mask, jobs, series, fill_gaps)
    if report is not None:
        new_path(report)
    tasks, unusable = plan(inputs, output, save_probability=save_probability)
    outcomes = [Outcome(path, {}, error) for path, error in unusable.items()]
    several = len(tasks) + len(outcomes) > 1
    bar = tqdm(disable=None, unit=" slices" if jobs == 1 else " scans", total=len(tasks), file=sys.stderr, leave=False)

    def progress(task: Task, done: int, total: int) -> None:
        if done == 1:
            bar.reset(total)
            bar.set_description(printable(task.source.name), refresh=False)
        bar.update(done - bar.n)

    with bar:
        for outcome in segment_files(tasks, settings, progress):
            outcomes.append(outcome)
            if jobs > 1:
                bar.update()
            with tqdm.external_write_mode():
                for notice in outcome.record.get("notices", ()):
                    say(f"{outcome.source}: {notice}", err=True)
                if outcome.record:
                    say(_summary(outcome.record))
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        complain(outcome.error)
    if len(failed) == len(outcomes):
        return UNUSABLE
    if report is not None:
        write_report(report, __version__, outcomes)
    if failed and several:
        say(f"{len(failed)} of {len(outcomes)} scans failed.", err=True)
    return SOME_FAILED if failed else 0


def _summary(record: dict[str, Any]) -> str:
    voxels, volumes = record["voxels"], record["volume_ml"]
    if volumes is not None:
        # Lungs have liters, a tumour may have less than one mL.
        found = [f"{name} {volume:.{0 if name in LUNGS else 1}f} mL" for name, volume in volumes.items()]
    elif voxels.keys() <= LUNGS:
        found = [f"{sum(voxels.values())} voxels of lung"]
    else:
        found = [f"{name} {count} voxels" for name, count in voxels.items()]
    return f"{record['output']}: {', '.join(found)} ({record['seconds']:.1f} s)"


@models.command("list")
def list_them() -> None:
    """List the models that can be used by name."""
    from napari_lungseg.library import list_models

    for entry in list_models(candidates=True):
        about = entry.card.description.partition("\n")[0] if entry.card else entry.problem
        mark = "" if entry.card is None or entry.card.accepted else "  (candidate)"
        say(f"{entry.name}  ({entry.place}){mark}  {about}")


@models.command()
def show(name: Annotated[str, typer.Argument(help="Name or folder of a model.")]) -> None:
    """Print a model's card."""
    from napari_lungseg.card import read_card
    from napari_lungseg.library import CARD_FILE, find_model

    typer.echo(read_card(find_model(name) / CARD_FILE).to_json(), nl=False)


@models.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="Folder with card.json and weights.safetensors.")],
    name: Annotated[str | None, typer.Option(help="Name to import it under; the card's own by default.")] = None,
) -> None:
    """Check a model and copy it into your library."""
    from napari_lungseg.model import import_model

    say(f"Imported {import_model(folder, name)}")


@models.command()
def accept(name: Annotated[str, typer.Argument(help="Name of a candidate in your library.")]) -> None:
    """Make a candidate, a model not shown to be better than its base, one that is offered like the others."""
    from napari_lungseg.library import accept_model

    accept_model(name)
    say(f"Accepted {name}")


@models.command()
def remove(name: Annotated[str, typer.Argument(help="Name of a model in your library.")]) -> None:
    """Remove a model from your library."""
    from napari_lungseg.library import remove_model

    remove_model(name)
    say(f"Removed {name}")


@app.command()
def demo(
    screenshot: Annotated[Path | None, typer.Option(help="Save a picture of the window here and exit.")] = None,
) -> None:
    """Open napari on the sample CT and segment it."""
    if find_spec("napari") is None:
        raise InputError("The demo needs napari, which is not installed; install it with: pip install 'napari-lungseg[all]'")
    from napari_lungseg.widgets.demo import run

    saved = run(screenshot)
    if saved is not None:
        say(f"Saved {saved}")
