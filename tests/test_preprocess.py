from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from napari_lungseg.preprocess import ASSUMED_BODY_MM, Preprocessing, assumed_spacing, body_box, guess_unit, judge_unit, normalise
from napari_lungseg.volume import Volume, scaling

PREPROCESSING = Preprocessing(spacing_mm=0.75, window_hu=(-1024, 600))


def body(unit: str = "HU", spacing_known: bool = True) -> Volume:
    """Air with a block of tissue in rows 40-89 and columns 30-99, and a thin table below it."""
    array = np.full((5, 160, 128), -1000, np.int16)
    array[:, 40:90, 30:100] = 40
    array[:, 120:122, 20:110] = 300
    return Volume(array, scaling((5.0, 2.0, 2.0)), unit, spacing_known)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_hu_are_recognised(dtype):
    assert guess_unit(np.linspace(-1000, 400, 8000).reshape(20, 20, 20).astype(dtype)) == "HU"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(256, dtype=np.uint8).reshape(16, 16),
        np.linspace(0, 4095, 4096).astype(np.uint16).reshape(16, 16, 16),
        np.linspace(0, 1, 4096).reshape(16, 16, 16),
        np.full((16, 16, 16), -1000, np.int16),
        np.full((16, 16, 16), np.nan),
        np.zeros((16, 16, 16), np.int16),
        np.linspace(-30000, 30000, 4096).astype(np.int16).reshape(16, 16, 16),
        np.zeros((16, 16), bool),
    ],
    ids=["8 bit", "unsigned", "0 to 1", "constant", "nan", "zeros", "too wide", "bool"],
)
def test_what_does_not_look_like_hu_is_arbitrary(array):
    assert guess_unit(array) == "arbitrary"


def chest_numbers(padding: int | None = None) -> np.ndarray:
    """Soft tissue with lungs, air around, and padding beyond a circle."""
    array = np.random.default_rng(0).normal(40, 60, (6, 64, 64))
    array[:, 15:45, 10:28] = array[:, 15:45, 36:54] = -850
    array[:, :6] = -1000
    if padding is not None:
        y, x = np.mgrid[:64, :64]
        array[:, np.hypot(y - 31.5, x - 31.5) > 32] = padding
    return array


@pytest.mark.parametrize("padding", [None, -1024, -2000, -3024, -5000, -8192, -32768])
def test_padding_far_below_air_does_not_hide_hu(padding):
    assert guess_unit(chest_numbers(padding).astype(np.int16)) == "HU"


@pytest.mark.parametrize("padding", [None, -1024, -2000, -32768])
def test_stored_values_without_their_offset_are_no_hu_whatever_their_padding(padding):
    stored = chest_numbers() + 1024
    array = np.where(chest_numbers(padding) == padding, padding, stored) if padding else stored
    assert guess_unit(array.astype(np.int16)) == "arbitrary"


def test_numbers_that_lack_their_offset_are_doubtful_and_it_is_told_why():
    told = judge_unit((chest_numbers() + 1024).astype(np.int16))
    assert told.is_doubtful
    assert "offset of 1024" in told.why
    assert not judge_unit(chest_numbers().astype(np.int16)).is_doubtful


def test_padding_that_did_not_count_is_told():
    assert "-8192 were taken as padding" in judge_unit(chest_numbers(-8192).astype(np.int16)).why


@pytest.mark.parametrize(
    "array", [np.zeros((4, 8, 8), np.int16), np.arange(256).reshape(4, 8, 8) % 3, np.eye(64) * 255, np.eye(9, dtype=np.uint8)]
)
def test_labels_and_pictures_are_not_doubtful(array):
    assert not judge_unit(array.astype(np.int16)).is_doubtful


def test_values_moved_down_by_a_whole_range_are_no_hu():
    assert guess_unit((chest_numbers() - 1024).astype(np.int16)) == "arbitrary"


def test_nan_and_infinities_do_not_hide_hu():
    array = np.linspace(-1000, 400, 8000).reshape(20, 20, 20)
    array[0, 0, :4] = np.nan, np.inf, -np.inf, np.nan
    assert guess_unit(array) == "HU"


def test_the_unit_of_a_lazy_array_is_guessed_from_some_slices():
    read = []

    def load(block: np.ndarray) -> np.ndarray:
        read.append(block.shape[0])
        return block

    lazy = da.from_array(np.full((400, 16, 16), -1000, np.int16), chunks=(1, 16, 16)).map_blocks(
        load, dtype=np.int16, meta=np.empty((0,) * 3)
    )
    guess_unit(lazy)
    assert 0 < sum(read) < 50


def test_the_window_goes_to_minus_one_and_one():
    np.testing.assert_allclose(normalise(np.array([-2000, -1024, -212, 600, 3000]), -1024, 600), [-1, -1, 0, 1, 1], atol=1e-6)


def test_nan_is_air_and_infinities_are_clipped():
    np.testing.assert_array_equal(normalise(np.array([np.nan, -np.inf, np.inf]), 0.0, 1.0), [-1, -1, 1])


def test_the_range_depends_on_what_the_numbers_mean():
    hu = Volume(np.zeros((4, 4), np.int16), scaling((1.0, 1.0)), "HU")
    eight_bits = Volume(np.full((4, 4), 7, np.uint8), scaling((1.0, 1.0)))
    assert PREPROCESSING.intensity_range(hu) == (-1024, 600)
    assert PREPROCESSING.intensity_range(eight_bits) == (0, 255)
    ramp = Volume(np.linspace(0, 1000, 64 * 64 * 64).reshape(64, 64, 64), scaling((1.0, 1.0, 1.0)))
    np.testing.assert_allclose(PREPROCESSING.intensity_range(ramp), (5, 995), atol=20)


@pytest.mark.parametrize("value", [0.0, 7.0, -3e6, np.nan])
def test_a_constant_image_has_a_range_that_can_be_divided_by(value):
    low, high = PREPROCESSING.intensity_range(Volume(np.full((8, 8), value, np.float32), scaling((1.0, 1.0))))
    assert np.isfinite(normalise(np.full((8, 8), value, np.float32), low, high)).all()
    assert high > low


@pytest.mark.parametrize(("unit", "spacing_known"), [("HU", True), ("arbitrary", True), ("arbitrary", False)])
def test_the_box_holds_the_body(unit, spacing_known):
    rows, columns = body_box(body(unit, spacing_known))
    assert rows.start <= 40
    assert rows.stop >= 90
    assert columns.start <= 30
    assert columns.stop >= 100
    assert (rows.stop - rows.start) * (columns.stop - columns.start) < 160 * 128


@pytest.mark.parametrize("value", [-1000, 0, np.nan])
def test_where_nothing_stands_out_the_box_is_the_plane(value):
    array = np.full((2, 30, 40), value, np.float32)
    assert body_box(Volume(array, scaling((1.0, 1.0, 1.0)), "HU")) == (slice(0, 30), slice(0, 40))


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (2, 3), (1, 5, 2)])
def test_tiny_images_have_a_box(shape):
    volume = Volume(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), scaling((1.0,) * len(shape)), "HU")
    rows, columns = body_box(volume)
    assert 0 <= rows.start < rows.stop <= shape[-2]
    assert 0 <= columns.start < columns.stop <= shape[-1]


def test_the_grid_has_the_size_of_the_body():
    box = (slice(10, 110), slice(0, 200))
    assert PREPROCESSING.grid(box, (1.5, 0.75)) == (200, 200)
    assert PREPROCESSING.grid((slice(0, 1), slice(0, 1)), (0.1, 0.1)) == (1, 1)
    assert assumed_spacing(box) == (ASSUMED_BODY_MM / 200, ASSUMED_BODY_MM / 200)


@pytest.mark.parametrize("settings", [{"spacing_mm": 0.0}, {"window_hu": (600, -1024)}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match="must"):
        Preprocessing(**settings)
