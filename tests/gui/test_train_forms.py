"""The forms of the Train module: what they show is what is trained with, and what is chosen is what is learnt from."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from napari.layers import Image, Labels
from phantom import chest
from qtpy.QtWidgets import QPushButton
from waiting import turn

from napari_lungseg.content import pack
from napari_lungseg.errors import InputError
from napari_lungseg.training.augmentation import AugmentSettings
from napari_lungseg.training.samples import IGNORE
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import TrainingCase
from napari_lungseg.training.updates import BeforeAfter, Finished, Overview, PooledScores, SlicePicture, Verdict
from napari_lungseg.widgets.layers import volume_to_layer
from napari_lungseg.widgets.train.augment_form import AugmentForm
from napari_lungseg.widgets.train.chosen_input import ChosenLayers
from napari_lungseg.widgets.train.curves import Curves
from napari_lungseg.widgets.train.pictures import Picture, Pictures, coloured
from napari_lungseg.widgets.train.settings_form import SettingsForm
from napari_lungseg.widgets.train.train_run import free_name
from napari_lungseg.widgets.train.verdict import VerdictBox
from napari_lungseg.workspace import JOURNAL, Workspace

CT, LUNGS = chest()
SCORES = PooledScores(0.1, {"lung": 0.9}, {"lung": 0.8}, {"lung": 0.7}, {"lung": float("nan")})


@pytest.fixture
def layers() -> tuple[Image, Labels]:
    data, keywords = volume_to_layer(CT)
    return Image(data, name="ct", **keywords), Labels(LUNGS.astype(np.uint8), name="lungs", **keywords)


def learnt(chosen: ChosenLayers) -> np.ndarray:
    (case,) = chosen.read()
    assert isinstance(case, TrainingCase)
    return np.asarray(case.labels.array)


@pytest.mark.parametrize("settings", [TrainSettings(), TrainSettings.fine_tuning(), TrainSettings(minutes=3.5, patience=7, loss="ce")])
def test_every_setting_is_in_the_form_and_comes_back_as_it_was(qtbot, settings):
    form = SettingsForm()
    qtbot.addWidget(form)
    assert form.controls.keys() == {setting.name for setting in fields(TrainSettings)} - {"augmentation"}
    form.show_settings(settings)
    assert TrainSettings(**form.values(), augmentation=settings.augmentation) == settings


@pytest.mark.parametrize("settings", [AugmentSettings(), TrainSettings.fine_tuning().augmentation, AugmentSettings.off()])
def test_the_augmentation_comes_back_as_it_was(qtbot, settings):
    form = AugmentForm()
    qtbot.addWidget(form)
    form.show_settings(settings)
    assert form.settings() == settings


def test_each_part_of_the_augmentation_has_its_switch(qtbot):
    form = AugmentForm()
    qtbot.addWidget(form)
    whole = AugmentSettings()
    with qtbot.waitSignal(form.changed):
        form.switches["Elastic"].setChecked(False)
    form.switches["Noise"].setChecked(False)
    form.switches["Disease"].setChecked(False)
    spatial, intensity = replace(whole.spatial, elastic=0, elastic_mm=0), replace(whole.intensity, noise=0, noise_hu=0)
    assert form.settings() == replace(whole, spatial=spatial, intensity=intensity, disease=0)
    form.switches["Elastic"].setChecked(True)
    form.numbers["rotation_deg"].setValue(90)
    assert form.settings().spatial == replace(whole.spatial, rotation_deg=90)


def test_of_labels_from_elsewhere_the_slices_that_hold_any_were_judged(layers):
    image, labels = layers
    labels.data[:4] = 0
    found = learnt(ChosenLayers(image, labels, ()))
    assert (found[:4] == IGNORE).all()
    np.testing.assert_array_equal(found[4:], LUNGS[4:])


def test_of_scribbles_only_what_was_painted_was_judged(layers):
    image, labels = layers
    labels.data[...] = 0
    labels.data[4, 30, 20:40], labels.data[4, 60, 20:40] = 1, 3
    found = learnt(ChosenLayers(image, labels, (), background=3))
    assert (found[4, 30, 20:40] == 1).all()
    assert (found[4, 60, 20:40] == 0).all()
    assert np.count_nonzero(found != IGNORE) == 40


def test_what_stands_in_for_a_damaged_slice_was_judged_by_nobody(layers, tmp_path):
    image, labels = layers
    with Workspace(tmp_path) as workspace:
        case = workspace.add_case("a" * 64, name="ct", path=None, shape=CT.shape, affine=CT.affine, axis=0, unit="HU")
        for planes in (np.ones_like(LUNGS, np.uint8), LUNGS.astype(np.uint8)):
            workspace.save(case, {index: (planes[index], planes[index] | 0x80) for index in (4, 5)}, cause="paint")
        for index in (4, 5):
            workspace.set_state(case, index, "reviewed")
    path = tmp_path / JOURNAL
    data, packed = path.read_bytes(), pack(LUNGS[4].astype(np.uint8))
    path.write_bytes(data.replace(packed, packed[:-1] + bytes([packed[-1] ^ 1])))
    with Workspace(tmp_path) as workspace:
        assert workspace.load(case).older == {4}
        found = learnt(ChosenLayers(image, labels, (), workspace=workspace, case=case))
    assert (found[4] == IGNORE).all()
    np.testing.assert_array_equal(found[5], LUNGS[5])


def test_what_is_learnt_from_is_a_copy(layers):
    image, labels = layers
    found = learnt(ChosenLayers(image, labels, ()))
    labels.data[4] = 7
    np.testing.assert_array_equal(found[4], LUNGS[4])


def test_labels_and_image_of_different_sizes_are_refused(layers):
    image, labels = layers
    with pytest.raises(InputError, match="choose labels of this image"):
        ChosenLayers(image, Labels(labels.data[:5], name="five"), ()).read()


def test_names_of_new_models_are_free(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_LUNGSEG_MODELS", str(tmp_path))
    assert free_name("lung-ct") == "lung-ct-tuned"
    (tmp_path / "lung-ct-tuned").mkdir()
    (tmp_path / "lung-ct-tuned-2").mkdir()
    assert free_name("/somewhere/lung-ct") == "lung-ct-tuned-3"
    assert free_name("lung-ct-tuned-2") == "lung-ct-tuned-3"
    assert free_name(None) == "new-model"


def test_pictures_show_classes_what_was_not_judged_and_the_outline():
    image = np.full((8, 8), 100, np.uint8)
    labels = np.zeros((8, 8), np.uint8)
    labels[:2], labels[6:] = 1, IGNORE
    outline = np.zeros((8, 8), np.uint8)
    outline[3:5, 3:5] = 1
    shown = coloured(Picture("", image, labels, outline))
    assert shown[0, 0, 1] > shown[0, 0, 0]
    assert (shown[7, 7] < 100).all()
    assert (shown[5, 0] == 100).all()
    assert shown[3, 3, 0] == 255


def test_pictures_keep_their_shape_however_wide_the_dock_is(qtbot):
    pictures = Pictures(columns=2)
    qtbot.addWidget(pictures)
    pictures.show_pictures([Picture("one", np.zeros((50, 100), np.uint8), np.zeros((50, 100), np.uint8))] * 2)
    heights = []
    for width in (200, 320):
        pictures.resize(width, 400)
        heights.append(pictures.sizeHint().height())
    assert 40 < heights[0] < heights[1] < 120


def test_the_table_shows_before_and_after_of_new_and_old_slices(qtbot):
    box = VerdictBox()
    qtbot.addWidget(box)
    better = replace(SCORES, dice={"lung": 0.95})
    picture = SlicePicture("case slice 3", *(np.zeros((9, 9), np.uint8) for _ in range(3)), 0.95)
    verdict = Verdict(
        True, "Accepted.", BeforeAfter(3, SCORES, better), BeforeAfter(24, SCORES, SCORES), ((None, picture), (picture, picture))
    )
    box.show_end(Finished("folder", "lung-ct-tuned", verdict, 60.0))
    table = box.table.text()
    assert all(text in table for text in ("New slices (3)", "Old slices (24)", "0.900", "0.950"))
    assert "nan" not in table
    assert box.name.text() == "lung-ct-tuned"
    assert box.pictures.captions == ["Person", "After: Dice 0.950"]
    box._turn(1)
    assert box.pictures.captions == ["Before: Dice 0.950", "After: Dice 0.950"]
    with qtbot.waitSignal(box.accepted) as told:
        box.name.setText("mine")
        box.accept.click()
    assert told.args == ["mine"]


def test_without_pyqtgraph_the_module_says_how_to_get_curves(qtbot, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyqtgraph", None)
    curves = Curves()
    qtbot.addWidget(curves)
    assert "install pyqtgraph" in curves.layout().itemAt(0).widget().text()


def test_the_augmentation_is_shown_on_a_slice_that_is_learnt_from(open_desk):
    desk = open_desk(CT)
    labels = desk.viewer.add_labels(LUNGS.astype(np.uint8), name="known", **volume_to_layer(CT)[1])
    widget = desk.dock.open("Train")
    desk.wait(lambda: "phantom" in widget.controls.base.choices)
    widget.controls.base.value = "phantom"
    widget.choose.labels.value = labels
    preview = widget.controls.preview
    preview.another.click()
    desk.wait(lambda: len(preview.pictures.captions) == 4)
    first = [image for _, image in preview.pictures._pictures]
    widget.controls.augmentation.whole.setChecked(False)  # the same slice, as it is
    desk.wait(lambda: [image for _, image in preview.pictures._pictures] != first)
    still = [image for _, image in preview.pictures._pictures]
    assert still[0] == still[1] == still[2]


def test_the_module_fits_a_small_screen_at_every_stage(open_desk):
    open_desk().viewer.close()  # napari lays out the first dock of all unlike the others
    desk = open_desk(CT, show=True)
    desk.dock.module.value = "Train"
    widget = desk.dock.open("Train")
    controls = widget.controls
    for fold in widget.findChildren(QPushButton):
        if fold.isCheckable() and not fold.isChecked():
            fold.click()
    picture = SlicePicture("case slice 3", *(np.zeros((90, 120), np.uint8) for _ in range(3)), 0.95)
    verdict = Verdict(True, "Accepted. " * 20, BeforeAfter(3, SCORES, SCORES), BeforeAfter(24, SCORES, SCORES), ((None, picture),) * 4)
    controls.show_overview(Overview(1, 2, 3, {"a name that is much longer than any other": 3} | {"b" * 30: 1}, 4, 5, "split. " * 30), 100.0)
    stages = (controls.show_setup, controls.show_running, lambda: controls.show_verdict(Finished("f", "n" * 64, verdict, 1.0)))
    for stage in stages:
        stage()
        turn(desk.qtbot)
        assert desk.dock.sizeHint().width() <= 380
        assert desk.viewer.window.geometry()[2] <= 1366
        area = controls.layout().itemAt(0).widget()
        assert area.widget().minimumSizeHint().width() <= area.viewport().width()


def test_what_was_doubtful_in_files_is_shown_as_text(open_desk):
    widget = open_desk(CT).dock.open("Train")
    told = Overview(2, 8, 0, {"lung": 8}, 6, 2, "Split by patient.", notes=("<b>ct</b>: The file tells two places.",))
    widget.controls.show_overview(told, None)
    assert "&lt;b&gt;ct&lt;/b&gt;: The file tells two places." in widget.controls.overview.text()
