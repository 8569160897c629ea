"""Layers saved through napari lie where they were seen."""

from __future__ import annotations

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import PATIENT, write_ct_slice
from geometry import affine_of, grids
from napari.layers import Labels

from napari_lungseg.formats import read, write
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.widgets.layers import layer_geometry, volume_to_layer, volumes_to_layer
from napari_lungseg.widgets.readers import read_layers
from napari_lungseg.widgets.writers import NotSavedError, write_image, write_labels

SHAPE = (3, 4, 5)
HU = np.linspace(-1000, 400, 60).reshape(SHAPE).astype(np.int16)
LABELS = np.arange(60, dtype=np.uint8).reshape(SHAPE)


def opened(viewer, path):
    (layer,) = viewer.open(str(path), plugin="napari-lungseg")
    return layer


def labels_on(viewer, image):
    return viewer.add_labels(np.arange(60, dtype=np.uint8).reshape(image.data.shape), name="lungs", **layer_geometry(image))


def places(volume: Volume, values: np.ndarray) -> dict[int, np.ndarray]:
    return {int(values[index]): volume.affine @ (*index, 1.0) for index in np.ndindex(values.shape)}


def assert_same_places(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    np.testing.assert_allclose([one[key] for key in sorted(one)], [other[key] for key in sorted(other)], atol=2e-3)


def by_simpleitk(path) -> Volume:
    image = sitk.ReadImage(str(path))
    return Volume(sitk.GetArrayFromImage(image), affine_of(image))


def by_nibabel(path) -> Volume:
    image = nibabel.load(path)
    return Volume(np.asarray(image.dataobj).T, (np.diag([-1.0, -1, 1, 1]) @ image.affine)[:, [2, 1, 0, 3]])


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".seg.nrrd"])
def test_what_is_read_shown_and_written_lies_in_one_place(tmp_path, ending):
    """The 48 orientations of an anisotropic image, straight and oblique, as SimpleITK and nibabel see them.

    Each is written by SimpleITK, read as a layer, and a mask made on that layer is written: every voxel of the mask must lie, for
    both libraries, where the image's voxel lay that it was painted on.
    """
    source, target = tmp_path / "ct.nrrd", tmp_path / f"lungs{ending}"
    for affine in grids():
        image = sitk.GetImageFromArray(HU)
        linear = affine[:3, :3][:, ::-1]
        spacing = np.linalg.norm(linear, axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((linear / spacing).ravel().tolist())
        image.SetOrigin(affine[:3, 3].tolist())
        sitk.WriteImage(image, str(source))
        ((data, keywords, _),) = read_layers(str(source))
        shown = {int(hu): label for hu, label in zip(HU.ravel(), LABELS.ravel())}
        painted = np.vectorize(shown.get)(data).astype(np.uint8)
        layer = Labels(painted, **{key: value for key, value in keywords.items() if key != "contrast_limits"})
        assert write_labels(str(target), *layer.as_layer_data_tuple()[:2]) == [str(target)]
        wanted = places(Volume(LABELS, affine), LABELS)
        found = by_simpleitk(target)
        assert_same_places(places(found, np.asarray(found.array)), wanted)
        if ending == ".nii.gz":
            found = by_nibabel(target)
            assert_same_places(places(found, np.asarray(found.array)), wanted)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".tif"])
def test_an_image_is_saved_with_its_numbers(make_napari_viewer, tmp_path, ending):
    viewer = make_napari_viewer()
    layer = opened(viewer, write(Volume(HU, scaling((2.5, 0.5, 0.75), (1.0, 2.0, 3.0)), "HU"), tmp_path / "ct.nrrd"))
    path = tmp_path / f"saved{ending}"
    assert layer.save(str(path), plugin="napari-lungseg") == [str(path)]
    again = read(path)
    np.testing.assert_array_equal(again.array, HU)
    np.testing.assert_allclose(again.spacing, (2.5, 0.5, 0.75))


def test_slicers_ending_is_ours_without_being_asked_for(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    image = opened(viewer, write(Volume(HU, scaling((2.5, 0.5, 0.75)), "HU"), tmp_path / "ct.nrrd"))
    assert labels_on(viewer, image).save(str(tmp_path / "lungs.seg.nrrd")) == [str(tmp_path / "lungs.seg.nrrd")]
    assert "Segment0_Name" in sitk.ReadImage(str(tmp_path / "lungs.seg.nrrd")).GetMetaDataKeys()


def test_plain_pictures_stay_with_napari_itself(make_napari_viewer, tmp_path):
    """Whoever saves any labels as .tif or .png, without naming a plugin, gets what they got before this one was installed."""
    viewer = make_napari_viewer()
    layer = viewer.add_labels(np.ones((4, 5), np.uint8))
    assert layer.save(str(tmp_path / "a.tif")) == [str(tmp_path / "a.tif")]
    assert b"OME" not in (tmp_path / "a.tif").read_bytes()


def test_slices_are_saved_as_a_folder_of_pictures(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    image = opened(viewer, write(Volume(HU, scaling((2.5, 0.5, 0.75)), "HU"), tmp_path / "ct.nrrd"))
    assert labels_on(viewer, image).save(str(tmp_path / "lungs.png"), plugin="napari-lungseg") == [str(tmp_path / "lungs")]
    np.testing.assert_array_equal(read(tmp_path / "lungs").array, LABELS)


@pytest.fixture
def series(tmp_path):
    folder = tmp_path / "ct"
    folder.mkdir()
    for index in range(3):
        write_ct_slice(folder / f"{index}.dcm", HU[index], (-7.0, 8.0, 2.5 * index), SeriesDescription="Thorax")
    return folder


def test_a_mask_on_a_dicom_series_is_saved_as_dicom_seg(make_napari_viewer, series, tmp_path):
    viewer = make_napari_viewer()
    image = opened(viewer, series)
    labels = viewer.add_labels((LABELS % 3).astype(np.uint8), **layer_geometry(image))
    assert labels.save(str(tmp_path / "lungs.dcm"), plugin="napari-lungseg") == [str(tmp_path / "lungs.dcm")]
    found = highdicom.seg.segread(tmp_path / "lungs.dcm").get_volume(combine_segments=True)
    there = {tuple((found.affine @ (*index, 1)).round(3)): found.array[index] for index in np.ndindex(SHAPE)}
    volume = read(series)
    assert there == {tuple((volume.affine @ (*index, 1)).round(3)): LABELS[index] % 3 for index in np.ndindex(SHAPE)}


def test_a_mask_of_another_image_is_no_dicom_seg(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    image = opened(viewer, write(Volume(HU, scaling((2.5, 0.5, 0.75)), "HU"), tmp_path / "ct.nrrd"))
    with pytest.raises(NotSavedError, match="needs the DICOM series"):
        labels_on(viewer, image).save(str(tmp_path / "lungs.dcm"), plugin="napari-lungseg")


def test_layers_that_files_cannot_hold_are_refused(tmp_path):
    volume = Volume(HU, scaling((2.5, 0.5, 0.75)), "HU")
    data, keywords = volumes_to_layer([volume, volume])
    with pytest.raises(NotSavedError, match="axis of time"):
        write_image(str(tmp_path / "a.nii.gz"), data, keywords)
    with pytest.raises(NotSavedError, match="colours"):
        write_image(str(tmp_path / "a.png"), np.zeros((4, 5, 3), np.uint8), {"rgb": True})
    assert list(tmp_path.iterdir()) == []


def test_volumes_over_time_keep_their_place_however_they_lie():
    for affine in grids():
        data, keywords = volumes_to_layer([Volume(HU, affine), Volume(HU + 1, affine)])
        alone, plain = volume_to_layer(Volume(HU, affine))
        layer, single = Labels(data, **keywords), Labels(alone, **plain)
        np.testing.assert_array_equal(layer.data[1], alone + 1)
        for index in ((0, 0, 0), (1, 2, 2)):
            np.testing.assert_allclose(layer.data_to_world((1, *index)), (1, *single.data_to_world(index)))


def test_nothing_of_the_patient_is_in_a_layer(series):
    ((_, keywords, _),) = read_layers(str(series))
    for value in PATIENT.values():
        assert len(value) == 1 or value not in repr(keywords)
