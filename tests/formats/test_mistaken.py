"""What people have in place of the image that they mean: archives, failed downloads, and folders of something else."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_lungseg.errors import InputError
from napari_lungseg.formats import read, scans_in, write
from napari_lungseg.volume import Volume, scaling


@pytest.fixture
def image(tmp_path) -> Path:
    return write(Volume(np.zeros((3, 4, 5), np.int16), scaling((2.0, 1.0, 1.0))), tmp_path / "ct.nii.gz")


def zipped(path: Path, name: str) -> Path:
    with zipfile.ZipFile(path.with_name(name), "w") as archive:
        archive.write(path, path.name)
    return path.with_name(name)


@pytest.mark.parametrize("name", ["ct.zip", "ct2.nii.gz", "ct.dcm", "ct.nrrd", "ct.png"])
def test_an_archive_is_told_whatever_its_name(image, name):
    with pytest.raises(InputError, match=rf"{name} is packed \(zip\); unpack it"):
        read(zipped(image, name))


def test_what_is_packed_and_read_plain_only_is_told(tmp_path, write_slice):
    path = write_slice(tmp_path / "0.dcm", np.zeros((4, 5)), (0, 0, 0))
    packed = tmp_path / "packed"
    packed.mkdir()
    for name in ("0.dcm.gz", "1.dcm.gz"):
        (packed / name).write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match=r"0\.dcm\.gz is packed \(gzip\); unpack it"):
        read(packed / "0.dcm.gz")
    for look in (read, scans_in):
        with pytest.raises(InputError, match=r"0\.dcm\.gz in it is packed \(gzip\); unpack it"):
            look(packed)


def test_a_nifti_that_is_packed_twice_is_told(image):
    image.write_bytes(gzip.compress(image.read_bytes()))
    with pytest.raises(InputError, match=r"ct\.nii\.gz is packed twice"):
        read(image)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.dcm", "a.tif"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a pointer of Git LFS .* git lfs pull"),
        ("\n<!DOCTYPE html>\n<html><body>Log in first</body></html>", "a web page .* download it again"),
    ],
)
def test_what_failed_downloads_leave_is_called_by_its_name(tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name} is {told}"):
        read(tmp_path / name)


def test_of_a_folder_of_other_images_one_is_asked_for(image):
    with pytest.raises(InputError, match=r"no DICOM files .* but ct\.nii\.gz; give that file"):
        read(image.parent)
    for name in ("img_0.png", "img_0_mask.png"):
        Image.fromarray(np.zeros((4, 5), np.uint8)).save(image.parent / name)
    with pytest.raises(InputError, match=r"but ct\.nii\.gz and 2 more; give one of these files"):
        read(image.parent)
