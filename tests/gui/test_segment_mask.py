"""One press of the button: the mask lies on the lungs, in the image's own place."""

from __future__ import annotations

import dask.array as da
import napari
import numpy as np
import pytest
from napari.layers import Image, Labels
from phantom import SPACING, chest, dice

from napari_lungseg.sample import sample_ct, sample_lungs
from napari_lungseg.volume import Volume, scaling

CT, LUNGS = chest()
#: 1 right, 2 left; the phantom's columns run from the patient's right to the left.
SIDES = np.where(LUNGS, np.where(np.arange(LUNGS.shape[-1]) < LUNGS.shape[-1] / 2, 1, 2), 0).astype(np.uint8)


def turned(degrees: float) -> np.ndarray:
    """The phantom's affine, turned about the patient's long axis."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    affine = np.eye(4)
    affine[:2, :2] = [[cosine, -sine], [sine, cosine]]
    return affine @ CT.affine


def flipped(*axes: int) -> tuple[Volume, np.ndarray]:
    """The phantom stored backwards along some axes, and its labels stored alike."""
    affine = CT.affine.copy()
    for axis in axes:
        affine[:, 3] += affine[:, axis] * (CT.shape[axis] - 1)
        affine[:, axis] *= -1
    return Volume(np.flip(CT.array, axes), affine, "HU"), np.flip(SIDES, axes)


PLACES = {
    "scaled": (Volume(CT.array, scaling((8.0, 4.0, 4.0)), "HU"), SIDES),
    "translated": (CT, SIDES),
    "rotated in the plane": (Volume(CT.array, turned(25), "HU"), SIDES),
    "flipped from head to feet": flipped(0),
    "flipped from left to right": flipped(2),
    "flipped twice and turned back": (Volume(np.flip(CT.array, (1, 2)), turned(180), "HU"), np.flip(SIDES, (1, 2))),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_mask_lies_on_the_lungs(open_desk, place):
    volume, sides = PLACES[place]
    desk = open_desk(volume)
    assert desk.segment() == ""
    for side in (1, 2):
        found, expected = np.argwhere(desk.lungs.data == side), np.argwhere(sides == side)
        assert dice(desk.lungs.data == side, sides == side) > 0.98
        # In the world, too, which is the patient's.
        centre = (volume.affine @ [*expected.mean(axis=0), 1.0])[:3]
        np.testing.assert_allclose(desk.lungs.data_to_world(found.mean(axis=0))[::-1], centre, atol=1.0)


def test_the_results_stand_in_the_place_that_a_person_gave_the_image(desk):
    image = desk.image
    image.translate = (5.0, -3.0, 12.0)
    image.scale = (6.0, -4.0, 4.0)
    image.affine = [[1, 0, 0, 7], [0, 0.8, -0.6, 1], [0, 0.6, 0.8, 2], [0, 0, 0, 1]]
    assert desk.segment() == ""
    for layer in (desk.lungs, desk.probability):
        np.testing.assert_allclose(layer.extent.world, image.extent.world)
        np.testing.assert_allclose(layer.data_to_world((1, 2, 3)), image.data_to_world((1, 2, 3)))
        assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
        assert layer.axis_labels == ("z", "y", "x")


def test_the_results_follow_an_image_that_was_moved_and_segmented_again(desk):
    assert desk.segment() == ""
    desk.image.translate = (5.0, -3.0, 12.0)
    desk.image.scale = (12.0, 8.0, 8.0)
    assert desk.segment() == ""
    assert len(desk.viewer.layers) == 3
    for layer in (desk.lungs, desk.probability):
        np.testing.assert_allclose(layer.extent.world, desk.image.extent.world)


def test_two_label_layers_appear_and_the_mask_is_ready_to_paint(desk):
    assert desk.segment() == ""
    assert [layer.name for layer in desk.viewer.layers] == ["ct", "ct probability", "ct lungs"]
    assert isinstance(desk.probability, Labels)
    assert isinstance(desk.lungs, Labels)
    assert desk.probability.data.dtype == desk.lungs.data.dtype == np.uint8
    assert desk.probability.data.max() > 90
    assert set(np.unique(desk.lungs.data)) == {0, 1, 2}
    assert desk.viewer.layers.selection.active == desk.lungs
    assert (desk.lungs.mode, desk.lungs.selected_label) == ("paint", 1)


def test_the_cursor_reads_side_and_percent(desk):
    desk.segment()
    right = tuple(np.argwhere(SIDES == 1)[len(np.argwhere(SIDES == 1)) // 2])
    point = desk.image.data_to_world(right)
    assert "right" in desk.lungs.get_status(point, world=True)["value"]
    assert f"{desk.probability.data[right]} %" in desk.probability.get_status(point, world=True)["value"]


def test_the_probability_is_an_image_layer_by_choice(desk):
    desk.controls.probability.value = "image layer"
    assert desk.segment() == ""
    assert isinstance(desk.probability, Image)
    assert desk.probability.data.max() > 90
    assert list(desk.controls.image.choices) == [desk.image]
    desk.controls.probability.value = "label layer"
    assert desk.segment() == ""
    assert isinstance(desk.probability, Labels)
    assert [layer.name for layer in desk.viewer.layers] == ["ct", "ct probability", "ct lungs"]


def on_canvas(viewer: napari.Viewer, layer: Labels, index: tuple[int, ...]) -> np.ndarray:
    """Mean colour of a small patch of the canvas around a voxel."""
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(float)
    y, x = (np.array(layer.data_to_world(index)[-2:]) - viewer.scene.camera.center[-2:]) * viewer.scene.camera.zoom
    row, column = round(picture.shape[0] / 2 + y), round(picture.shape[1] / 2 + x)
    return picture[row - 2 : row + 3, column - 2 : column + 3].mean(axis=(0, 1))


def test_the_mask_is_seen_on_the_canvas(open_desk):
    desk = open_desk(CT, show=True)
    assert desk.segment() == ""
    desk.viewer.reset_view()
    desk.probability.visible = False
    shown = desk.viewer.dims.current_step[0]
    for side, strongest in ((1, 1), (2, 2)):
        middle = np.argwhere(SIDES[shown] == side).mean(axis=0).round().astype(int)
        desk.lungs.visible = True
        with_mask = on_canvas(desk.viewer, desk.lungs, (shown, *middle))
        desk.lungs.visible = False
        without = on_canvas(desk.viewer, desk.lungs, (shown, *middle))
        assert np.ptp(without) < 10  # grey
        assert np.abs(with_mask - without).max() > 40
        assert with_mask.argmax() == strongest  # right is green, left is blue


def pictures() -> dict[str, tuple[np.ndarray, dict]]:
    middle = CT.array[4]
    grey = np.clip((middle + 1000.0) / 1400.0 * 255, 0, 255).astype(np.uint8)
    mm = {"scale": SPACING[1:], "units": ("mm", "mm")}
    return {
        "tiny": (np.zeros((1, 1, 1), np.int16), {}),
        "a few voxels": (np.arange(30, dtype=np.int16).reshape(2, 3, 5), {}),
        "odd": (CT.array[:3, :71, :95], {"scale": SPACING, "units": ("mm",) * 3}),
        "one slice": (CT.array[4:5], {"scale": SPACING, "units": ("mm",) * 3}),
        "two axes": (middle, mm),
        "colour": (np.stack([grey] * 3, axis=-1), mm | {"rgb": True}),
        "constant": (np.full((3, 40, 50), 7, np.int16), {}),
        "constant and large": (np.full((3, 40, 50), 1e30, np.float32), {}),
        "NaN": (np.full((3, 40, 50), np.nan, np.float32), {}),
        "some NaN": (np.where(np.arange(96) < 4, np.nan, CT.array).astype(np.float32), {"scale": SPACING, "units": ("mm",) * 3}),
        "true and false": (CT.array > -500, {"scale": SPACING, "units": ("mm",) * 3}),
    }


FOUND = {"odd": SIDES[:3, :71, :95], "one slice": SIDES[4:5], "two axes": SIDES[4], "some NaN": SIDES}


@pytest.mark.parametrize("kind", pictures())
def test_images_of_every_kind_end_well(open_desk, messages, kind):
    data, keywords = pictures()[kind]
    desk = open_desk()
    desk.viewer.add_image(data, name="it", **keywords)
    if kind in FOUND:
        desk.controls.unit.value = "HU"
    assert desk.segment() == ""
    shape = data.shape[:2] if kind == "colour" else data.shape
    assert desk.lungs.data.shape == desk.probability.data.shape == shape
    assert not [text for text in messages if "failed" in text]
    if kind in FOUND:
        for side in (1, 2):
            assert dice(desk.lungs.data == side, FOUND[kind] == side) > 0.95
    elif kind not in ("a few voxels", "colour", "true and false"):
        assert not desk.lungs.data.any()
        assert "No lung found" in desk.controls.status.text()


def test_lazy_images_are_segmented(open_desk):
    desk = open_desk()
    desk.viewer.add_image(da.from_array(CT.array, chunks=(1, 72, 96)), name="lazy", scale=SPACING, units=("mm",) * 3)
    assert desk.segment() == ""
    assert dice(desk.lungs.data == 1, SIDES == 1) > 0.98


def test_of_a_pyramid_the_full_resolution_is_segmented(open_desk):
    desk = open_desk()
    levels = [CT.array, CT.array[:, ::2, ::2]]
    desk.viewer.add_image(levels, name="pyramid", multiscale=True, scale=SPACING, units=("mm",) * 3)
    assert desk.segment() == ""
    assert desk.lungs.data.shape == CT.shape
    assert dice(desk.lungs.data == 2, SIDES == 2) > 0.98


def test_of_a_film_the_displayed_time_is_segmented(open_desk):
    desk = open_desk()
    film = np.stack([CT.array[:, :, ::-1], CT.array, CT.array])
    desk.viewer.add_image(film, name="film", scale=(1.0, *SPACING), units=("s", "mm", "mm", "mm"))
    desk.viewer.dims.set_current_step(0, 1)
    assert desk.segment() == ""
    assert desk.lungs.data.shape == film.shape
    assert dice(desk.lungs.data[1] == 1, SIDES == 1) > 0.98
    assert not desk.lungs.data[[0, 2]].any()
    kept = desk.lungs.data[1].copy()
    desk.viewer.dims.set_current_step(0, 0)
    assert desk.segment() == ""
    np.testing.assert_array_equal(desk.lungs.data[1], kept)
    assert dice(desk.lungs.data[0] == 1, SIDES[:, :, ::-1] == 2) > 0.98
    desk.set_threshold(60)
    np.testing.assert_array_equal(desk.lungs.data[1], kept)


def test_the_bundled_model_finds_the_lungs_of_the_sample(open_desk):
    ct, lungs = sample_ct(), sample_lungs()
    desk = open_desk(ct.crop((slice(14, 16), slice(None), slice(None))), model="lung-ct")
    assert desk.segment() == ""
    expected = np.asarray(lungs.array)[14:16]
    for side in (1, 2):
        assert dice(desk.lungs.data == side, expected == side) > 0.9


def test_a_lone_lung_whose_side_is_not_known_is_called_lungs_and_told(open_desk, messages):
    """As in a volume that was cut out and lost its place in the scanner."""
    half = CT.shape[2] // 2
    step = 150.0 / half
    part = Volume(CT.array[:, :, :half], scaling((8.0, step, step)), "HU", oriented=False)
    desk = open_desk(part)
    assert desk.segment() == ""
    assert set(np.unique(desk.lungs.data)) == {0, 1}
    assert desk.lungs.features["lung"].tolist()[1:] == ["lungs"]
    assert any("not known which lung" in message for message in messages)


def test_lungs_that_are_not_split_are_not_called_right(desk):
    desk.segment()
    desk.switch("split_sides", False)
    assert set(np.unique(desk.lungs.data)) == {0, 1}
    assert desk.lungs.features["lung"].tolist()[1:] == ["lungs"]
    desk.switch("split_sides", True)
    assert desk.lungs.features["lung"].tolist()[1:] == ["right", "left"]
