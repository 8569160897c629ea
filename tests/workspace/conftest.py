from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_lungseg.corrections import PERSON
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.workspace import Case, Labelled, Workspace, content_hash


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path / "workspace", user="ann") as opened:
        yield opened


@pytest.fixture
def volume() -> Volume:
    array = np.random.default_rng(0).integers(-1000, 400, (4, 6, 5)).astype(np.int16)
    return Volume(array, scaling((3.0, 0.5, 0.75), (-10.0, 20.0, -300.0)), "HU")


def add(workspace: Workspace, volume: Volume, name: str = "ct", path: Path | None = None, axis: int = 0) -> Case:
    return workspace.add_case(
        content_hash(volume.array), name=name, path=path, shape=volume.shape, affine=volume.affine, axis=axis, unit=volume.unit
    )


def painted(case: Case, index: int, value: int = 1) -> Labelled:
    """A slice whose every number tells which slice it is, with a first row that a person set."""
    labels = np.full(case.plane_shape, value, np.uint8)
    labels[-1] = index % 3
    origin = labels.copy()
    origin[0] |= PERSON
    return Labelled(labels, origin)
