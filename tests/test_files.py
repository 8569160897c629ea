from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_ct_slice

from napari_lungseg.errors import InputError
from napari_lungseg.files import given_path, make_folder, new_path, whole_file, whole_folder, write_whole
from napari_lungseg.formats import WRITABLE


def fail_in(context: AbstractContextManager[Path], action: Callable[[Path], object], number: int) -> None:
    """Write something, then fail as the system does."""
    with context as new:
        action(new)
        raise OSError(number, os.strerror(number))


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_older_file_stays_where_writing_fails(tmp_path):
    write_whole(tmp_path / "a.txt", "older")
    with pytest.raises(InputError, match=r"a\.txt could not be written: No space left on device"):
        fail_in(whole_file(tmp_path / "a.txt"), lambda new: new.write_text("half"), errno.ENOSPC)
    assert (tmp_path / "a.txt").read_text() == "older"
    assert left_in(tmp_path) == ["a.txt"]


def test_a_folder_appears_only_whole(tmp_path):
    with pytest.raises(InputError, match="could not be written"):
        fail_in(whole_folder(tmp_path / "a"), lambda new: (new / "1").write_text("half"), errno.ENOSPC)
    assert left_in(tmp_path) == []
    with whole_folder(tmp_path / "a") as new:
        (new / "1").write_text("one")
        assert not (tmp_path / "a").exists()
    assert left_in(tmp_path) == ["a"]
    assert left_in(tmp_path / "a") == ["1"]


def test_why_writing_failed_is_told_also_where_cleaning_up_fails(tmp_path):
    """As on a file system that became read-only: neither the file nor its removal is possible."""

    def make_it_a_folder(new: Path) -> None:
        new.unlink()
        new.mkdir()  # which unlink refuses to remove

    with pytest.raises(InputError, match=r"a\.txt could not be written: Read-only"):
        fail_in(whole_file(tmp_path / "a.txt"), make_it_a_folder, errno.EROFS)


def test_a_folder_that_takes_no_files_is_named(tmp_path):
    (tmp_path / "file").touch()
    for action in (make_folder, lambda path: write_whole(path / "a.txt", "")):
        with pytest.raises(InputError, match="file"):
            action(tmp_path / "file" / "folder")


def test_a_link_is_replaced_and_its_target_kept(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "link").is_symlink()


def test_temporary_names_differ_from_file_to_file(tmp_path):
    with whole_file(tmp_path / "a") as one, whole_file(tmp_path / "a") as other:
        assert one != other
        assert one.stat().st_size == 0


def test_names_that_the_system_does_not_take_are_refused(tmp_path):
    for name in ("L" * 300, "~nobody-of-this-name/a", "a\0b"):
        for check in (given_path, new_path):
            with pytest.raises(InputError, match="cannot be used"):
                check(name if name.startswith("~") else tmp_path / name)
    with pytest.raises(InputError, match="does not exist"):
        new_path(tmp_path / "none" / "a")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are no text")
def test_text_with_the_name_of_a_file_that_is_no_text_is_written(tmp_path):
    write_whole(tmp_path / "a.txt", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "a.txt").read_text() == "caf\\udce9"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of files")
def test_a_full_disk_is_told_by_every_writer_and_keeps_the_older_file(tmp_path):
    """A limit on the size of files in a process of its own stands for the full disk: writing fails with an error of the system."""
    for index in range(20):
        write_ct_slice(tmp_path / f"{index}.dcm", np.zeros((192, 192)), (0, 0, index), InstanceNumber=index)
    script = """
import resource, sys
from pathlib import Path
import numpy as np
import napari_lungseg as lungseg
from napari_lungseg.formats import DICOM_SEG, WRITABLE
source = Path(sys.argv[1])
folder = source / "written"
folder.mkdir()
dice = np.random.default_rng(0)
noise = dice.integers(0, 2000, (20, 128, 128)).astype(np.uint16)
volume = lungseg.Volume(noise, np.eye(4)[:, [2, 1, 0, 3]])
ct = lungseg.read(source)
lungs = ct.with_array(dice.integers(0, 3, ct.shape).astype(np.uint8))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for ending in WRITABLE:
    path = folder / f"a{ending}"
    path.write_bytes(b"older")
    if ending == ".png":
        volume = lungseg.Volume(noise.reshape(1, 512, 640), volume.affine)
    try:
        if ending == DICOM_SEG:
            lungseg.write(lungs, path, source=source)
        else:
            lungseg.write(volume, path)
        print(ending, "told as written")
    except lungseg.InputError as error:
        print(ending, "older kept" if path.read_bytes() == b"older" else "older lost", "File too large" in str(error))
pictures = lungseg.Volume(np.concatenate([noise.reshape(1, 512, 640)] * 2), volume.affine)
try:
    lungseg.write(pictures, folder / "many.png")
    print("numbered .png told as written")
except lungseg.InputError as error:
    print("numbered .png", "folder left" if (folder / "many").exists() else "older kept", "File too large" in str(error))
"""
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    lines = ran.stdout.splitlines()
    assert len(lines) == len(WRITABLE) + 1
    assert [line for line in lines if not line.endswith(" older kept True")] == []
    assert ran.stderr == ""
    assert not [path for path in (tmp_path / "written").iterdir() if path.name.startswith(".")]
