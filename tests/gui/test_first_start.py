"""What somebody sees who has never used this: how to begin, and what each control is."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit, QScrollArea, QScrollBar, QWidget
from superqt import QCollapsible

from napari_lungseg.widgets.dock import MODULES
from napari_lungseg.widgets.language import use_language

CONTROLS = (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit)


def controls(module: QWidget) -> list[QWidget]:
    """All that a person can press or set, also what is folded away, without the parts that Qt makes these of."""
    parts = (QAbstractSpinBox, QComboBox)
    return [
        widget
        for widget in module.findChildren(QWidget)
        if isinstance(widget, CONTROLS)
        and not isinstance(widget, QScrollBar)
        and not isinstance(widget.parent(), (*parts, QCollapsible))
        and not widget.objectName().startswith("qt_")
    ]


def explained(widget: QWidget) -> bool:
    """Whether it, or what it is a part of, has a tooltip."""
    while widget is not None and not widget.toolTip():
        widget = widget.parentWidget()
    return widget is not None


def test_an_empty_window_tells_how_to_begin_and_opens_the_sample(open_desk, qtbot):
    desk = open_desk(show=True)
    first = desk.controls.first_steps
    assert first.isVisible()
    qtbot.mouseClick(desk.controls.open_sample, Qt.MouseButton.LeftButton)
    assert desk.image.name == "chest CT"
    assert not first.isVisible()
    assert desk.controls.run.enabled
    desk.viewer.layers.clear()
    assert first.isVisible()


@pytest.mark.parametrize("name", MODULES)
def test_each_control_says_what_it_is(desk, name):
    module = desk.dock.open(name)
    nameless = [f"{type(widget).__name__} {getattr(widget, 'text', str)()!r}" for widget in controls(module) if not explained(widget)]
    assert not nameless, nameless


@pytest.mark.parametrize("language", ["en", "zh_CN"])
def test_a_module_is_no_wider_than_the_dock(open_desk, language):
    use_language(language)
    try:
        desk = open_desk(show=True)
        for name in MODULES:
            module = desk.dock.open(name)
            areas = [area for area in module.findChildren(QScrollArea) if area.isVisible()]
            desk.wait(lambda areas=areas: all(area.viewport().width() > 100 for area in areas))
            assert areas
            for area in areas:
                assert area.widget().minimumSizeHint().width() <= area.viewport().width(), name
    finally:
        use_language("en")


@pytest.mark.parametrize("name", MODULES)
def test_each_control_is_reached_by_the_tab_key(desk, name):
    module = desk.dock.open(name)
    skipped = [
        f"{type(widget).__name__} {getattr(widget, 'text', str)()!r}"
        for widget in controls(module)
        if not widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.focusProxy() is None
    ]
    assert not skipped, skipped
