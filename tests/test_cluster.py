"""A real Dask cluster on this machine: every scan is done, none twice, also where a worker is killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dask_cluster import Cluster
from phantom import chest, chest_model

from napari_lungseg import cli
from napari_lungseg.batch_paths import plan_batch
from napari_lungseg.cluster import segment_on_cluster
from napari_lungseg.cohort import segment_files
from napari_lungseg.errors import InputError
from napari_lungseg.formats import read, write
from napari_lungseg.model import save_model
from napari_lungseg.one_scan import CohortSettings


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    folder = tmp_path / "cluster"
    folder.mkdir()
    started = Cluster(folder)
    yield started
    started.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(chest_model(), tmp_path / "models" / "chest")


def write_scans(folder: Path, number: int) -> Path:
    folder.mkdir()
    for seed in range(number):
        write(chest(slices=40, seed=seed)[0], folder / f"scan{seed}.nii.gz")
    return folder


def test_the_same_is_made_on_a_cluster_as_on_this_computer(cluster, model, tmp_path, monkeypatch, capsys):
    for name in ("one", "two"):
        cluster.add_worker(name)
    write_scans(tmp_path / "scans", 3)
    (tmp_path / "scans" / "broken.nii.gz").write_bytes(b"nothing")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, dict[str, dict]]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["segment", "scans", *arguments, "--model", "models/chest", "--report", "run.json", "--summary"])
        return int(ended.value.code), {Path(one["input"]).name: one for one in json.loads(Path("run.json").read_text())["runs"]}

    status, there = run("-o", "there", "--scheduler", cluster.address)
    shutil.rmtree(tmp_path / "cluster" / "one", ignore_errors=True)
    assert status == 1
    assert "scan0.nii.gz" in there
    assert "error" in there["broken.nii.gz"]
    _, here = run("-o", "here")
    for name in ("scan0", "scan1", "scan2"):
        assert np.array_equal(read(f"there/{name}_lungs.nii.gz").array, read(f"here/{name}_lungs.nii.gz").array)
        assert there[f"{name}.nii.gz"]["voxels"] == here[f"{name}.nii.gz"]["voxels"]
    assert Path("there/lungseg_cases.csv").read_text().count("scan") == Path("here/lungseg_cases.csv").read_text().count("scan")
    again, _ = run("-o", "there", "--scheduler", cluster.address)
    assert again == 1
    assert "3 of 4 were done already" in capsys.readouterr().err


def test_where_a_worker_is_killed_all_is_done_and_nothing_twice(cluster, model, tmp_path):
    victim = cluster.add_worker("one")
    cluster.add_worker("two")
    tasks, _ = plan_batch([write_scans(tmp_path / "scans", 8)], tmp_path / "out")
    outcomes = segment_files(
        tasks, CohortSettings(str(model)), elsewhere=lambda tasks, settings: segment_on_cluster(cluster.address, tasks, settings)
    )
    done = [next(outcomes)]
    # Of other masks that are there by now the worker may not have noted yet that they are done.
    written = {file: file.stat().st_mtime_ns for file in [Path(done[0].record["output"])]}
    victim.kill()
    done += outcomes
    assert [outcome.error for outcome in done] == [""] * 8
    assert {outcome.source for outcome in done} == {task.source for task in tasks}
    # What was told as done is as it was: it was not written a second time.
    assert {file: file.stat().st_mtime_ns for file in written} == written
    assert len(list((tmp_path / "out").glob("*_lungs.nii.gz"))) == 8


def test_the_cluster_keeps_no_outcome_that_was_told(cluster, model, tmp_path):
    from distributed import Client

    cluster.add_worker("one")
    tasks, _ = plan_batch([write_scans(tmp_path / "scans", 4)], tmp_path / "out")
    outcomes = segment_on_cluster(cluster.address, tasks, CohortSettings(str(model)))
    told = [next(outcomes) for _ in tasks]

    def kept(dask_scheduler) -> int:
        return sum(str(key).startswith("_segment") for key in dask_scheduler.tasks)

    with Client(cluster.address, set_as_default=False) as looking:
        # The last one is let go of when the next is asked for.
        cluster.wait(lambda: looking.run_on_scheduler(kept) <= 1)
    assert [outcome.error for outcome in told] == [""] * 4
    assert list(outcomes) == []


def test_no_scheduler_or_no_worker_is_one_sentence(cluster, model, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_lungseg.remote.connection.ANSWER_S", 1.0)
    tasks, _ = plan_batch([write_scans(tmp_path / "scans", 1)], tmp_path / "out")
    with pytest.raises(InputError, match="has no workers"):
        list(segment_on_cluster(cluster.address, tasks, CohortSettings(str(model))))
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(InputError, match="no Dask scheduler"):
            list(segment_on_cluster(address, tasks, CohortSettings(str(model))))
