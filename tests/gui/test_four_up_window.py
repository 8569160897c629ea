"""Four views come and go with what the window shows, and end with it."""

from __future__ import annotations

import shutil

import numpy as np
from napari.qt import QtViewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QMainWindow, QWidget
from viewing_room import CT, SIDES, coloured, letters, picture
from waiting import SOON, settle

from napari_lungseg.widgets.views.crosshair import Crosshair
from napari_lungseg.widgets.views.viewing import View


def test_one_view_after_four_is_as_before_and_four_come_back(four):
    wide = four.canvas.canvas.native.width()
    four.press(View.CORONAL)
    assert four.canvas.canvas.native.width() > 1.5 * wide
    assert not any(view.isVisible() for view in four.four_up._views)
    assert not any(lines.isVisible() for lines in four.window.findChildren(Crosshair))
    # What changes meanwhile is seen when they are back.
    four.mask.data[:] = 1
    four.mask.refresh()
    four.viewer.dims.set_current_step(0, 7)
    four.press(View.FOUR_UP)
    assert letters(four.viewer) == "RLAP"
    assert four.four_up.coronal.dims.current_step[0] == 7
    seen = picture(four.four_up._views[0])
    assert coloured(seen, four.mask.get_color(1)).mean() < 1  # drawn without complaint
    four.press(View.SURFACES)
    assert four.viewer.dims.ndisplay == 3
    assert not four.four_up.solid.layers


def test_of_a_series_the_displayed_time_is_shown(room):
    data = np.stack([CT.array, CT.array + 500])
    spacing = (1.0, *CT.spacing)
    layer = room.viewer.add_image(data, name="series", scale=spacing)
    room.press(View.FOUR_UP)
    room.viewer.dims.set_current_step(0, 1)
    for model, _ in room.views().values():
        assert model.dims.current_step[0] == 1
        assert model.dims.displayed[-1] > 0
    assert four_orders(room) == [(0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2)]
    assert layer in room.viewer.layers


def four_orders(room) -> list[tuple[int, ...]]:
    return [model.dims.order for model, _ in room.views().values()]


def test_choosing_another_view_while_the_four_are_opened_leaves_it_shown(room):
    room.add(CT, CT.with_array(SIDES))
    room.qtbot.mouseClick(room.dock.views.buttons[View.FOUR_UP], Qt.MouseButton.LeftButton)
    room.qtbot.mouseClick(room.dock.views.buttons[View.CORONAL], Qt.MouseButton.LeftButton)
    room.qtbot.waitUntil(lambda: room.four_up is not None, timeout=SOON)
    room.qtbot.waitUntil(lambda: not room.viewing.text, timeout=SOON)
    settle(room.qtbot)
    assert room.viewing.view is View.CORONAL
    assert room.pressed() == [View.CORONAL]


def shown() -> list[QWidget]:
    """Windows and views that are on the screen."""
    return [widget for widget in QApplication.allWidgets() if isinstance(widget, (QMainWindow, QtViewer)) and widget.isVisible()]


def test_the_window_closes_with_all_views_open(four, messages):
    assert len(shown()) == 5
    four.viewer.close()
    settle(four.qtbot)
    assert not shown()
    assert not messages


def test_the_window_closes_while_the_views_are_opened(room, messages):
    room.add(CT, CT.with_array(SIDES))
    room.qtbot.mouseClick(room.dock.views.buttons[View.FOUR_UP], Qt.MouseButton.LeftButton)
    room.viewer.close()
    settle(room.qtbot)
    assert not shown()
    assert not messages


def test_who_objects_to_closing_keeps_all_views(four, questions, workspace_folder, tmp_path):
    """Somebody is asked, as some work is not on disk."""
    session = four.dock.workspace.session
    four.correct(four.mask)
    four.qtbot.waitUntil(lambda: session.workspace is not None, timeout=SOON)
    shutil.move(workspace_folder, tmp_path / "away")
    four.mask.paint((4, 36, 48), 2)
    four.qtbot.waitUntil(lambda: not session.status.safe, timeout=SOON)
    questions.expect(questions.STAY)
    assert not four.window.close()
    shutil.move(tmp_path / "away", workspace_folder)
    four.qtbot.waitUntil(lambda: session.status.safe, timeout=SOON)
    assert four.pressed() == [View.FOUR_UP]
    assert all(view.isVisible() for view in four.four_up._views)
    assert letters(four.viewer) == "RLAP"


def test_a_window_that_was_hidden_opens_the_views_again(four):
    four.window.hide()
    four.window.show()
    four.press(View.FOUR_UP)
    assert [layer.name for layer in four.four_up.coronal.layers] == ["ct", "lungs"]
    four.press(View.SAGITTAL)
    assert letters(four.viewer) == "APSI"
