import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_lungseg.edit import ball, brush, stroke
from napari_lungseg.errors import InputError


def painted(shape: tuple[int, ...], box: tuple[slice, ...], mask: np.ndarray) -> np.ndarray:
    result = np.zeros(shape, bool)
    result[box] = mask
    return result


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 0.9), (2.5, 0.7, 0.9), (8.0, 0.7, 0.7)])
@pytest.mark.parametrize("diameter", [0.1, 2.0, 5.4, 12.0])
def test_a_ball_is_round_in_millimetres(spacing: tuple[float, ...], diameter: float) -> None:
    element = ball(diameter, spacing)
    middle = [size // 2 for size in element.shape]
    assert all(size % 2 for size in element.shape)
    for index in product(*(range(-1, size + 1) for size in element.shape)):
        distance = math.hypot(*((i - m) * step for i, m, step in zip(index, middle, spacing)))
        within = all(0 <= i < size for i, size in zip(index, element.shape)) and element[index]
        assert within == (distance <= diameter / 2 + 1e-9)


def test_the_area_of_a_brush_is_a_disc_and_its_volume_a_sphere() -> None:
    box, mask = brush((400, 300), (200, 150), 60.0, (0.5, 0.8))
    assert mask.sum() * 0.4 == pytest.approx(math.pi * 30**2, rel=0.01)
    box, mask = brush((40, 100, 100), (20, 50, 50), 30.0, (2.0, 0.7, 0.7))
    assert mask.sum() * 2.0 * 0.7**2 == pytest.approx(math.pi / 6 * 30**3, rel=0.02)
    assert [part.stop - part.start for part in box] == [15, 43, 43]


def test_the_brush_follows_the_mouse_between_voxels() -> None:
    _, on_voxel = brush((50, 50), (20.0, 20.0), 4.0, (1.0, 1.0))
    box, between = brush((50, 50), (20.5, 20.5), 4.0, (1.0, 1.0))
    assert on_voxel.shape == (5, 5)
    assert between.shape == (4, 4)
    assert box == (slice(19, 23), slice(19, 23))
    assert np.array_equal(between, between[::-1, ::-1])


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12)),
    st.tuples(*[st.floats(-10, 20)] * 3),
    st.tuples(*[st.floats(-10, 20)] * 3),
    st.floats(0.1, 15),
    st.tuples(*[st.floats(0.3, 5)] * 3),
)
def test_a_stroke_is_what_lies_within_its_radius(
    shape: tuple[int, ...], start: tuple[float, ...], end: tuple[float, ...], diameter: float, spacing: tuple[float, ...]
) -> None:
    whole = painted(shape, *stroke(shape, start, end, diameter, spacing))
    at = np.stack(np.indices(shape), axis=-1) * spacing
    a, b = np.multiply(start, spacing), np.multiply(end, spacing)
    along = np.clip((at - a) @ (b - a) / max((b - a) @ (b - a), 1e-300), 0, 1)
    distance = np.linalg.norm(at - (a + along[..., None] * (b - a)), axis=-1)
    assert whole[distance < diameter / 2 * 0.9999].all()
    # Besides, only the voxels nearest to the line.
    half_a_voxel = math.hypot(*spacing) / 2
    assert not whole[distance > max(diameter / 2 * 1.0001, half_a_voxel * 1.0001)].any()


@pytest.mark.parametrize("end", [(5, 40), (40, 5), (33, 37), (5, 5)])
def test_a_thin_stroke_has_no_gaps(end: tuple[int, int]) -> None:
    whole = painted((50, 50), *stroke((50, 50), (5, 5), end, 0.1, (1.0, 1.0)))
    assert whole[5, 5]
    assert whole[end]
    assert ndimage.label(whole, np.ones((3, 3)))[1] == 1
    assert whole.sum() == max(abs(end[0] - 5), abs(end[1] - 5)) + 1


def test_a_stroke_is_all_that_the_brush_touches_on_its_way() -> None:
    shape, spacing = (80, 80), (0.7, 0.9)
    whole = painted(shape, *stroke(shape, (20, 15), (60, 50), 9.0, spacing))
    dabs = np.zeros(shape, bool)
    for position in np.linspace(0, 1, 500):
        dabs |= painted(shape, *brush(shape, (20 + 40 * position, 15 + 35 * position), 9.0, spacing))
    assert not (dabs & ~whole).any()
    assert (whole & ~dabs).sum() <= 2


def test_the_brush_is_clipped_at_the_edge_and_empty_beyond() -> None:
    box, mask = brush((20, 30), (0, 29), 6.0, (1.0, 1.0))
    assert box == (slice(0, 4), slice(26, 30))
    assert mask[0, -1]
    labels = np.zeros((20, 30), np.uint8)
    for centre in ((-50, 5), (5, 80), (-9.0, -9.0)):
        box, mask = brush(labels.shape, centre, 6.0, (1.0, 1.0))
        labels[box][mask] = 1
    assert not labels.any()


@pytest.mark.parametrize("diameter", [0.0, -1.0, float("nan"), float("inf")])
def test_a_brush_without_a_size_is_refused(diameter: float) -> None:
    with pytest.raises(InputError, match="wider than 0 mm"):
        brush((9, 9), (4, 4), diameter, (1.0, 1.0))
    with pytest.raises(InputError, match="wider than 0 mm"):
        ball(diameter, (1.0, 1.0))
    with pytest.raises(InputError, match="spacing"):
        brush((9, 9), (4, 4), 5.0, (1.0, 1.0, 1.0))
