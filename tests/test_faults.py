"""Faults of the system around the terminal program, each made for real in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_lungseg.architecture import UNetConfig
from napari_lungseg.batch_paths import RECORDS
from napari_lungseg.card import Card
from napari_lungseg.formats import read, write
from napari_lungseg.model import Model, save_model
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.unet import UNet
from napari_lungseg.volume import Volume, scaling

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and devices")
COMMAND = [sys.executable, "-m", "napari_lungseg"]
SCANS = 4


@pytest.fixture
def measuring(tmp_path: Path) -> list[str]:
    """A command that prints and writes a table."""
    labels = np.zeros((3, 8, 8), np.uint8)
    labels[1:, 2:5, 2:5] = 1
    write(Volume(labels, scaling((5.0, 1.0, 1.0))), tmp_path / "mask.nii.gz")
    return [*COMMAND, "measure", str(tmp_path / "mask.nii.gz"), "--csv", str(tmp_path / "table.csv")]


@pytest.fixture
def segmenting(tmp_path: Path) -> list[str]:
    """A command that writes the masks of some scans into one folder."""
    torch.manual_seed(0)
    config = UNetConfig(base_width=8, depth=2, norm="group")
    model = save_model(Model(UNet(config), Card("tiny", "", config, Preprocessing(spacing_mm=4.0))), tmp_path / "tiny")
    (tmp_path / "scans").mkdir()
    for number in range(SCANS):
        write(Volume(np.full((3, 40, 40), 40, np.int16), scaling((4, 4, 4)), "HU"), tmp_path / "scans" / f"{number}.nii.gz")
    return [*COMMAND, "segment", str(tmp_path / "scans"), "-o", str(tmp_path / "masks"), "--model", str(model), "--device", "cpu"]


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("stdout", ["nobody reads", "closed", "full"])
def test_a_table_is_written_where_nothing_can_be_printed(measuring, tmp_path, stdout):
    if stdout == "full" and not os.path.exists("/dev/full"):
        pytest.skip("no full device here")
    out = {"nobody reads": closed_pipe, "closed": lambda: None, "full": lambda: os.open("/dev/full", os.O_WRONLY)}[stdout]()
    command = measuring if out is not None else ["sh", "-c", 'exec "$@" >&-', "sh", *measuring]
    ran = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    assert "Traceback" not in ran.stderr
    assert ran.returncode == (0 if stdout == "closed" else 1)
    assert (stdout == "full") == ("What is printed cannot be written: No space left on device." in ran.stderr)
    assert "label 1" in (tmp_path / "table.csv").read_text(encoding="utf-8")


def test_errors_that_nobody_reads_are_an_exit_status_all_the_same(measuring, tmp_path):
    (tmp_path / "mask.nii.gz").unlink()
    ran = subprocess.run(measuring, stdout=subprocess.PIPE, stderr=closed_pipe(), text=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")


def masks(folder: Path) -> list[str]:
    """Names in the folder; each file is a whole mask."""
    names = sorted(path.name for path in folder.iterdir() if path.name != RECORDS)
    for name in names:
        assert read(folder / name).shape == (3, 40, 40)
    return names


def test_two_runs_into_one_folder_leave_whole_masks(segmenting, tmp_path):
    runs = [subprocess.Popen(segmenting, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for run in runs:
        _, err = run.communicate()
        assert (run.returncode, "Traceback" in err) == (0, False), err
    assert masks(tmp_path / "masks") == [f"{number}_lungs.nii.gz" for number in range(SCANS)]


def test_a_killed_run_leaves_whole_masks_and_can_be_done_again(segmenting, tmp_path):
    with subprocess.Popen(segmenting, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None and not list((tmp_path / "masks").glob("*.nii.gz")):
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    for path in (tmp_path / "masks").iterdir():
        # What it was writing has a hidden name.
        assert path.name.startswith(".") or read(path).shape == (3, 40, 40)
    assert subprocess.run(segmenting, capture_output=True, check=False).returncode == 0
    assert [name for name in sorted(os.listdir(tmp_path / "masks")) if not name.startswith(".")] == [
        f"{number}_lungs.nii.gz" for number in range(SCANS)
    ]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system with an older table on it."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        (folder / "table.csv").write_text("older")
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("fault", ["Read-only file system", "No space left on device"])
def test_a_disk_that_takes_nothing_is_told_in_one_line_and_keeps_the_older_file(measuring, disk, fault):
    if fault.startswith("Read-only"):
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    else:
        with suppress(OSError), open(disk / "filler", "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    command = [*measuring[:-1], str(disk / "table.csv")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in ran.stderr.splitlines() if line.startswith("napari-lungseg: ")]
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False)
    assert len(errors) == 1
    assert fault in errors[0]
    assert (disk / "table.csv").read_text() == "older"
    assert not [path for path in disk.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("highdicom", ["segment", "scan.nii.gz", "-o", "mask.dcm"]),
        ("optuna", ["train", ".", "-o", "model", "--sweep", "2"]),
        ("dicomweb_client", ["dicomweb", "find", "https://pacs.example.org/dicom-web"]),
    ],
)
def test_a_missing_package_is_named_with_how_to_get_it(tmp_path, package, arguments):
    write(Volume(np.zeros((3, 8, 8), np.int16), scaling((4, 4, 4)), "HU"), tmp_path / "scan.nii.gz")
    code = f"import sys; sys.modules[{package!r}] = None; from napari_lungseg.cli import main; main(sys.argv[1:])"
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert "pip install 'napari-lungseg[" in ran.stderr
