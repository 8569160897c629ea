"""One call gives labels, probability, and how they came about."""

import numpy as np
import pytest
from phantom import DENSE, chest, chest_model, dice, two_class_model

from napari_lungseg.errors import InputError
from napari_lungseg.mask import MaskSettings, make_mask
from napari_lungseg.model import save_model
from napari_lungseg.segmentation import segment
from napari_lungseg.volume import Volume


def test_labels_tell_right_from_left_on_the_inputs_grid():
    volume, lungs = chest()
    result = segment(volume, chest_model())
    labels = result.labels.array
    assert labels.dtype == result.probability.array.dtype == np.uint8
    assert np.array_equal(result.labels.affine, volume.affine)
    assert dice(labels > 0, lungs) > 0.99
    middle = volume.shape[2] // 2
    assert set(np.unique(labels[..., :middle])) == {0, 1}  # the patient's right is where x is small
    assert set(np.unique(labels[..., middle:])) == {0, 2}
    assert result.probability.array.max() <= 100


def test_the_result_says_how_it_was_made(tmp_path):
    volume, _ = chest(slices=3)
    folder = save_model(chest_model(), tmp_path / "model")
    seen = []
    result = segment(volume, folder, device="cpu", progress=lambda done, total: seen.append((done, total)))
    assert (result.model, result.device, result.notices) == ("chest", "cpu", ())
    assert len(result.weights_sha256) == 64
    assert result.seconds > 0
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_threshold_decides_what_is_lung():
    volume, _ = chest(slices=3)
    sizes = [np.count_nonzero(segment(volume, chest_model(), threshold=t, postprocess=False).labels.array) for t in (0.01, 0.5, 1.0)]
    assert sizes[0] >= sizes[1] > sizes[2]


def test_without_post_processing_the_mask_is_the_threshold_alone():
    volume, _ = chest(slices=3)
    result = segment(volume, chest_model(), postprocess=False)
    assert np.array_equal(result.labels.array, (result.probability.array >= 50).astype(np.uint8))
    same = segment(volume, chest_model(), mask=MaskSettings.without_postprocessing(0.5))
    assert np.array_equal(result.labels.array, same.labels.array)


def test_two_dimensional_images_work():
    volume, lungs = chest(slices=3)
    result = segment(Volume(volume.array[1], volume.affine, "HU"), chest_model())
    assert dice(result.labels.array > 0, lungs[1]) > 0.99


def test_a_chosen_axis_is_used():
    volume, lungs = chest(slices=3)
    bare = Volume(volume.array.transpose(1, 2, 0), np.eye(4), "HU", spacing_known=False)
    result = segment(bare, chest_model(), axis=2, postprocess=False)
    assert dice(result.labels.array > 0, lungs.transpose(1, 2, 0)) > 0.95


def test_an_image_without_lungs_says_so():
    volume, _ = chest(slices=3)
    result = segment(Volume(np.full(volume.shape, 40, np.int16), volume.affine, "HU"), chest_model())
    assert not result.labels.array.any()
    assert result.notices == ("No lung was found.",)


def test_each_class_gets_its_own_label():
    volume, lungs = chest()
    result = segment(volume, two_class_model())
    labels, bone = result.labels.array, volume.array > DENSE
    middle = volume.shape[2] // 2
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert dice(labels == 3, bone) > 0.99
    assert dice(labels == 1, lungs & (np.arange(volume.shape[2]) < middle)) > 0.99
    assert dice(labels == 2, lungs & (np.arange(volume.shape[2]) >= middle)) > 0.99
    assert result.names == {1: "right", 2: "left", 3: "bone"}
    again = make_mask(result.probability, None, two_class_model().card.class_labels, result.likeliest.array)
    assert np.array_equal(again.array, labels)


def test_a_model_without_lung_has_plain_labels():
    volume, lungs = chest()
    model = two_class_model(("liver", "spleen"), (2, 1), sides=False)
    result = segment(volume, model)
    assert np.array_equal(result.labels.array, np.where(volume.array > DENSE, 1, np.where(lungs, 2, 0)))
    assert result.names == {1: "spleen", 2: "liver"}
    nothing = segment(Volume(np.full(volume.shape, 40, np.int16), volume.affine, "HU"), model)
    assert nothing.notices == ("No liver or spleen was found.",)


@pytest.mark.parametrize("settings", [{"threshold": 1.5}, {"device": "cuda:99"}, {"model": "no such model"}, {"axis": 7}])
def test_what_cannot_be_used_is_an_input_error(settings):
    volume, _ = chest(slices=2)
    with pytest.raises(InputError):
        segment(volume, **{"model": chest_model(), **settings})
