from __future__ import annotations

import itertools
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from geometry import grids, stored_otherwise, tilt

from napari_lungseg.errors import InputError
from napari_lungseg.formats import read, write
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.workspace import Source, export_labels, import_mask

from .conftest import add, painted

ENDINGS = [".nii.gz", ".nrrd", ".seg.nrrd"]
LABELS = np.random.default_rng(0).integers(0, 3, (3, 4, 5)).astype(np.uint8)
AFFINE = scaling((2.5, 0.5, 0.75), (-10.0, 20.0, -300.0))
IMAGE = Volume(LABELS.astype(np.int16) - 1000, AFFINE, "HU")


def save_labels(workspace, volume):
    case = add(workspace, volume, axis=1)
    workspace.save(case, {index: (plane, plane) for index, plane in enumerate(case.planes(LABELS))}, cause="paint")
    return case


@pytest.mark.parametrize("ending", ENDINGS)
def test_exported_labels_lie_where_the_image_does(workspace, tmp_path, ending):
    """SimpleITK sees each label at the place in the patient that the image's affine says."""
    for affine in list(grids())[::3]:
        case = save_labels(workspace, Volume(IMAGE.array, affine, "HU"))
        path = export_labels(workspace, case, tmp_path / f"a{ending}")
        image = sitk.ReadImage(str(path))
        for index in itertools.product(*(range(size) for size in LABELS.shape)):
            place = affine @ (*index, 1.0)
            assert image[image.TransformPhysicalPointToIndex(place[:3].tolist())] == LABELS[index]
            np.testing.assert_allclose(image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]]), place[:3], atol=1e-4)


def test_nibabel_sees_the_exported_labels_in_ras(workspace, tmp_path):
    for affine in list(grids())[::3]:
        case = save_labels(workspace, Volume(IMAGE.array, affine, "HU"))
        image = nibabel.load(export_labels(workspace, case, tmp_path / "a.nii.gz"))
        np.testing.assert_array_equal(np.asarray(image.dataobj).T, LABELS)
        in_ras = np.diag((-1.0, -1.0, 1.0, 1.0)) @ affine
        np.testing.assert_allclose(image.affine[:, [2, 1, 0, 3]], in_ras, atol=1e-4)


def test_only_a_case_with_a_mask_can_be_exported(workspace, tmp_path):
    with pytest.raises(InputError, match="nothing to export"):
        export_labels(workspace, add(workspace, IMAGE), tmp_path / "a.nrrd")
    assert not (tmp_path / "a.nrrd").exists()


def test_the_export_is_the_last_state(workspace, tmp_path):
    case = save_labels(workspace, IMAGE)
    workspace.save(case, {2: painted(case, 2)}, cause="paint")
    back = read(export_labels(workspace, case, tmp_path / "a.seg.nrrd")).array
    np.testing.assert_array_equal(case.planes(back)[2], painted(case, 2).labels)


def test_labels_are_exported_under_the_names_of_the_model_that_made_them(workspace, tmp_path):
    case = save_labels(workspace, IMAGE)
    organs = Source("organs", "0" * 64, {"classes": {"names": ["liver", "spleen"], "labels": [2, 1], "sides": False}})
    workspace.save(case, {}, source=organs, cause="segment")
    header = sitk.ReadImage(str(export_labels(workspace, case, tmp_path / "a.seg.nrrd")))
    assert [header.GetMetaData(f"Segment{number}_Name") for number in (0, 1)] == ["spleen", "liver"]


# ---- masks made elsewhere


@pytest.mark.parametrize("ending", [*ENDINGS, ".mha"])
def test_a_mask_is_brought_onto_the_image_however_it_is_stored(tmp_path, ending):
    for affine in (AFFINE, next(itertools.islice(grids(), 60, None))):
        image = Volume(LABELS, affine)
        for order in itertools.permutations(range(3)):
            for flips in ((), (0,), (1, 2), (0, 1, 2)):
                path = write(Volume(*stored_otherwise(LABELS, affine, order, flips)), tmp_path / f"a{ending}")
                np.testing.assert_array_equal(import_mask(path, image), LABELS)


def test_every_grid_takes_its_own_mask(tmp_path):
    for affine in list(grids())[::3]:
        path = write(Volume(LABELS, affine), tmp_path / "a.nii.gz")
        np.testing.assert_array_equal(import_mask(path, Volume(LABELS, affine)), LABELS)


def test_a_mask_of_a_part_lies_in_its_place(tmp_path):
    """3D Slicer crops what it writes; a mask may also reach over the image's edge."""
    volume = Volume(LABELS, next(itertools.islice(grids(), 77, None)))
    for part, image in (((slice(1, 3), slice(0, 2), slice(2, 5)), volume), ((slice(0, 2),) * 3, volume)):
        cropped = volume.crop(part)
        expected = np.zeros_like(LABELS)
        expected[part] = LABELS[part]
        array, affine = stored_otherwise(cropped.array, cropped.affine, (2, 0, 1), (1,))
        np.testing.assert_array_equal(import_mask(write(Volume(array, affine), tmp_path / "a.seg.nrrd"), image), expected)
        whole = write(volume, tmp_path / "b.seg.nrrd")
        np.testing.assert_array_equal(import_mask(whole, image.crop(part)), LABELS[part])


def ball(volume: Volume) -> np.ndarray:
    index = np.indices(volume.shape).reshape(3, -1)
    place = volume.affine[:3, :3] @ index + volume.affine[:3, 3:]
    return (np.linalg.norm(place, axis=0) < 12).reshape(volume.shape).astype(np.uint8) * 2


def tilted() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = tilt()[:, ::-1]
    affine[:3, 3] = -affine[:3, :3] @ (20.0, 20.0, 20.0)
    return affine


@pytest.mark.parametrize(
    "affine",
    [tilted(), scaling((3.0, 0.83, 0.83), (-18.0, -17.0, -16.0)), scaling((3.0, 0.8, 0.8), (-18.4, -15.5, -16.0))],
    ids=["tilted", "slightly larger", "half a voxel apart"],
)
def test_a_mask_of_another_grid_is_resampled_to_the_nearest_voxel(tmp_path, affine):
    image = Volume(np.zeros((12, 40, 44), np.uint8), scaling((3.0, 0.8, 0.8), (-18.0, -16.0, -16.0)))
    other = Volume(np.zeros((41, 41, 41), np.uint8), affine)
    path = write(replace(other, array=ball(other)), tmp_path / "a.nrrd")
    found, expected = import_mask(path, image), ball(image)
    assert set(np.unique(found)) == {0, 2}
    assert np.count_nonzero(found != expected) < 0.08 * np.count_nonzero(expected)


def test_a_mask_of_another_place_is_refused(tmp_path):
    away = write(Volume(LABELS, scaling((2.5, 0.5, 0.75), (500.0, 20.0, -300.0))), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"Nothing in .*a\.nii\.gz lies within the image"):
        import_mask(away, IMAGE)
    far = tilted()
    far[0, 3] = 500
    with pytest.raises(InputError, match="lies within the image"):
        import_mask(write(Volume(LABELS, far), tmp_path / "a.nrrd"), IMAGE)


def test_an_empty_mask_is_a_start_too(tmp_path):
    path = write(Volume(np.zeros_like(LABELS), AFFINE), tmp_path / "a.nii.gz")
    assert not import_mask(path, IMAGE).any()


def test_labels_stay_as_they_are_and_numbers_in_between_are_refused(tmp_path):
    for array in (LABELS.astype(np.float32) * 150, LABELS.astype(np.int16) * 150):
        mask = import_mask(write(Volume(array, AFFINE), tmp_path / "a.nii.gz"), IMAGE)
        np.testing.assert_array_equal(mask, LABELS.astype(int) * 150)
        assert mask.dtype == np.uint16
    path = write(Volume(LABELS / np.float32(3), AFFINE), tmp_path / "b.nii.gz")
    with pytest.raises(InputError, match=r"b\.nii\.gz: .*whole numbers"):
        import_mask(path, IMAGE)


def test_a_mask_without_a_size_must_have_the_images_shape(tmp_path):
    image = Volume(LABELS[0], AFFINE)
    path = write(image, tmp_path / "a.png")
    np.testing.assert_array_equal(import_mask(path, image), LABELS[0])
    np.testing.assert_array_equal(import_mask(path, Volume(LABELS[:1], AFFINE)), LABELS[:1])
    with pytest.raises(InputError, match=r"shape \(4, 5\) and the image \(5, 4\)"):
        import_mask(path, Volume(LABELS[0].T, AFFINE))


def test_a_slice_takes_the_mask_of_a_slice(tmp_path):
    for image in (Volume(LABELS[0], AFFINE), Volume(LABELS[:1], AFFINE)):
        for mask in (Volume(LABELS[0], AFFINE), Volume(LABELS[:1], AFFINE)):
            found = import_mask(write(mask, tmp_path / "a.nrrd"), image)
            np.testing.assert_array_equal(found, LABELS[0].reshape(image.shape))


def test_resampling_is_refused_where_it_is_not_wanted(tmp_path):
    affine = list(grids())[7]
    turned = write(Volume(*stored_otherwise(LABELS, affine, (2, 0, 1), (1,))), tmp_path / "turned.nrrd")
    np.testing.assert_array_equal(import_mask(turned, Volume(IMAGE.array, affine, "HU"), exact=True), LABELS)
    moved = AFFINE.copy()
    moved[0, 3] += 0.3
    path = write(Volume(LABELS, moved), tmp_path / "moved.nrrd")
    assert import_mask(path, IMAGE).any()
    with pytest.raises(InputError, match="other voxels"):
        import_mask(path, IMAGE, exact=True)
