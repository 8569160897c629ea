from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_lungseg.corrections import PERSON
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.workspace import Case, Labelled, Workspace, content_hash

needs_posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals, users and mounts")
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
IN_MEMORY = r"corrections since \d\d:\d\d are only in memory; .*choose another workspace\.$"

# Writers are forked from one process, which spares ten imports.
WRITERS = """
import itertools, os, sys
import numpy as np
from napari_lungseg.workspace import Workspace

def write():
    workspace = Workspace(sys.argv[1], user="writer")
    case = workspace.add_case("c", name="ct", path=None, shape=(3, 64, 64), affine=np.eye(4), axis=0, unit="HU")
    first = workspace.revisions(case, 0)[-1].by_person + 1 if workspace.revisions(case, 0) else 1
    for count in itertools.count(first):
        # All three slices hold the count: a half transaction would show.
        labels = np.random.default_rng(count).integers(0, 3, (64, 64)).astype(np.uint8)
        origin = np.zeros((64, 64), np.uint8)
        origin.ravel()[:count] = 0x80
        workspace.save(case, {index: (labels, origin) for index in range(3)}, cause=str(count), percent={0: labels})
        print(count, flush=True)

for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        write()
    print("pid", child, flush=True)
    os.waitpid(child, 0)
    print("end", flush=True)
"""


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
