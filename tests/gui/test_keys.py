"""Keys of the modules: one module acts, and a key that has a use where the focus is, keeps it."""

from __future__ import annotations

import numpy as np
import pytest
from phantom import chest
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QListWidgetItem, QPushButton, QSlider, QWidget

from napari_lungseg.widgets.keys import has_use_for
from napari_lungseg.widgets.review.widget import ReviewWidget

CT, LUNGS = chest(slices=4, rows=36, columns=48)
MASK = LUNGS.astype(np.uint8)


@pytest.fixture
def bench(open_bench, qtbot):
    """A shown window with a mask and the Correct module."""
    bench = open_bench(CT, MASK.copy(), show=True)
    window = bench.widget.window()
    window.activateWindow()
    qtbot.waitUntil(lambda: window.isActiveWindow())
    return bench


@pytest.fixture
def review(bench):
    _, widget = bench.viewer.window.add_plugin_dock_widget("napari-lungseg", "Review")
    return seen(bench, widget)


@pytest.fixture
def other(bench, review):
    """The Review module of the dock, beside the one that is a widget of its own."""
    _, dock = bench.viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
    return seen(bench, dock.open("Review"))


def seen(bench, widget: ReviewWidget) -> ReviewWidget:
    bench.qtbot.waitUntil(lambda: widget.isVisible() and widget.reviewing is not None)
    bench.viewer.window._qt_viewer.canvas.native.setFocus()
    return widget


def focus(bench, widget: QWidget) -> None:
    parent = widget.parentWidget()
    while parent is not None and not widget.isVisible():
        parent.setVisible(True)
        parent.setMaximumHeight(10_000)
        parent = parent.parentWidget()
    widget.setFocus()
    bench.qtbot.waitUntil(lambda: QApplication.focusWidget() is widget)


def press(bench, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    QTest.keyClick(QApplication.focusWidget() or bench.widget.window(), key, modifier)


def test_of_two_modules_the_one_that_was_used_last_acts(bench, review, other):
    went = []
    for name, module in (("first", review), ("second", other)):
        module.shortcuts["skip"].activated.connect(lambda name=name: went.append(name))
        module.shortcuts["skip"].activatedAmbiguously.connect(lambda: went.append("ambiguous"))
    press(bench, Qt.Key.Key_PageDown)
    review.windows["Bone"].setFocus()
    bench.qtbot.mouseClick(review.previous, Qt.MouseButton.LeftButton)
    press(bench, Qt.Key.Key_PageDown)
    other.hide()
    press(bench, Qt.Key.Key_PageDown)
    other.show()
    press(bench, Qt.Key.Key_PageDown)
    other.hide()
    press(bench, Qt.Key.Key_PageDown)
    assert went == ["second", "first", "first", "second", "first"]


def test_a_module_that_is_gone_leaves_its_keys_to_the_other(bench, review, other):
    press(bench, Qt.Key.Key_PageDown)
    bench.viewer.window.remove_dock_widget(review)
    with bench.qtbot.waitSignal(review.destroyed):
        review.deleteLater()
    bench.viewer.dims.set_current_step(0, 0)
    press(bench, Qt.Key.Key_PageDown)
    assert bench.viewer.dims.current_step[0] == 1


def test_return_on_a_case_opens_it_and_accepts_nothing(bench, review):
    opened = []
    review.cases.list.itemActivated.disconnect()
    review.cases.list.itemActivated.connect(lambda item: opened.append(item.text()))
    for name in "ab":
        review.cases.list.addItem(QListWidgetItem(name))
    review.cases.list.setVisible(True)
    focus(bench, review.cases.list)
    review.cases.list.setCurrentRow(0)
    press(bench, Qt.Key.Key_PageDown)
    assert review.cases.list.currentRow() == 1
    press(bench, Qt.Key.Key_Return)
    assert opened == ["b"]
    assert not review.reviewing.reviewed
    bench.viewer.window._qt_viewer.canvas.native.setFocus()
    press(bench, Qt.Key.Key_Return)
    assert len(review.reviewing.reviewed) == 1


def test_a_note_is_typed_and_flags_with_the_key_of_flagging(bench, review):
    review.go(1)
    focus(bench, review.note)
    QTest.keyClicks(review.note, "what is this?")
    press(bench, Qt.Key.Key_Return)
    assert review.reviewing.state(1) == "unseen"
    press(bench, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    assert review.reviewing.state(1) == "flagged"
    assert review.reviewing.notes[1] == "what is this?"


def test_keys_work_on_after_a_button_was_clicked(bench, review):
    review.go(1)
    focus(bench, review.skip)
    press(bench, Qt.Key.Key_Return)
    assert review.reviewing.state(1) == "reviewed"


@pytest.mark.parametrize(
    ("kind", "own", "free"),
    [
        ("list", ["Return", "Shift+Return", "PgUp", "PgDown", "Space", "Del", "J", "Ctrl+A"], ["Ctrl+J", "Alt+Return"]),
        ("line", ["Return", "PgDown", "Space", "Del", "J", "Ctrl+J"], []),
        ("spin", ["Return", "PgUp", "Up", "5"], []),
        ("combo", ["PgUp", "PgDown", "Space", "Down", "J"], ["Return", "Shift+Return", "Del", "Ctrl+J"]),
        ("slider", ["PgUp", "PgDown", "Left", "Home"], ["Return", "Space", "J", "Del"]),
        ("button", ["Space"], ["Return", "PgDown", "J", "Del"]),
        ("other", [], ["Return", "PgDown", "Space", "J", "Del", ""]),
    ],
)
def test_which_keys_have_a_use_where_the_focus_is(qtbot, kind, own, free):
    from qtpy.QtWidgets import QComboBox, QLineEdit, QListWidget, QSpinBox

    made = {"list": QListWidget, "line": QLineEdit, "spin": QSpinBox, "combo": QComboBox, "slider": QSlider, "button": QPushButton}
    widget = made.get(kind, QWidget)()
    qtbot.addWidget(widget)
    assert [key for key in [*own, *free] if has_use_for(widget, QKeySequence(key))] == own


def test_nothing_has_a_use_for_a_key_where_there_is_no_focus():
    assert not has_use_for(None, QKeySequence("Return"))


def test_escape_ends_the_only_module_that_waits_for_a_click(bench):
    _, dock = bench.viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
    other = dock.open("Correct")
    apply = []
    for module in (bench.widget, other):
        module.controls.tools.tool.value = "keep_island"
        apply.append(module.controls.tools.apply)
        module.controls.tools.apply.native.click()
    assert [button.text for button in apply] == ["Apply", "Cancel"]
    bench.viewer.window._qt_viewer.canvas.native.setFocus()
    press(bench, Qt.Key.Key_Escape)
    bench.qtbot.waitUntil(lambda: apply[1].text == "Apply")
    assert bench.lungs.mode == "pan_zoom" or bench.lungs.cursor != "cross"
