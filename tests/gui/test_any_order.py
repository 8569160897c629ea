"""Whatever a person does in whatever order: what they set stays, the rest is the model's, and undo goes back exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from phantom import chest, chest_model

from napari_lungseg.mask import MaskSettings
from napari_lungseg.segmentation import segment
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.lookup import result_of

CT, LUNGS = chest(slices=4, rows=36, columns=48)
SHAPE = CT.shape


def scan(variant: int) -> Volume:
    """Two scans of the same chest; the second has lost a part of a lung, and one slice is in doubt."""
    hu = CT.array.copy()
    if variant:
        hu[1:3, 12:20] = 40
    hu[2] = np.where(LUNGS[2], np.where(np.arange(hu.shape[1])[:, None] < 18, -720, -660), hu[2])
    return CT.with_array(hu, "HU")


@cache
def model_mask(variant: int, percent: int) -> np.ndarray:
    return segment(scan(variant), chest_model(), mask=MaskSettings(threshold=percent / 100)).labels.array


@dataclass
class Oracle:
    """The model's mask, by scan and threshold, and what a person set over it; -1 where nothing."""

    model: tuple[int, int] = (0, 50)
    person: np.ndarray = field(default_factory=lambda: np.full(SHAPE, -1))
    done: list = field(default_factory=list)
    undone: list = field(default_factory=list)

    @property
    def shown(self) -> np.ndarray:
        return np.where(self.person >= 0, self.person, model_mask(*self.model))

    def put(self, layer: str, new: object) -> None:
        self.done.append((layer, getattr(self, layer), new))
        self.undone.clear()
        setattr(self, layer, new)

    def back(self) -> None:
        if self.done:
            self.undone.append(self.done.pop())
            setattr(self, self.undone[-1][0], self.undone[-1][1])

    def forth(self) -> None:
        if self.undone:
            self.done.append(self.undone.pop())
            setattr(self, self.done[-1][0], self.done[-1][2])


places = st.tuples(*(st.integers(0, size - 1) for size in SHAPE))
operations = st.one_of(
    st.tuples(st.sampled_from(["paint", "fill", "console", "replace"]), places, st.integers(0, 3)),
    st.tuples(st.just("polygon"), places, st.integers(0, 3)),
    st.tuples(st.sampled_from(["undo", "undo", "redo"]), places, st.just(0)),
    st.tuples(st.just("threshold"), places, st.sampled_from([20, 50, 80])),
    st.tuples(st.just("slide and go on"), places, st.sampled_from([20, 50, 80])),
    st.tuples(st.just("run"), places, st.integers(0, 1)),
    st.tuples(st.just("slice"), places, st.just(0)),
)


def edit(lungs, kind: str, place: tuple[int, int, int], label: int) -> None:
    if kind == "paint":
        lungs.brush_size = 7
        lungs.paint(place, label)
    elif kind == "fill":
        lungs.fill(place, label)
    elif kind == "polygon":
        row, column = place[1:]
        lungs.paint_polygon([[place[0], row, column], [place[0], row + 8, column], [place[0], row + 8, column + 9]], label)
    else:
        data = lungs.data if kind == "console" else lungs.data.copy()
        data[place[0], place[1] : place[1] + 3, place[2] : place[2] + 3] = label
        if kind == "replace":
            lungs.data = data


def test_what_a_person_set_stays_and_undo_is_exact(open_desk):
    desk = open_desk()

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])
    @example([("paint", (0, 0, 14), 3), ("polygon", (0, 0, 0), 0), ("threshold", (0, 0, 0), 20), ("undo", (0, 0, 0), 0)])
    @given(st.lists(operations, min_size=4, max_size=14))
    def any_order(sequence):
        desk.viewer.layers.clear()
        image = desk.add(scan(0))
        desk.controls.threshold.value = 50
        assert desk.segment() == ""
        oracle, lungs, corrections = Oracle(), desk.lungs, result_of(image).corrections
        for kind, place, number in sequence:
            steps = corrections.steps
            if kind == "undo":
                lungs.undo()
                oracle.back()
            elif kind == "redo":
                lungs.redo()
                oracle.forth()
            elif kind == "slice":
                desk.viewer.dims.set_current_step(0, place[0])
            elif kind in ("threshold", "slide and go on"):
                if number != desk.controls.threshold.value:
                    if kind == "slide and go on":
                        desk.controls.threshold.value = 65
                    desk.set_threshold(number)
                    model = oracle.model[0], number
                    oracle.put("model", model) if corrections.steps != steps else setattr(oracle, "model", model)
            elif kind == "run":
                image.data = scan(number).array
                assert desk.segment() == ""
                model = number, desk.controls.threshold.value
                oracle.put("model", model) if corrections.steps != steps else setattr(oracle, "model", model)
            else:
                before = lungs.data.copy()
                edit(lungs, kind, place, number)
                now = lungs.data.copy()
                if (now != before).any():
                    if kind == "console":
                        result_of(image).sync()
                    oracle.put("person", np.where(now != before, now, oracle.person))
            np.testing.assert_array_equal(lungs.data, oracle.shown)
            assert desk.controls.threshold.value == oracle.model[1]

    any_order()
