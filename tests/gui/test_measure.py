"""The Measure module: one button for the numbers, one for the surfaces, and files; in the place and colours of the mask."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import trimesh
from geometry import grids
from napari._app_model import get_app_model
from napari.layers import Surface
from npe2 import PluginManager
from phantom import chest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QPushButton, QTableView
from waiting import end_work, turn

from napari_lungseg.measurement import measure
from napari_lungseg.volume import Volume, scaling
from napari_lungseg.widgets.layers import volume_to_layer
from napari_lungseg.widgets.measure.widget import CHANGED, NOTHING, MeasureWidget

SOON = 30_000
CT, LUNGS = chest()
SIDES = np.where(np.arange(LUNGS.shape[2]) < LUNGS.shape[2] // 2, 1, 2).astype(np.uint8) * LUNGS
LABELS = CT.with_array(SIDES)


class Place:
    """A viewer with the Measure module, opened through the manifest, and what a person does with it."""

    def __init__(self, viewer, qtbot) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        _, self.widget = viewer.window.add_plugin_dock_widget("napari-lungseg", "Measure")

    @property
    def controls(self):
        return self.widget.controls

    def add(self, image: Volume | None, labels: Volume | None, name: str = "lungs"):
        for volume, add, called in ((image, self.viewer.add_image, "ct"), (labels, self.viewer.add_labels, name)):
            if volume is not None:
                data, keywords = volume_to_layer(volume)
                layer = add(data, name=called, **keywords)
        return layer

    def press(self, button: QPushButton) -> str:
        """Press a button and wait for the end; gives what went wrong, empty if nothing did."""
        with self.qtbot.waitSignal(self.widget.idle, timeout=SOON) as end:
            self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        return end.args[0]

    def table(self) -> dict[str, list[str]]:
        table = self.controls.table
        rows, columns = range(table.rowCount()), range(table.columnCount())
        return {table.verticalHeaderItem(row).text(): [table.item(row, column).text() for column in columns] for row in rows}

    def surfaces(self) -> list[Surface]:
        return [layer for layer in self.viewer.layers if isinstance(layer, Surface)]


@pytest.fixture
def open_place(make_napari_viewer_proxy, qtbot):
    """Opens the module in a viewer of its own."""
    yield lambda **viewer_settings: Place(make_napari_viewer_proxy(**viewer_settings), qtbot)
    end_work()


@pytest.fixture
def place(open_place) -> Place:
    return open_place()


@pytest.fixture
def save_as(monkeypatch, tmp_path):
    """Answers the question for a file name."""

    def call(name: str, kind: str = ""):
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / name), kind))
        return tmp_path / name

    return call


def test_dock_and_menu_offer_the_module(open_desk):
    desk = open_desk(CT)
    assert desk.dock.module.choices[-1] == "Measure"
    assert isinstance(desk.dock.open("Measure"), MeasureWidget)
    (item,) = PluginManager.instance().get_manifest("napari-lungseg").contributions.menus["napari/layers/measure"]
    get_app_model().commands.execute_command(item.command).result()
    assert "Measure (Lung segmentation)" in desk.viewer.window.dock_widgets


def test_it_measures_what_the_segment_module_made(open_desk):
    desk = open_desk(CT)
    assert desk.segment() == ""
    widget = desk.dock.open("Measure")
    assert (widget.controls.mask.value, widget.controls.image.value) == (desk.lungs, desk.image)
    with desk.qtbot.waitSignal(widget.idle, timeout=SOON):
        desk.qtbot.mouseClick(widget.controls.run, Qt.MouseButton.LeftButton)
    expected = measure(CT.with_array(desk.lungs.data), CT)
    assert [region.voxels for region in widget.measured.regions] == [region.voxels for region in expected.regions]
    # The names that the mask had are still there, beside the measures.
    assert list(desk.lungs.features["lung"])[1:] == ["right", "left"]
    assert [region.name for region in widget.measured.regions] == ["right", "left", "together"]
    assert list(desk.lungs.features["index"]) == [0, 1, 2]
    # A threshold makes the table old.
    desk.probability.data[2, 10:20, 20:30] = 30
    desk.set_threshold(20)
    assert widget.controls.status.text() == CHANGED


def test_the_table_the_features_and_the_curves_hold_the_measures(place):
    mask = place.add(CT, LABELS)
    assert place.press(place.controls.run) == ""
    expected = measure(LABELS, CT)
    table = place.table()
    assert table["Volume (mL)"] == [f"{region.volume_ml:.1f}" for region in expected.regions]
    assert table["LAA-950 (%)"] == [f"{region.density.laa950_percent:.2f}" for region in expected.regions]
    assert "cut off" in place.controls.notes.text()
    features = mask.features.set_index("index")
    assert list(features.index) == [0, 1, 2]
    for region in expected.regions[:2]:
        row = features.loc[region.label]
        assert row["region"] == region.name
        assert row["volume_ml"] == pytest.approx(region.volume_ml)
        assert row["mass_g"] == pytest.approx(region.density.mass_g)
    # napari shows them under the cursor.
    inside = np.argwhere(SIDES == 2)[np.count_nonzero(SIDES[:4] == 2)]  # in the displayed slice
    assert f"region: {expected.regions[1].name}" in mask.get_status(mask.data_to_world(inside), world=True)["value"]
    areas, densities = (plot.plot.listDataItems() for plot in (place.controls.areas, place.controls.densities))
    assert [curve.name() for curve in areas] == [curve.name() for curve in densities] == ["label 1", "label 2"]
    np.testing.assert_allclose(areas[1].getData()[1], expected.regions[1].profile.area_cm2)


def test_the_measures_are_in_naparis_own_table(place):
    mask = place.add(CT, LABELS)
    place.press(place.controls.run)
    _, own = place.viewer.window.add_plugin_dock_widget("napari", "Features table widget")
    place.viewer.layers.selection.active = mask
    (table,) = own.findChildren(QTableView)
    model = table.model()
    titles = [model.headerData(column, Qt.Orientation.Horizontal) for column in range(model.columnCount())]
    place.qtbot.waitUntil(lambda: model.rowCount() == 3, timeout=SOON)
    assert {"index", "region", "volume_ml", "perc15_hu"} <= set(titles)


def test_without_an_image_there_are_no_densities(place):
    place.add(None, LABELS)
    assert place.controls.image.value is None
    assert place.press(place.controls.run) == ""
    assert "Volume (mL)" in place.table()
    assert not any("HU" in title for title in place.table())
    assert not place.controls.densities.plot.listDataItems()


def test_what_is_painted_makes_the_table_old(place):
    mask = place.add(CT, LABELS)
    place.press(place.controls.run)
    before = place.table()["Volume (mL)"]
    mask.paint((4, 5, 5), 1)
    assert place.controls.status.text() == CHANGED
    place.press(place.controls.run)
    assert place.controls.status.text() == ""
    assert place.table()["Volume (mL)"][0] > before[0]


def test_another_mask_empties_the_table(place):
    first = place.add(CT, LABELS)
    place.press(place.controls.run)
    place.add(None, LABELS.with_array((SIDES > 0).astype(np.uint8)), "other")
    assert place.controls.mask.value.name == "other"
    assert place.controls.table.isHidden()
    assert not place.controls.csv.isEnabled()
    place.viewer.layers.selection.active = first
    assert place.controls.mask.value == first


def test_without_a_mask_nothing_can_be_pressed(place):
    place.add(CT, None)
    assert place.controls.status.text() == NOTHING
    assert not any(button.isEnabled() for button in place.controls.findChildren(QPushButton) if not button.isCheckable())
    place.add(None, LABELS)
    assert place.controls.run.isEnabled()
    assert place.controls.status.text() == ""


def test_an_image_on_another_grid_is_refused_in_one_sentence(place, messages):
    place.add(None, LABELS)
    place.add(Volume(CT.array, scaling((6.0, 4.0, 4.0), (900.0, 0.0, 0.0)), "HU"), None)
    place.controls.image.value = place.viewer.layers["ct"]
    assert "different grids" in place.press(place.controls.run)
    assert "different grids" in place.controls.status.text()
    assert len(messages) == 1
    assert place.controls.run.isEnabled()


@pytest.mark.parametrize("affine", [CT.affine, *list(grids())[5::19]], ids=str)
def test_surfaces_lie_where_the_mask_is_shown(place, affine):
    mask = place.add(None, Volume(SIDES, affine))
    colours = [mask.get_color(label)[:3] for label in (1, 2)]
    assert place.press(place.controls.show_surfaces) == ""
    found = place.surfaces()
    assert [layer.name for layer in found] == ["lungs surface label 1", "lungs surface label 2"]
    for label, layer, colour in zip((1, 2), found, colours):
        index = np.argwhere(mask.data == label)
        centre = mask.data_to_world(index.mean(axis=0))
        np.testing.assert_allclose(layer.data_to_world(trimesh.Trimesh(*layer.data[:2]).center_mass), centre, atol=1.0)
        corners = np.array([mask.data_to_world(corner) for corner in (index.min(0) - 0.5, index.max(0) + 0.5)])
        if mask.metadata.get("lps_from_world") or not np.any(mask.affine.rotate - np.eye(3)):
            shown = np.array(layer.extent.world)
            np.testing.assert_allclose(shown, np.sort(corners, axis=0), atol=3.0)
        assert trimesh.Trimesh(*layer.data[:2]).volume > 0
        brightest = layer.vertex_colors[layer.vertex_colors.sum(axis=1).argmax(), :3]
        np.testing.assert_allclose(brightest / brightest.max(), colour / colour.max(), atol=1e-3)
        assert layer.units == mask.units


def test_surfaces_are_seen_from_the_front_and_alone(open_place):
    place = open_place(show=True)
    mask = place.add(CT, LABELS)
    place.press(place.controls.show_surfaces)
    viewer = place.viewer
    assert viewer.dims.ndisplay == 3
    np.testing.assert_allclose(viewer.scene.camera.view_direction, (0, 1, 0), atol=1e-9)
    np.testing.assert_allclose(viewer.scene.camera.up_direction, (1, 0, 0), atol=1e-9)
    assert [layer.visible for layer in viewer.layers] == [False, False, True, True]
    # The right lung is on the left of the picture, not as in a mirror.
    turn(place.qtbot)
    picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    right, left = (mask.get_color(label)[:3] for label in (1, 2))
    shape = picture / np.maximum(picture.max(axis=-1, keepdims=True), 1)
    columns = [np.argwhere(np.abs(shape - colour / colour.max()).max(axis=-1) < 0.03)[:, 1].mean() for colour in (right, left)]
    assert columns[0] < columns[1]
    # Back among the slices all is as it was.
    viewer.dims.ndisplay = 2
    assert all(layer.visible for layer in viewer.layers)


def test_surfaces_that_are_there_are_made_anew(place):
    mask = place.add(CT, LABELS)
    place.press(place.controls.show_surfaces)
    before = place.surfaces()
    mask.data = np.where(SIDES == 1, 1, 0).astype(np.uint8)
    place.press(place.controls.show_surfaces)
    (left_over,) = place.surfaces()
    assert left_over is before[0]
    mask.data = np.roll(SIDES, 3, axis=1)
    place.press(place.controls.show_surfaces)
    assert len(place.surfaces()) == 2
    np.testing.assert_allclose(
        trimesh.Trimesh(*place.surfaces()[0].data[:2]).center_mass,
        mask.data_to_world(np.argwhere(mask.data == 1).mean(axis=0)),
        atol=1.0,
    )


def test_a_single_slice_has_numbers_but_no_surface(place, messages):
    place.add(None, Volume(SIDES[4], CT.affine))
    assert place.press(place.controls.run) == ""
    assert "Feret (mm)" in place.table()
    assert "single slice" in place.press(place.controls.show_surfaces)
    assert len(messages) == 1


def test_of_a_series_the_displayed_volume_is_measured(place):
    series = np.stack([SIDES, np.where(SIDES == 2, 2, 0)])
    place.viewer.add_labels(series, name="series", scale=(1, 6, 4, 4), units=("s", "mm", "mm", "mm"))
    place.viewer.dims.set_point(0, 1)
    place.press(place.controls.run)
    (region,) = place.widget.measured.regions
    assert (region.label, region.voxels) == (2, np.count_nonzero(SIDES == 2))
    assert place.press(place.controls.show_surfaces) == ""
    assert [layer.ndim for layer in place.surfaces()] == [3]


def test_files_are_written_where_the_person_says(place, save_as, messages):
    place.add(CT, LABELS)
    place.press(place.controls.run)
    table = save_as("lungs.csv")
    place.qtbot.mouseClick(place.controls.csv, Qt.MouseButton.LeftButton)
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [float(row["volume_ml"]) for row in rows] == [region.volume_ml for region in place.widget.measured.regions]
    page = save_as("lungs.html")
    assert place.press(place.controls.report) == ""
    assert "<h1>lungs</h1>" in page.read_text(encoding="utf-8")
    mesh = save_as("lungs", "glTF with colours (*.glb)")
    assert place.press(place.controls.save_surfaces) == ""
    scene = trimesh.load(mesh.with_suffix(".glb"))
    total = sum(part.volume for part in scene.geometry.values()) / 1000
    assert total == pytest.approx(place.widget.measured.regions[-1].volume_ml, rel=0.01)
    assert [message.split()[0] for message in messages] == ["Saved"] * 3
    assert save_as("nowhere/lungs.stl") is not None
    assert "does not exist" in place.press(place.controls.save_surfaces)


def test_no_surface_in_millimetres_without_a_size_of_voxels(place, save_as):
    place.viewer.add_labels(SIDES, name="pixels")
    path = save_as("lungs.stl")
    assert "no known size" in place.press(place.controls.save_surfaces)
    assert not path.exists()


def test_a_mask_that_is_removed_meanwhile_leaves_all_in_order(place, messages):
    place.add(CT, LABELS)
    for button in (place.controls.run, place.controls.show_surfaces):
        with place.qtbot.waitSignal(place.widget.idle, timeout=SOON):
            place.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
            place.viewer.layers.remove("lungs")
        assert place.widget.measured is None
        assert not place.surfaces()
        assert place.controls.status.text() in (NOTHING, "")
        place.add(None, LABELS)
    assert not messages


def test_it_fits_a_small_screen(place):
    place.add(CT, LABELS, "a mask whose name is much longer than any box can show " * 3)
    place.press(place.controls.run)
    for fold in place.widget.findChildren(QPushButton):
        if fold.isCheckable() and not fold.isChecked():
            place.qtbot.mouseClick(fold, Qt.MouseButton.LeftButton)
    for size in (place.widget.minimumSizeHint(), place.widget.sizeHint()):
        assert size.width() <= 380
        assert size.height() <= 650
