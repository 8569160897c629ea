"""The dock: found through the manifest, small enough for a small screen, and no harm in two of it."""

from __future__ import annotations

import numpy as np
from napari._app_model import get_app_model
from npe2 import PluginManager
from phantom import chest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton
from waiting import SOON, settle, turn

from napari_lungseg.volume import Volume
from napari_lungseg.widgets.segment.widget import SegmentWidget

CT, LUNGS = chest()


def test_the_dock_offers_its_modules(desk):
    assert "Segment" in desk.dock.module.choices
    assert desk.dock.open("Segment") is desk.widget


def test_the_module_is_a_widget_of_its_own(open_desk):
    desk = open_desk(CT)
    _, widget = desk.viewer.window.add_plugin_dock_widget("napari-lungseg", "Segment")
    assert isinstance(widget, SegmentWidget)
    assert widget is not desk.widget


def test_the_menu_of_layers_opens_the_dock(open_desk):
    desk = open_desk(CT)
    manifest = PluginManager.instance().get_manifest("napari-lungseg")
    (item,) = manifest.contributions.menus["napari/layers/segment"]
    get_app_model().commands.execute_command(item.command).result()
    assert "Lung segmentation (napari-lungseg)" in desk.viewer.window.dock_widgets


def test_it_fits_a_small_screen(open_desk):
    open_desk().viewer.close()  # napari lays out the first dock of all unlike the others
    desk = open_desk(CT, show=True)
    for fold in desk.widget.findChildren(QPushButton):
        if fold.isCheckable() and not fold.isChecked():
            desk.qtbot.mouseClick(fold, Qt.MouseButton.LeftButton)  # unfold everything
    for size in (desk.dock.minimumSizeHint(), desk.dock.sizeHint()):
        assert size.width() <= 380
        assert size.height() <= 650
    # The whole form is seen at once, without scrolling.
    desk.viewer.window.resize(1366, 768)
    desk.wait(lambda: desk.controls.height() > 500)
    desk.controls.slices.value = "range"
    desk.image.name = "a chest whose name is much longer than any box can show " * 3
    desk.controls.tell("/a/path/without/any/space" * 10)
    turn(desk.qtbot)
    width, height = desk.viewer.window.geometry()[2:]
    assert width <= 1366
    assert height <= 768
    for widget in (desk.controls.image.native, desk.controls.last.native, desk.controls.run.native, desk.controls.probability.native):
        assert widget.isVisible()
        assert desk.controls.rect().contains(widget.mapTo(desk.controls, widget.rect().bottomRight()))


def test_it_says_once_what_it_is_not_for(desk):
    notes = [label for label in desk.dock.findChildren(QLabel) if "not for diagnosis" in label.text()]
    assert len(notes) == 1


def test_opened_twice_it_does_no_harm(open_desk, messages):
    desk = open_desk(Volume(np.resize(CT.array, (300, *CT.shape[1:])), CT.affine, "HU"))
    _, other = desk.viewer.window.add_plugin_dock_widget("napari-lungseg", "Segment")
    desk.wait(lambda: "phantom" in other.controls.model.choices)
    other.controls.model.value = "phantom"
    with desk.qtbot.waitSignal(desk.widget.idle, timeout=SOON):
        desk.press()
        desk.qtbot.mouseClick(other.controls.run.native, Qt.MouseButton.LeftButton)
    assert messages == ["ct is being segmented already."]
    assert [layer.name for layer in desk.viewer.layers] == ["ct", "ct probability", "ct lungs"]
    assert (desk.lungs.data.any(axis=(1, 2))).all()
    # Either of them moves the threshold of the one result.
    desk.probability.data[0, 2:20, 2:20] = 40
    with desk.qtbot.waitSignal(other.idle, timeout=SOON):
        other.controls.steps["keep_lungs"].value = False
        other.controls.threshold.value = 30
    assert desk.lungs.data[0, 10, 10] != 0
    with desk.qtbot.waitSignal(other.idle, timeout=SOON):
        desk.qtbot.mouseClick(other.controls.run.native, Qt.MouseButton.LeftButton)
    assert [layer.name for layer in desk.viewer.layers] == ["ct", "ct probability", "ct lungs"]


def test_a_dock_closed_while_it_runs_leaves_the_viewer_in_order(open_desk, messages):
    desk = open_desk(Volume(np.resize(CT.array, (2000, *CT.shape[1:])), CT.affine, "HU"))
    desk.press()
    desk.wait(lambda: "ct lungs" in desk.viewer.layers and desk.lungs.data.any())
    lungs = desk.lungs
    desk.viewer.window.remove_dock_widget(desk.dock)
    with desk.qtbot.waitSignal(desk.dock.destroyed, timeout=SOON):
        desk.dock.deleteLater()
    settle(desk.qtbot)
    filled = np.count_nonzero(lungs.data)
    desk.add(CT, name="next")
    desk.viewer.layers.selection.active = desk.viewer.layers["next"]
    settle(desk.qtbot)
    assert np.count_nonzero(lungs.data) == filled
    assert not messages


def test_a_module_that_a_script_opens_is_the_one_that_the_list_names(open_desk) -> None:
    desk = open_desk()
    shown = desk.dock.open("Review")
    assert desk.dock.module.value == "Review"
    assert shown.isVisibleTo(desk.dock)
    desk.dock.module.value = "Segment"
    assert not shown.isVisibleTo(desk.dock)
