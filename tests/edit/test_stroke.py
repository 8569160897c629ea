"""What a stroke means: the region that is found, and what is never in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom import chest
from scipy import ndimage

from napari_lungseg.edit.stroke import LIMIT, Stroke, find_region, regions
from napari_lungseg.errors import InputError

CT, LUNGS = chest()
IMAGE, SPACING = np.asarray(CT.array), CT.spacing
#: The lungs without the back of the right one, which is missing.
MISSING = LUNGS & (np.arange(72) > 40)[:, None] & (np.arange(96) < 48)
LABELS = (LUNGS & ~MISSING).astype(np.uint8)


def line(*where) -> np.ndarray:
    drawn = np.zeros(LUNGS.shape, bool)
    drawn[where] = True
    return drawn


STROKE = line(4, 45, slice(26, 37))


def whole(region, shape=LUNGS.shape, size=0.0) -> np.ndarray:
    found = np.zeros(shape, bool)
    found[region.box] = region.at(size)
    return found


def overlap(found: np.ndarray, wanted: np.ndarray) -> float:
    return float((found & wanted).sum() / (found | wanted).sum())


@pytest.mark.parametrize("stroke", [STROKE, line(4, 45, slice(30, 32)), line(slice(3, 6), 45, 30)])
def test_what_is_missing_is_found_in_the_volume(stroke):
    assert overlap(whole(find_region(IMAGE, LABELS, stroke, SPACING)), MISSING) > 0.85


def test_what_is_missing_is_found_in_an_image_of_two_axes():
    found = whole(find_region(IMAGE[4], LABELS[4], STROKE[4], SPACING[1:]), LUNGS.shape[1:])
    assert overlap(found, MISSING[4]) > 0.85


def test_what_is_too_much_is_found():
    excess = np.zeros(LUNGS.shape, bool)
    excess[3:7, 25:45, 50:56] = True
    excess &= ~LUNGS
    labels = (LUNGS | excess).astype(np.uint8)
    stroke = line(5, slice(28, 42), 52)
    assert overlap(whole(find_region(IMAGE, labels, stroke, SPACING, label=1)), excess) > 0.5


def test_the_slice_comes_first_and_then_the_volume():
    fixed = np.zeros(LUNGS.shape, bool)
    stroke = Stroke(IMAGE, LABELS, STROKE, fixed, None, SPACING, 0, (4,))
    first, second = regions(stroke)
    assert first.box[0] == slice(4, 5)
    assert overlap(whole(first)[4], MISSING[4]) > 0.85
    np.testing.assert_array_equal(whole(second), whole(find_region(IMAGE, LABELS, STROKE, SPACING)))
    across = Stroke(IMAGE, LABELS, line(slice(3, 6), 45, 30), fixed, None, SPACING, 0, (slice(None), 45))
    assert next(regions(across)).box[1] == slice(45, 46)


def test_neither_the_unit_nor_the_side_matters():
    found = whole(find_region(IMAGE, LABELS, STROKE, SPACING))
    other = find_region((IMAGE * 0.25 + 400).astype(np.float32), LABELS, STROKE, SPACING)
    assert overlap(whole(other), found) > 0.98
    flip = np.s_[::-1, :, ::-1]
    mirrored = find_region(IMAGE[flip], LABELS[flip], STROKE[flip], SPACING)
    assert overlap(whole(mirrored)[flip], found) > 0.98


def test_missing_values_of_the_image_are_no_obstacle():
    image = IMAGE.astype(np.float32)
    image[:, 60:, :20] = np.nan
    assert overlap(whole(find_region(image, LABELS, STROKE, SPACING)), MISSING) > 0.85


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), adding=st.booleans())
def test_a_region_holds_its_stroke_and_neither_other_labels_nor_what_a_person_set_at_any_size(seed, adding):
    rng = np.random.default_rng(seed)
    labels = np.where(ndimage.gaussian_filter(rng.normal(size=LUNGS.shape), 3) > 0.02, rng.integers(1, 4), LUNGS).astype(np.uint8)
    fixed = ndimage.gaussian_filter(rng.normal(size=LUNGS.shape), 2) > 0.03
    label = 0 if adding else int(labels.max())
    stroke = ndimage.binary_dilation(line(*(rng.integers(0, size) for size in LUNGS.shape)), iterations=2)
    may = (labels == label) & ~fixed
    if not (stroke & may).any():
        with pytest.raises(InputError, match="meets nothing"):
            find_region(IMAGE, labels, stroke, SPACING, label=label, fixed=fixed)
        return
    region = find_region(IMAGE, labels, stroke, SPACING, label=label, fixed=fixed)
    before = np.zeros(LUNGS.shape, bool)
    for size in (-LIMIT, -2.0, 0.0, 2.0, LIMIT):
        found = whole(region, size=size)
        assert not (found & ~may).any()
        assert (found >= (stroke & may)).all()
        assert (found >= before).all()
        before = found


def test_a_region_has_no_holes_of_its_own():
    image = IMAGE.copy()
    image[4, 46, 30] = 300
    assert whole(find_region(image, LABELS, STROKE, SPACING))[4, 46, 30]
    assert whole(find_region(image[4], LABELS[4], STROKE[4], SPACING[1:]), LUNGS.shape[1:])[46, 30]


def test_arrays_of_other_shapes_are_refused():
    with pytest.raises(InputError, match="do not lie on one grid"):
        find_region(IMAGE[1:], LABELS, STROKE, SPACING)
