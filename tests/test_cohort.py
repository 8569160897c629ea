"""Several scans in several processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from phantom import chest, chest_model

from napari_lungseg.architecture import UNetConfig
from napari_lungseg.batch_paths import BatchItem
from napari_lungseg.card import Card
from napari_lungseg.cohort import segment_files
from napari_lungseg.formats import read, write
from napari_lungseg.model import Model, save_model
from napari_lungseg.one_scan import CohortSettings, segment_file
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.unet import UNet
from napari_lungseg.volume import Volume, scaling


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = UNetConfig(base_width=8, depth=2, norm="group")
    return save_model(Model(UNet(config), Card("tiny", "", config, Preprocessing(spacing_mm=4.0))), tmp_path / "tiny")


def test_a_scan_takes_a_few_bytes_for_each_voxel_beside_itself(model: Path, tmp_path: Path) -> None:
    y, x = np.mgrid[:512, :512]
    plane = np.where((x - 256) ** 2 + (y - 256) ** 2 < 200**2, 40, -1000).astype(np.int16)
    scan = Volume(np.repeat(plane[None], 64, axis=0), scaling((2.0, 0.2, 0.2)), "HU")
    write(scan, tmp_path / "scan.nii")
    list(segment_files([BatchItem(tmp_path / "scan.nii", tmp_path / "warm.nii", None)], CohortSettings(str(model), "cpu")))
    tracemalloc.start()
    task = BatchItem(tmp_path / "scan.nii", tmp_path / "mask.nii", None)
    (outcome,) = segment_files([task], CohortSettings(model=str(model), device="cpu"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not outcome.error
    # Two of them are the scan's own.
    assert peak < 10 * scan.array.size


def test_a_killed_process_costs_the_scan_in_its_hand_alone(model: Path, tmp_path: Path) -> None:
    tasks = []
    for number in range(5):
        path = tmp_path / f"scan{number}.nii.gz"
        write(Volume(np.full((3, 40, 40), 40, np.int16), scaling((4, 4, 4)), "HU"), path)
        tasks.append(BatchItem(path, tmp_path / f"mask{number}.nii.gz", None))
    outcomes = segment_files(tasks, CohortSettings(model=str(model), device="cpu", jobs=2))
    done = [next(outcomes)]
    workers = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
    for worker in workers:
        worker.kill()
    done += outcomes
    failed = [outcome for outcome in done if outcome.error]
    assert {outcome.source for outcome in done} == {task.source for task in tasks}
    assert len(failed) <= len(workers) <= 2
    for outcome in done:
        task = next(task for task in tasks if task.source == outcome.source)
        assert task.labels.exists() or (str(task.source) in outcome.error and "ended from outside" in outcome.error)


@pytest.fixture
def scans(tmp_path: Path) -> list[BatchItem]:
    """Six scans, of which the third is damaged."""
    tasks = []
    for number in range(6):
        scan = tmp_path / "scans" / f"{number}.nii.gz"
        scan.parent.mkdir(exist_ok=True)
        write(chest(9 + number, seed=number)[0], scan)
        tasks.append(BatchItem(scan, tmp_path / "out" / f"{number}.nii.gz", None))
    (tmp_path / "out").mkdir()
    tasks[2].source.write_bytes(tasks[2].source.read_bytes()[:2000])
    return tasks


@pytest.fixture
def chest_folder(tmp_path: Path) -> str:
    return str(save_model(chest_model(), tmp_path / "chest"))


def test_scans_in_turn_have_the_masks_and_the_order_of_scans_one_by_one(scans, chest_folder, tmp_path) -> None:
    settings = CohortSettings(chest_folder, "cpu")
    outcomes = list(segment_files(scans, settings))
    assert [outcome.source for outcome in outcomes] == [task.source for task in scans]
    assert [bool(outcome.error) for outcome in outcomes] == [False, False, True, False, False, False]
    for number, task in enumerate(scans):
        alone = replace(task, labels=tmp_path / f"alone{number}.nii.gz")
        if number != 2:
            list(segment_files([alone], settings))
            assert np.array_equal(read(alone.labels).array, read(task.labels).array)
    assert not scans[2].labels.exists()


def test_a_scan_that_lacks_memory_beside_another_is_done_alone_at_the_end(scans, chest_folder, monkeypatch) -> None:
    short = [scans[1]]

    def segmented(task: BatchItem, *rest):
        if task in short:
            short.remove(task)
            raise MemoryError
        return segment_file(task, *rest)

    monkeypatch.setattr("napari_lungseg.cohort.segment_file", segmented)
    outcomes = list(segment_files(scans, CohortSettings(chest_folder, "cpu")))
    assert not short
    assert [outcome.source for outcome in outcomes] == [task.source for task in (scans[0], *scans[2:], scans[1])]
    assert not outcomes[-1].error
    assert scans[1].labels.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signal")
def test_an_interrupted_run_leaves_whole_files_and_is_gone_on_with(chest_folder, tmp_path) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    folder.mkdir()
    short = chest()[0]
    for number in range(8):
        # So long that the last are not done before the signal comes.
        array = np.resize(short.array, (20 if number < 2 else 400, *short.shape[1:]))
        write(Volume(array, short.affine, "HU"), folder / f"{number}.nii.gz")
    command = [sys.executable, "-m", "napari_lungseg", "segment", str(folder), "-o", str(out), "--model", chest_folder]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Who runs the tests in the background may have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    told = next(line for line in process.stdout if "mL" in line)
    process.send_signal(signal.SIGINT)
    told += process.stdout.read()
    assert process.wait() != 0
    assert "Traceback" not in told
    masks = {mask: mask.stat().st_mtime_ns for mask in out.glob("*.nii.gz")}
    assert 1 <= len(masks) < 8
    for mask in masks:
        assert read(mask).array.any()
    (first,) = (mask for mask in masks if mask.name.startswith("0"))
    subprocess.run(command, capture_output=True, check=True)
    assert len(list(out.glob("*.nii.gz"))) == 8
    assert first.stat().st_mtime_ns == masks[first], "what is done is not done again"
