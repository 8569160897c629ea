"""Several scans in several processes, one of which is killed."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from napari_lungseg.architecture import UNetConfig
from napari_lungseg.batch_paths import BatchItem
from napari_lungseg.card import Card
from napari_lungseg.cohort import CohortSettings, segment_files
from napari_lungseg.formats import write
from napari_lungseg.model import Model, save_model
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
