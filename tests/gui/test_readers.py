from __future__ import annotations

import numpy as np
import pytest
from dicom_files import write_ct_slice
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from npe2 import PluginManager

from napari_lungseg.errors import InputError
from napari_lungseg.formats import read, read_segments, write
from napari_lungseg.sample import sample_ct, sample_lungs
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.widgets.appearance import names_on
from napari_lungseg.widgets.layers import volume_from_layer
from napari_lungseg.widgets.readers import get_reader, read_layers, sample_ct_layers, sample_ct_with_mask_layers

CT = Volume(np.linspace(-1000, 400, 60).reshape(3, 4, 5).astype(np.int16), scaling((2.5, 0.5, 0.75), origin=(-7.0, 8.0, 9.0)), "HU")


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nii", "ct.nrrd", "ct.mha"])
def test_a_file_becomes_a_layer_in_its_place(tmp_path, name):
    path = write(CT, tmp_path / name)
    reader = get_reader(str(path))
    assert reader is not None
    ((data, keywords, kind),) = reader(str(path))
    layer = Image(data, **keywords)
    assert (kind, layer.name) == ("image", "ct")
    np.testing.assert_allclose(layer.scale, (2.5, 0.5, 0.75))
    np.testing.assert_allclose(layer.translate, (9.0, 8.0, -7.0))
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert layer.axis_labels == ("z", "y", "x")
    assert tuple(layer.contrast_limits) == (-1350, 150)
    assert volume_from_layer(layer).unit == "HU"


def test_several_files_become_several_layers(tmp_path):
    paths = [str(write(CT, tmp_path / name)) for name in ("a.nii", "b.mha")]
    assert [keywords["name"] for _, keywords, _ in get_reader(paths)(paths)] == ["a", "b"]


def test_dicom_slices_opened_as_a_stack_are_one_volume(tmp_path):
    for index in range(4):
        write_ct_slice(tmp_path / f"{4 - index}.dcm", np.full((4, 6), index), (0, 0, 2.5 * index), InstanceNumber=index)
    paths = sorted(str(path) for path in tmp_path.iterdir())
    ((data, keywords, _),) = get_reader(paths)(paths)
    np.testing.assert_array_equal(data[:, 0, 0], range(4))
    assert keywords["scale"][0] == 2.5


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_numbered_pictures_opened_as_a_stack_are_one_volume(tmp_path, ending):
    for number in (9, 10, 11):
        write(Volume(np.full((4, 5), number, np.uint8), scaling((1.0, 1.0))), tmp_path / f"slice{number}.{ending}")
    paths = sorted(str(path) for path in tmp_path.iterdir())
    ((data, _, _),) = get_reader(paths)(paths)
    np.testing.assert_array_equal(data[:, 0, 0], (9, 10, 11))


def test_volumes_are_no_slices_of_a_stack(tmp_path):
    paths = [str(write(CT, tmp_path / f"ct{number}.tif")) for number in (1, 2)]
    with pytest.raises(InputError, match=r"ct1\.tif is a volume itself"):
        read_layers(paths)


def test_what_was_left_out_of_a_folder_is_told_and_kept_with_the_layer(make_napari_viewer, tmp_path):
    for index in range(3):
        write_ct_slice(tmp_path / f"{index}.dcm", np.full((4, 6), index), (0, 0, 2.5 * index))
    (tmp_path / "report.dcm").write_bytes(b"no DICOM")
    told = []

    def hear(event):
        told.append(str(event))

    notification_manager.notification_ready.connect(hear)
    (layer,) = make_napari_viewer().open(str(tmp_path), plugin="napari-lungseg")
    notification_manager.notification_ready.disconnect(hear)
    assert layer.metadata["notes"] == ["report.dcm was left out: it is damaged or not a DICOM file."]
    assert any("report.dcm was left out" in text for text in told)


def test_what_is_not_for_us_is_left_to_others(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader(str(tmp_path)) is None


def test_a_damaged_file_says_so(tmp_path):
    (tmp_path / "a.nii.gz").write_text("no image")
    with pytest.raises(InputError, match="damaged"):
        read_layers(str(tmp_path / "a.nii.gz"))


def test_a_dicom_folder_opens_through_napari(make_napari_viewer, shared_data):
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(shared_data / "lung_dx_a0002" / "dicom_b40f"), plugin="napari-lungseg")
    assert layer.data.shape == (30, 512, 512)
    np.testing.assert_allclose(layer.scale, (8.0, 0.646484375, 0.646484375))
    np.testing.assert_allclose(layer.translate, (80.0, -294.1767578125, -173.1767578125))
    assert layer.data.min() >= -1024


def test_the_sample_is_a_chest_ct_with_lungs_on_their_sides():
    ct, lungs = sample_ct(), sample_lungs()
    assert ct.unit == "HU"
    np.testing.assert_allclose(lungs.affine, ct.affine)
    right, left = (np.asarray(ct.array)[lungs.array == side] for side in (1, 2))
    assert np.median(right) < -700
    assert np.median(left) < -700
    centre = [(ct.affine @ (*np.argwhere(lungs.array == side).mean(axis=0), 1))[0] for side in (1, 2)]
    assert centre[0] < centre[1]  # x runs to the patient's left
    assert 1000 < right.size * ct.voxel_ml < left.size * ct.voxel_ml < 2000


def test_the_licence_of_the_sample_is_seen_in_the_menu_and_goes_with_the_layer(make_napari_viewer):
    make_napari_viewer()
    for sample in PluginManager.instance().get_manifest("napari-lungseg").contributions.sample_data:
        assert "Lung-PET-CT-Dx, CC BY 4.0" in sample.display_name
    ((_, keywords, _),) = sample_ct_layers()
    for words in ("CC BY 4.0", "Lung-PET-CT-Dx", "10.7937/TCIA.2020.NNC2-0461"):
        assert words in keywords["metadata"]["licence"]


def test_samples_are_layers_on_one_another():
    ((_, keywords, kind),) = sample_ct_layers()
    assert kind == "image"
    image, mask = sample_ct_with_mask_layers()
    assert mask[2] == "labels"
    np.testing.assert_allclose(Labels(mask[0], **mask[1]).extent.world, Image(image[0], **image[1]).extent.world)
    assert keywords["units"] == ("mm", "mm", "mm")


def test_napari_offers_the_samples(make_napari_viewer):
    viewer = make_napari_viewer()
    keys = [sample.key for sample in PluginManager.instance().get_manifest("napari-lungseg").contributions.sample_data]
    for key in keys:
        viewer.layers.clear()
        assert viewer.open_sample("napari-lungseg", key)


def test_a_segmentation_opens_as_labels_that_keep_their_names(make_napari_viewer, tmp_path):
    """And can be painted and saved again as what they are."""
    labels = CT.with_array(np.arange(60).reshape(CT.shape).astype(np.uint8) % 3)
    write(labels, tmp_path / "organs.seg.nrrd", {1: "liver", 2: "spleen"})
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(tmp_path / "organs.seg.nrrd"), plugin="napari-lungseg")
    assert isinstance(layer, Labels)
    assert layer.name == "organs"
    np.testing.assert_allclose(layer.translate, (9.0, 8.0, -7.0))
    layer.paint((0, 0, 0), 2)
    layer.save(str(tmp_path / "again.seg.nrrd"), plugin="napari-lungseg")
    found, names = read_segments(tmp_path / "again.seg.nrrd")
    assert names == {1: "liver", 2: "spleen"}
    np.testing.assert_array_equal(found.array, layer.data)


def test_a_dicom_seg_opens_as_labels_on_its_series(make_napari_viewer, tmp_path):
    folder = tmp_path / "ct"
    folder.mkdir()
    for index in range(3):
        write_ct_slice(folder / f"{index}.dcm", CT.array[index], (-7.0, 8.0, 2.5 * index))
    series = read(folder)
    write(series.with_array((series.array > 0).astype(np.uint8)), tmp_path / "lungs.dcm", source=folder)
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(tmp_path / "lungs.dcm"), plugin="napari-lungseg")
    assert isinstance(layer, Labels)
    assert names_on(layer) == {1: "right lung", 2: "left lung"}
    assert (layer.data > 0).sum() == (series.array > 0).sum()
