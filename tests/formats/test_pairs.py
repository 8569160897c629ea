"""Pairs of .hdr and .img: NIfTI-1, NIfTI-2 and Analyze 7.5, held against nibabel."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import napari_lungseg
from napari_lungseg.errors import InputError
from napari_lungseg.formats import scans_in

AFFINE = np.array([[-0.8, 0, 0, 90], [0, -0.9, 0, 80], [0, 0, 2.5, -40], [0, 0, 0, 1]])


@pytest.fixture
def voxels() -> np.ndarray:
    return np.random.default_rng(1).integers(-1000, 500, (7, 6, 5)).astype(np.int16)


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("ending", [".hdr", ".img"])
def test_a_pair_of_nifti_is_read_by_either_of_its_files(tmp_path: Path, voxels, kind, ending) -> None:
    nib.save(kind(voxels, AFFINE), tmp_path / "ct.img")
    volume = napari_lungseg.read(tmp_path / f"ct{ending}")
    np.testing.assert_array_equal(volume.array, voxels.T)
    np.testing.assert_allclose(volume.spacing, (2.5, 0.9, 0.8), rtol=1e-6)
    # nibabel's axes run to the right and the front, those here to the left and the back.
    np.testing.assert_allclose(volume.affine[:3, 3], (-90, -80, -40))
    assert volume.oriented


def test_packed_files_of_a_pair_are_read(tmp_path: Path, voxels) -> None:
    nib.save(nib.Nifti1Pair(voxels, AFFINE), tmp_path / "plain.img")
    for ending in ("hdr", "img"):
        (tmp_path / f"ct.{ending}.gz").write_bytes(gzip.compress((tmp_path / f"plain.{ending}").read_bytes()))
    np.testing.assert_array_equal(napari_lungseg.read(tmp_path / "ct.hdr.gz").array, voxels.T)
    np.testing.assert_array_equal(napari_lungseg.read(tmp_path / "ct.img.gz").array, voxels.T)


def test_analyze_is_read_and_told_to_know_nothing_of_how_the_patient_lies(tmp_path: Path, voxels) -> None:
    nib.save(nib.AnalyzeImage(voxels, np.diag([-0.8, 0.9, 2.5, 1])), tmp_path / "ct.img")
    volume = napari_lungseg.read(tmp_path / "ct.hdr")
    np.testing.assert_array_equal(volume.array, voxels.T)
    np.testing.assert_allclose(volume.spacing, (2.5, 0.9, 0.8), rtol=1e-6)
    assert not volume.oriented
    assert "Analyze" in volume.notes[0]
    expected = nib.load(tmp_path / "ct.hdr").affine[:3, :3] * [[-1], [-1], [1]]
    np.testing.assert_allclose(volume.affine[:3, 2::-1], expected, rtol=1e-6)


@pytest.mark.parametrize("ending", [".hdr", ".img"])
def test_one_file_of_a_pair_alone_is_refused_with_the_name_of_the_other(tmp_path: Path, voxels, ending) -> None:
    nib.save(nib.Nifti1Pair(voxels, AFFINE), tmp_path / "ct.img")
    (tmp_path / ("ct.img" if ending == ".hdr" else "ct.hdr")).unlink()
    with pytest.raises(InputError, match="is one file of a pair"):
        napari_lungseg.read(tmp_path / f"ct{ending}")


def test_a_cut_off_file_of_voxels_is_refused(tmp_path: Path, voxels) -> None:
    nib.save(nib.Nifti1Pair(voxels, AFFINE), tmp_path / "ct.img")
    (tmp_path / "ct.img").write_bytes((tmp_path / "ct.img").read_bytes()[:100])
    with pytest.raises(InputError, match="cut off"):
        napari_lungseg.read(tmp_path / "ct.hdr")


def test_a_pair_is_one_scan_of_its_folder(tmp_path: Path, voxels) -> None:
    nib.save(nib.Nifti1Pair(voxels, AFFINE), tmp_path / "ct.img")
    assert scans_in(tmp_path) == [tmp_path / "ct.hdr"]
