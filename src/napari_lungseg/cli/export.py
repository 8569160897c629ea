"""``napari-lungseg export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_lungseg.cli.terminal import say


def export(
    model: Annotated[str, typer.Argument(help="Name or folder of a model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file: .onnx, .xml (and .bin), .pt, .zip; of triton a folder.")],
    # As at export.write, whose module loads numpy; the tests hold both together.
    format: Annotated[
        Literal["onnx", "openvino", "torchscript", "bioimageio", "triton"] | None, typer.Option(help="By the file's ending by default.")
    ] = None,
    precision: Annotated[
        Literal["float32", "float16", "int8"],
        typer.Option(help="float16: half the size, computes in float32; int8: the network in int8 that the model has."),
    ] = "float32",
    author: Annotated[list[str] | None, typer.Option(help="Author for a BioImage.IO package; may be given several times.")] = None,
) -> None:
    """Write a model for other programs, from HU to probabilities; nothing is written that differs from the model on real slices."""
    from napari_lungseg.export.write import export_model

    done = export_model(model, output, format, precision, author or ())
    agreement = done.agreement
    say(
        f"{', '.join(map(str, done.files))}: {done.bytes / 2**20:.1f} MiB; on {agreement.slices} slices of the sample probabilities "
        f"differ from torch by {agreement.difference:.1e} at most, Dice {agreement.dice:.4f}."
    )
