"""``napari-lungseg models``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_lungseg.cli.terminal import say

models = typer.Typer(help="List, show, import, accept and remove models.", rich_markup_mode=None, no_args_is_help=True)


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
    path: Annotated[
        Path,
        typer.Argument(
            help="A model's folder, weights of lungmask (.pth), an nnU-Net export, an ONNX file, a BioImage.IO package, or a MONAI bundle."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name to import it under; its own by default.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NUMBER=NAME", help="ONNX: a class, in the order of its channels; once for each."),
    ] = None,
    spacing: Annotated[float | None, typer.Option(help="ONNX: pixel size in mm at which it reads slices.")] = None,
    window: Annotated[tuple[float, float] | None, typer.Option(help="ONNX: HU range beyond which values are clipped.")] = None,
    values: Annotated[tuple[float, float] | None, typer.Option(help="ONNX: what it reads for the ends of the window, such as 0 1.")] = None,
    activation: Annotated[
        Literal["none", "sigmoid", "softmax"] | None, typer.Option(help="ONNX: what makes probabilities of its output; none by default.")
    ] = None,
    stride: Annotated[int | None, typer.Option(help="ONNX: rows and columns must be multiples of this; 32 by default.")] = None,
    licence: Annotated[str, typer.Option(help="ONNX: its licence.")] = "",
    description: Annotated[str, typer.Option(help="ONNX: what it finds, and where it fails.")] = "",
) -> None:
    """Check a model and copy it into your library. What an ONNX file does not say of itself is given by options."""
    from napari_lungseg.card import read_card
    from napari_lungseg.cli.terminal import named_labels
    from napari_lungseg.foreign.onnx_file import OnnxFacts
    from napari_lungseg.library import CARD_FILE
    from napari_lungseg.model import import_model

    facts = OnnxFacts(named_labels(label), spacing, window, values, activation, stride, licence, description)
    folder = import_model(path, name, None if facts == OnnxFacts() else facts)
    say(f"Imported {folder}")
    if licence := read_card(folder / CARD_FILE).licence:
        say(f"Licence: {licence}")


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
