"""Messages over a pipe: arrays by handle, plain values only, and what happens where there is no room."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantom import chest

from napari_lungseg.engine import arrays
from napari_lungseg.engine.messages import Returned
from napari_lungseg.engine.wire import Wire


@pytest.fixture
def pipe() -> tuple[Connection, Connection]:
    return multiprocessing.Pipe()  # type: ignore[return-value]


def shared_files() -> set[Path]:
    return {path for folder, _ in arrays._Folders.made for path in folder.iterdir() if path.name != arrays.LOCK and not path.suffix}


def test_a_large_array_goes_by_handle_and_is_the_receivers(pipe) -> None:
    sender, receiver = map(Wire, pipe)
    volume = chest(slices=60)[0]
    before = shared_files()
    sender.send(Returned(1, (volume, volume.array)))
    assert len(shared_files() - before) == 1
    found = receiver.receive()
    assert np.array_equal(found.value[0].array, volume.array)
    assert found.value[0].array is found.value[1]
    assert found.value[0].unit == "HU"
    found.value[1][0, 0, 0] = 7
    assert volume.array[0, 0, 0] != 7


def test_the_shared_file_is_gone_once_it_is_taken_or_at_the_latest_with_the_array(pipe) -> None:
    sender, receiver = map(Wire, pipe)
    before = shared_files()
    for _ in range(3):
        sender.send(Returned(1, np.ones((200, 200, 3))))
        found = receiver.receive()
        view = found.value[1:]
        del found
        assert (view == 1).all()
        del view
    assert shared_files() <= before


def test_views_of_any_order_arrive_as_they_look(pipe) -> None:
    sender, receiver = map(Wire, pipe)
    array = np.arange(60_000).reshape(30, 40, 50)
    for view in (array[::-1, ::2, 5:], array.transpose(2, 0, 1), np.broadcast_to(array[0], (9, 40, 50)), np.asfortranarray(array)):
        sender.send(Returned(1, view))
        assert np.array_equal(receiver.receive().value, view)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space is reserved on Linux")
def test_without_room_in_memory_the_temporary_folder_is_taken(pipe, monkeypatch) -> None:
    sender, receiver = map(Wire, pipe)
    reserve = os.posix_fallocate
    refused: list[str] = []

    def full(file: int, start: int, size: int) -> None:
        path = os.readlink(f"/proc/self/fd/{file}")
        if path.startswith(str(arrays.IN_MEMORY)):
            refused.append(path)
            raise OSError(errno.ENOSPC, "No space left on device")
        reserve(file, start, size)

    monkeypatch.setattr(os, "posix_fallocate", full)
    sender.send(Returned(1, np.ones((300, 300))))
    assert (receiver.receive().value == 1).all()
    assert refused
    assert not any(Path(path).exists() for path in refused)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space is reserved on Linux")
def test_without_any_room_it_is_an_error_and_nothing_is_left(pipe, monkeypatch) -> None:
    sender, _ = map(Wire, pipe)
    before = shared_files()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(MemoryError, match="no room"):
        sender.send(Returned(1, np.ones((300, 300))))
    assert shared_files() <= before


@pytest.mark.parametrize("value", [os.system, eval, Path.unlink, sys.exit, arrays.drop, Wire.close])
def test_functions_are_not_admitted(pipe, value) -> None:
    ends = pipe
    ends[0].send_bytes(pickle.dumps(value))
    with pytest.raises(pickle.UnpicklingError, match="not admitted"):
        Wire(ends[1]).receive()


def test_folders_of_dead_processes_are_removed_and_those_of_living_ones_stay(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(arrays, "_places", lambda: [tmp_path])
    dead, alive, foreign = (tmp_path / f"{arrays.PREFIX}{name}" for name in ("123-dead", "124-alive", "125-x"))
    for folder in (dead, alive, foreign):
        folder.mkdir()
    (dead / arrays.LOCK).touch()
    with arrays.FileLock(alive / arrays.LOCK):
        arrays._sweep()
    assert not dead.exists()
    assert alive.exists()
    assert foreign.exists()  # of a process that is about to lock it
