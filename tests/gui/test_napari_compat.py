"""What is taken for granted of napari beyond what it promises; a new version that breaks one of these fails here first."""

from __future__ import annotations

import gc
from weakref import WeakKeyDictionary

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils._proxies import PublicOnlyProxy
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_lungseg.widgets.documents import documents_of
from napari_lungseg.widgets.napari_compat import (
    Strokes,
    box_of_atoms,
    canvas_of,
    put_beside_canvas,
    replace_undo,
    settle_canvas,
    unwrapped,
)


@pytest.fixture
def lungs() -> Labels:
    return Labels(np.zeros((3, 20, 20), np.uint8))


def test_a_plugins_proxy_of_a_viewer_gives_the_viewer_itself(make_napari_viewer):
    viewer = make_napari_viewer()
    assert unwrapped(PublicOnlyProxy(viewer)) is unwrapped(PublicOnlyProxy(viewer)) is unwrapped(viewer) is viewer
    assert documents_of(PublicOnlyProxy(viewer)) is documents_of(viewer)


def test_a_viewer_is_a_key_by_which_things_are_found_and_not_held(make_napari_viewer):
    one, other = make_napari_viewer(), make_napari_viewer()
    known = WeakKeyDictionary({one: 1, other: 2})
    assert (known[one], known[other]) == (1, 2)
    model = ViewerModel()
    known[model] = 3
    del model
    gc.collect()
    assert list(known.values()) == [1, 2]


def test_views_are_added_below_the_canvas_of_a_window_and_beside_it(make_napari_viewer):
    window = make_napari_viewer(show=True).window._qt_window
    canvas = canvas_of(window)
    assert canvas is window._qt_viewer
    before, below, beside = canvas.width(), QWidget(), QWidget()
    count = canvas.count()
    canvas.addWidget(below)  # as it is a splitter
    assert canvas.count() == count + 1
    put_beside_canvas(window, beside)
    beside.show()
    settle_canvas(window)
    assert window.centralWidget().isAncestorOf(beside)
    assert beside.x() >= canvas.x() + canvas.width()
    assert abs(beside.width() - canvas.width()) < before / 20


def test_the_keys_of_undo_and_redo_call_the_methods_of_the_layer(make_napari_viewer, qtbot):
    viewer, called = make_napari_viewer(), []
    lungs = viewer.add_labels(np.zeros((20, 20), np.uint8))
    replace_undo(lungs, lambda: called.append("undo"), lambda: called.append("redo"))
    canvas = viewer.window._qt_viewer.canvas.native
    canvas.setFocus()
    for modifier in (Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier):
        qtbot.keyClick(canvas, Qt.Key.Key_Z, modifier)
    assert called == ["undo", "redo"]


@pytest.mark.parametrize("tool", ["stroke", "polygon", "setitem", "fill"])
def test_each_tool_is_heard_once_it_is_written_with_a_box_around_it(lungs, tool):
    seen = lungs.data.copy()
    found = []

    def take_up(box):
        assert box is not None
        changed = lungs.data[box] != seen[box]
        found.append(int(np.count_nonzero(changed)))
        seen[box] = lungs.data[box]
        return bool(changed.any())

    strokes = Strokes(lungs, take_up, lambda: None)
    if tool == "stroke":
        with lungs.block_history():
            for column in range(5, 9):
                lungs.paint((1, 10, column), 2)
    elif tool == "polygon":
        lungs.paint_polygon([[1, 3, 3], [1, 3, 12], [1, 12, 12]], 2)
    elif tool == "setitem":
        lungs.data_setitem((np.array([1, 2]), np.array([4, 4]), np.array([5, 5])), 2)
    else:
        lungs.fill((1, 4, 4), 2)
    assert sum(found) == np.count_nonzero(lungs.data) > 0
    strokes.close()
    lungs.paint((2, 10, 10), 1)
    assert sum(found) < np.count_nonzero(lungs.data)


def test_the_box_of_a_stroke_holds_its_indices_and_slices():
    atoms = [((np.array([1, 1]), np.array([4, 6]), np.array([5, 5])), 0, 1), ((slice(2, 3), slice(None), slice(5, 6)), 0, 1)]
    assert box_of_atoms(atoms, (3, 20, 20)) == (slice(1, 3), slice(0, 20), slice(5, 6))
    assert box_of_atoms("something else", (3, 20, 20)) is None


def test_replacing_the_data_of_a_layer_is_told_at_once(lungs):
    told = []
    lungs.events.data.connect(lambda: told.append(lungs.data.dtype))
    lungs.data = lungs.data.astype(np.uint16)
    assert told == [np.uint16]
