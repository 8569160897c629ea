"""``napari-lungseg demo``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from napari_lungseg.cli.terminal import say
from napari_lungseg.errors import InputError


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
