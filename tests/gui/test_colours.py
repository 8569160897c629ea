"""Colours that mean different things can be told apart by people who do not see all of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_lungseg.mesh import COLOURS as LABELS
from napari_lungseg.widgets.correct import changes
from napari_lungseg.widgets.evaluate import error_layer
from napari_lungseg.widgets.review import strip
from napari_lungseg.widgets.train import curves

#: In linear RGB, of Machado et al. 2009 (doi 10.1109/TVCG.2009.113), for those who lack one kind of cones.
SIGHT = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
LUNGS = [LABELS[1], LABELS[2]]
SETS = {
    "labels": list(LABELS.values()),
    "changes on the lungs": [*LUNGS, changes.COLOURS[1], changes.COLOURS[2], changes.COLOURS[3]],
    "errors": list(error_layer.COLOURS.values()),
    "states of slices": list(strip.COLOURS.values()),
    "curves": list(curves.COLOURS.values()),
}
#: CIEDE2000, of which 1 is about what can just be told apart side by side.
APART = 12.0


def seen(colour: str, sight: str) -> np.ndarray:
    """A colour as somebody sees it, in CIELAB."""
    value = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(SIGHT[sight]) @ linear, 0, 1)
    return rgb2lab(np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)[None, None])[0, 0]


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("name", SETS)
def test_no_two_colours_of_a_set_look_alike(name, sight):
    looks = {colour: seen(colour, sight) for colour in SETS[name]}
    for one, other in combinations(SETS[name], 2):
        assert deltaE_ciede2000(looks[one], looks[other]) >= APART, f"{one} and {other}"
