"""Which slices are read blind, and how a reading differs from the model's mask."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_lungseg.blind import BlindReading, add_up, compare_masks, draw_slices
from napari_lungseg.errors import InputError


def contents(count: int) -> list[str]:
    return [f"{number:064x}" for number in range(count)]


def test_an_image_gives_the_same_slices_to_each_reader_and_a_larger_share_holds_the_smaller():
    (content,) = contents(1)
    small, large = (draw_slices(content, 120, share) for share in (0.1, 0.3))
    assert small == draw_slices(content, 120, 0.1)
    assert small < large
    assert (len(small), len(large)) == (12, 36)
    assert draw_slices(content, 120, 0.0) == frozenset()
    assert draw_slices(content, 120, 1.0) == frozenset(range(120))


def test_all_slices_are_drawn_about_equally_often_also_where_an_image_is_one_slice():
    drawn = np.zeros(10)
    for content in contents(2000):
        drawn[list(draw_slices(content, 10, 0.25))] += 1
    assert abs(drawn.sum() / 20000 - 0.25) < 0.01
    assert drawn.min() > 400
    single = sum(len(draw_slices(content, 1, 0.2)) for content in contents(2000))
    assert abs(single / 2000 - 0.2) < 0.03


def test_a_share_outside_of_0_to_1_is_refused():
    with pytest.raises(InputError, match="from 0 to 1"):
        draw_slices("0" * 64, 10, 1.5)


def test_a_reading_counts_pixels_of_the_same_label():
    person, model = np.array([[1, 1, 2, 0]]), np.array([[1, 2, 2, 2]])
    reading = compare_masks(person, model)
    assert reading == BlindReading(2, 3, 4)
    assert reading.dice == pytest.approx(4 / 7)
    assert reading.volume_difference_percent == pytest.approx(-25.0)
    assert add_up([reading, reading]) == BlindReading(4, 6, 8)
    assert math.isnan(BlindReading(0, 0, 0).dice)
