"""An interrupted run goes on where it stopped, and what was done is done again only where something has changed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from phantom import chest, chest_model, two_class_model

from napari_lungseg import cli
from napari_lungseg.batch_paths import RECORDS
from napari_lungseg.cases import CASES_CSV
from napari_lungseg.done_cases import at_work
from napari_lungseg.errors import InputError
from napari_lungseg.formats import read, write
from napari_lungseg.model import save_model
from napari_lungseg.volume import Volume

DONE = "were done already"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(save_model(chest_model(), tmp_path_factory.mktemp("models") / "chest"))


@pytest.fixture
def scans(tmp_path: Path, monkeypatch) -> Path:
    """Three scans that differ."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "scans"
    folder.mkdir()
    for seed, name in enumerate("abc"):
        write(chest(slices=3, seed=seed)[0], folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def run(capsys, model):
    """Segment into ``out``; gives the exit status, the records by the scan's name, and the lines of stderr."""

    def call(*args, inputs=("scans",)) -> tuple[int, dict[str, dict], list[str]]:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(arg) for arg in ("segment", *inputs, "-o", "out", "--report", "run.json", "--model", model, *args)])
        runs = json.loads(Path("run.json").read_text())["runs"]
        return int(ended.value.code), {Path(one["input"]).name[0]: one for one in runs}, capsys.readouterr().err.splitlines()

    return call


def times() -> dict[str, int]:
    """When each mask was written."""
    return {path.name[0]: path.stat().st_mtime_ns for path in Path("out").iterdir() if path.is_file()}


def written_since(before: dict[str, int]) -> str:
    return "".join(name for name, when in sorted(times().items()) if before.get(name) != when)


def cases() -> dict[str, dict[str, str]]:
    """Rows of the table of all cases."""
    return {row["case"]: row for row in csv.DictReader(Path("out", CASES_CSV).read_text(encoding="utf-8").splitlines())}


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_was_done_is_not_done_again(run, scans, jobs):
    _, first, _ = run()
    before = times()
    status, second, err = run("--jobs", jobs)
    assert status == 0
    assert any(line.startswith(f"3 of 3 {DONE}") for line in err)
    assert written_since(before) == ""
    assert second == first
    run("--again", "--jobs", jobs)
    assert written_since(before) == "abc"


def test_a_new_scan_alone_is_done(run, scans):
    shutil.move(scans / "b.nii.gz", "b.nii.gz")
    run()
    before = times()
    shutil.move("b.nii.gz", scans / "b.nii.gz")
    _, records, err = run()
    assert written_since(before) == "b"
    assert [*records] == ["a", "b", "c"]
    assert any(f"2 of 3 {DONE}" in line for line in err)


def test_an_image_that_changed_under_its_name_and_time_is_done_again(run, scans):
    run()
    before = times()
    path = scans / "a.nii.gz"
    kept, volume = path.stat(), read(path)
    array = np.array(volume.array)
    array[0, 0, 0] += 1
    write(volume.with_array(array), path)
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    moved = read(scans / "b.nii.gz")
    affine = moved.affine.copy()
    affine[0, 3] += 1.0
    write(Volume(moved.array, affine, moved.unit), scans / "b.nii.gz")
    run()
    assert written_since(before) == "ab"


def test_the_same_image_in_another_place_is_done(run, scans):
    run()
    before = times()
    scans.rename("moved")
    _, records, _ = run(inputs=("moved",))
    assert written_since(before) == ""
    assert records["a"]["input"] == str(Path("moved") / "a.nii.gz")


@pytest.mark.parametrize(
    "option", [("--threshold", "0.6"), ("--no-postprocess",), ("--unit", "arbitrary"), ("--save-probability",), ("--summary",)], ids=str
)
def test_other_settings_are_done_anew_and_then_are_done(run, scans, option):
    run()
    before = times()
    run(*option)
    assert set("abc") <= set(written_since(before))
    assert any(f"3 of 3 {DONE}" in line for line in run(*option)[2])


def test_another_model_is_another_result(run, scans, tmp_path):
    run()
    before = times()
    run("--model", save_model(two_class_model(), tmp_path / "two"))
    assert written_since(before) == "abc"


def test_a_probability_that_is_there_already_does_no_harm(run, scans):
    run("--save-probability")
    before = times()
    _, records, _ = run()
    assert written_since(before) == ""
    assert records["a"]["probability"] is None


def test_results_that_were_changed_or_removed_are_done_again(run, scans):
    run()
    for name in "ab":
        Path(f"out/{name}_lungs.nii.gz").unlink()
    Path("out/b_lungs.nii.gz").write_bytes(Path("out/c_lungs.nii.gz").read_bytes()[:-20])
    before = times()
    run()
    assert written_since(before) == "ab"
    assert read("out/b_lungs.nii.gz").names


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b'{"sha256": 1, "done": {}}'], ids=str)
def test_a_damaged_record_counts_for_nothing(run, scans, damage):
    run()
    (record, *_) = sorted(Path("out", RECORDS).glob("*.json"))
    record.write_bytes(damage or record.read_bytes().replace(b"right", b"other"))
    before = times()
    run()
    assert written_since(before) == "a"


def test_failures_are_tried_again(run, scans):
    sound = (scans / "b.nii.gz").read_bytes()
    (scans / "b.nii.gz").write_bytes(sound[:300])
    status, records, _ = run()
    assert (status, "error" in records["b"]) == (1, True)
    (scans / "b.nii.gz").write_bytes(sound)
    before = times()
    assert run()[0] == 0
    assert written_since(before) == "b"


def test_the_summary_lists_also_what_was_done_before(run, scans):
    shutil.move(scans / "c.nii.gz", "c.nii.gz")
    run("--summary")
    first = cases()
    shutil.move("c.nii.gz", scans / "c.nii.gz")
    before = times()
    run("--summary")
    assert set(written_since(before)) == {"c", "l"}  # and the table and page themselves
    second = cases()
    assert {*second} == {*"abc"}
    for case, row in first.items():
        assert {**second[case], "rank": ""} == {**row, "rank": ""}
    assert Path("out/lungseg_cases.html").read_text().count("<article") == 3


def test_what_another_run_is_writing_is_left_alone(tmp_path):
    half = tmp_path / f".{'0123456789abcdef' * 2}.nii.gz"
    with at_work(tmp_path / RECORDS):
        half.write_bytes(b"half")
        with at_work(tmp_path / RECORDS):
            assert half.exists()
    with at_work(tmp_path / RECORDS):
        assert not half.exists()


def test_a_folder_that_nothing_came_into_is_not_left(tmp_path):
    with pytest.raises(InputError), at_work(tmp_path / "new" / "out" / RECORDS):
        raise InputError("The scan is damaged.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_killed_run_is_finished_by_the_next(run, scans, model):
    names = [f"s{number:02}" for number in range(10)]
    for seed, name in enumerate(names):
        write(chest(slices=40, seed=seed)[0], scans / f"{name}.nii.gz")
    command = [sys.executable, "-m", "napari_lungseg", "segment", "scans", "-o", "out", "--model", model, "--jobs", "2", "--device", "cpu"]
    records = Path("out", RECORDS)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        while not (done := sorted(records.glob("*.json"))):
            assert first.poll() is None
            time.sleep(0.01)
        workers = psutil.Process(first.pid).children(recursive=True)
        first.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    done = sorted(records.glob("*.json"))
    assert 0 < len(done) < 13
    before = times_of(done)
    Path("out", f".{'0123456789abcdef' * 2}.nii.gz").write_bytes(b"half")
    second = subprocess.run([*command, "--report", "run.json"], capture_output=True, text=True, check=True)
    assert f"{len(done)} of 13 {DONE}" in second.stderr
    assert times_of(done) == before
    assert sorted(path.name for path in Path("out").iterdir()) == sorted([RECORDS, *(f"{name}_lungs.nii.gz" for name in [*"abc", *names])])
    assert {path.name for path in records.iterdir()} == {"run.lock", *(f"{name}_lungs.nii.gz.json" for name in [*"abc", *names])}
    runs = json.loads(Path("run.json").read_text())["runs"]
    assert [Path(one["input"]).name for one in runs] == sorted(path.name for path in scans.iterdir())
    masks = {path.name: read(path).array for path in Path("out").glob("*.nii.gz")}
    run("--device", "cpu", "--jobs", "1", "--again")
    for name, mask in masks.items():
        np.testing.assert_array_equal(read(Path("out", name)).array, mask)


def times_of(paths: list[Path]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in paths}
