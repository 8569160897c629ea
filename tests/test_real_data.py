"""The terminal on real images, each in its own format; the output must lie where the input lies."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from napari_lungseg.cli import app

#: Input below the data folder, and its lung mask where somebody drew one.
CT = {
    "lung_dx_a0002/dicom_b40f": "lung_dx_a0002/lungs.nii.gz",
    "pyradiomics_lung1/ct.nrrd": "pyradiomics_lung1/lungs.nii.gz",
    "cmb_crc_01068/ct_every4.nii.gz": "cmb_crc_01068/lungs.nii.gz",
    "acrin_013/ct_every2.nii.gz": "acrin_013/lungs.nii.gz",
    "tcga_slices/tcga_002_TCGA-60-2695.nii.gz": "tcga_slices/lungs/tcga_002_TCGA-60-2695.nii.gz",
    "sbu_covid/axial/A056642_19010107-111.dcm": "sbu_covid/lungs/A056642_19010107-111.nii.gz",
    "sbu_covid/reformats/A048383_coronal_19010410-052.dcm": None,
    "neck_negative/LungFCP-01-0006_3slices.nii.gz": None,
    "totalsegmentator_example/example_ct_sm.nii.gz": None,
}


def opened(path: Path) -> sitk.Image:
    if path.is_dir():
        return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
    return sitk.ReadImage(str(path))


def segmented(source: Path, output: Path) -> sitk.Image:
    result = CliRunner().invoke(app, ["segment", str(source), "-o", str(output), "--device", "cpu"])
    assert result.exit_code in (None, 0), result.output
    return opened(output)


@pytest.mark.parametrize("name", CT)
def test_ct_gets_its_mask_in_its_own_place(name: str, shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / name
    found, image = segmented(source, tmp_path / "lungs.nrrd"), opened(source)
    assert found.GetSize() == image.GetSize()
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(found, get)(), getattr(image, get)(), atol=1e-4)
    reference = CT[name]
    if reference is not None:
        a, b = sitk.GetArrayFromImage(found) > 0, sitk.GetArrayFromImage(opened(shared_data / reference)) > 0
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.95


def test_neck_has_no_lung(shared_data: Path, tmp_path: Path) -> None:
    found = segmented(shared_data / "neck_negative/LungCT-Diagnosis-R_004_no_lung.nii.gz", tmp_path / "lungs.nii.gz")
    assert not sitk.GetArrayFromImage(found).any()


def test_pictures_without_geometry_keep_their_size(shared_data: Path, tmp_path: Path) -> None:
    picture = sorted((shared_data / "cxr_covid").rglob("*.png"))[0]
    stack = shared_data / "mouse_tiff/souris_8.tif"
    for source, output in ((picture, tmp_path / "lungs.png"), (stack, tmp_path / "lungs.tif")):
        assert segmented(source, output).GetSize()[:2] == opened(source).GetSize()[:2]
