"""Models of several classes in the window: labels, names, threshold, undo, other models over them, and coming back from the workspace."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from phantom import chest, chest_model, two_class_model
from qtpy.QtWidgets import QFileDialog
from waiting import SOON

from napari_lungseg.mask import MaskSettings
from napari_lungseg.model import FOLDER_VARIABLE, Model, save_model
from napari_lungseg.segmentation import segment
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.model_choice import FOLDER
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.widgets.writers import save_layer

CT, LUNGS = chest(slices=6)
SHOWN = 2


def doubtful() -> Volume:
    """The chest with a slice on which part of a lung and part of the bone are in doubt."""
    hu = CT.array.copy()
    hu[SHOWN] = np.where(LUNGS[SHOWN] & (np.arange(hu.shape[1])[:, None] < 34), -720, hu[SHOWN])
    hu[SHOWN] = np.where((hu[SHOWN] > 400) & (np.arange(hu.shape[2]) > 48), 215, hu[SHOWN])
    return CT.with_array(hu, "HU")


def expected(model: Model, percent: int = 50, volume: Volume | None = None) -> np.ndarray:
    return segment(volume or doubtful(), model, mask=MaskSettings(threshold=percent / 100)).labels.array


ORGANS = two_class_model(("liver", "spleen"), (2, 1), sides=False)
MODELS = {"phantom": chest_model(), "two": two_class_model(), "organs": ORGANS}


@pytest.fixture
def open_with(open_desk, monkeypatch, tmp_path_factory):
    """Opens the dock on the doubtful chest, with one of several models chosen."""
    library = tmp_path_factory.mktemp("classes")
    for name, model in MODELS.items():
        save_model(model, library / name)
    monkeypatch.setenv(FOLDER_VARIABLE, str(library))

    def call(model: str):
        desk = open_desk(doubtful(), model=model)
        desk.viewer.dims.set_current_step(0, SHOWN)
        return desk

    return call


def mask_of(desk) -> np.ndarray:
    return desk.viewer.layers[-1].data


def test_each_class_has_its_label_and_its_name(open_with):
    desk = open_with("two")
    assert desk.segment() == ""
    mask = mask_of(desk)
    np.testing.assert_array_equal(mask, expected(two_class_model()))
    assert set(np.unique(mask)) == {0, 1, 2, 3}
    for label, name in ((1, "right"), (2, "left"), (3, "bone")):
        point = desk.image.data_to_world((SHOWN, *np.argwhere(mask[SHOWN] == label)[0]))
        assert name in desk.lungs.get_status(point, world=True)["value"]
    assert [desk.correct.controls.label.get_choice(text) for text in ("1 right", "2 left", "3 bone")] == [1, 2, 3]


def test_the_slice_follows_the_threshold_in_every_class_before_the_mask_is_made(open_with):
    desk = open_with("two")
    assert desk.segment() == ""
    before = mask_of(desk).copy()
    doubt = {label: np.argwhere((before == label) & (expected(two_class_model(), 90) == 0))[0] for label in (1, 3)}
    for percent, kept in ((90, False), (50, True)):
        desk.controls.threshold.value = percent
        for label, place in doubt.items():
            assert mask_of(desk)[tuple(place)] == (label if kept else 0)
    with desk.qtbot.waitSignal(desk.widget.idle, timeout=SOON):
        desk.controls.threshold.value = 90
    np.testing.assert_array_equal(mask_of(desk), expected(two_class_model(), 90))
    desk.lungs.undo()
    np.testing.assert_array_equal(mask_of(desk), before)
    desk.lungs.redo()
    np.testing.assert_array_equal(mask_of(desk), expected(two_class_model(), 90))


def test_another_model_with_other_classes_runs_over_it_and_is_undone_whole(open_with):
    desk = open_with("phantom")
    assert desk.segment() == ""
    for name in ("two", "organs", "phantom", "two"):
        desk.controls.model.value = name
        assert desk.segment() == ""
        np.testing.assert_array_equal(mask_of(desk), expected(MODELS[name]))
        assert desk.controls.threshold.value == 50
    # Back to each model in turn; what it told then still makes its masks.
    for name in ("phantom", "organs", "two", "phantom"):
        desk.lungs.undo()
        np.testing.assert_array_equal(mask_of(desk), expected(MODELS[name]))
    desk.lungs.redo()
    desk.lungs.redo()
    desk.set_threshold(90)
    np.testing.assert_array_equal(mask_of(desk), expected(ORGANS, 90))
    desk.set_threshold(50)
    for _ in range(3):
        desk.lungs.undo()
    desk.set_threshold(90)
    np.testing.assert_array_equal(mask_of(desk), expected(two_class_model(), 90))


def test_a_grown_model_may_be_tried_on_one_slice(open_with):
    desk = open_with("phantom")
    assert desk.segment() == ""
    desk.controls.model.value = "two"
    desk.controls.slices.value = "slice"
    assert desk.segment() == ""
    only_there = expected(chest_model())
    only_there[SHOWN] = expected(two_class_model())[SHOWN]
    np.testing.assert_array_equal(mask_of(desk), only_there)


def test_a_model_without_lung_does_not_call_its_mask_lungs(open_with):
    desk = open_with("organs")
    assert desk.segment() == ""
    assert [layer.name for layer in desk.viewer.layers] == ["ct", "ct probability", "ct labels"]
    desk.image.data = np.full(CT.shape, 40, np.int16)
    assert desk.segment() == ""
    assert desk.controls.status.text() == "No liver or spleen found at a threshold of 50 %."


@pytest.mark.parametrize("name", ["two", "organs"])
def test_back_from_the_workspace_the_mask_tells_the_classes(open_with, name):
    desk = open_with(name)
    assert desk.segment() == ""
    desk.set_threshold(90)
    session = session_of(desk.viewer)
    session.close()
    desk.viewer.layers.clear()
    desk = open_with("phantom")
    desk.wait(lambda: bool(session_of(desk.viewer).offers))
    desk.dock.workspace.restore.click()
    desk.wait(lambda: len(desk.viewer.layers) == 3)
    strict, loose = expected(MODELS[name], 90), expected(MODELS[name], 50)
    np.testing.assert_array_equal(mask_of(desk), strict)
    assert desk.controls.threshold.value == 90
    # What the lower threshold adds lies next to what was labelled.
    desk.controls.threshold.value = 50
    np.testing.assert_array_equal(mask_of(desk)[SHOWN], loose[SHOWN])
    desk.set_threshold(51)
    np.testing.assert_array_equal(mask_of(desk), loose)
    desk.set_threshold(90)
    np.testing.assert_array_equal(mask_of(desk), strict)


def test_labels_that_the_window_cannot_keep_are_refused(open_desk, messages, monkeypatch, tmp_path):
    desk = open_desk(doubtful())
    folder = save_model(two_class_model(labels=(1, 200)), tmp_path / "high")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    desk.controls.model.value = FOLDER
    assert "labels up to 127" in desk.segment()


def test_what_is_exported_has_the_names_of_the_classes(open_with, tmp_path):
    """From the dock and by napari's own saving; a liver in the label that else is the right lung's is not told as a lung."""
    desk = open_with("organs")
    assert desk.segment() == ""
    mask = desk.viewer.layers[-1]
    mask.save(str(tmp_path / "a.seg.nrrd"), plugin="napari-lungseg")
    save_layer(mask, tmp_path / "b.seg.nrrd")
    for name in "ab":
        header = sitk.ReadImage(str(tmp_path / f"{name}.seg.nrrd"))
        told = {header.GetMetaData(f"Segment{n}_LabelValue"): header.GetMetaData(f"Segment{n}_Name") for n in (0, 1)}
        assert told == {"1": "spleen", "2": "liver"}
        assert not any("Lung" in header.GetMetaData(f"Segment{n}_Tags") for n in (0, 1))


def test_lungs_are_exported_with_their_sides(open_with, tmp_path):
    desk = open_with("two")
    assert desk.segment() == ""
    save_layer(desk.viewer.layers[-1], tmp_path / "a.seg.nrrd")
    header = sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert [header.GetMetaData(f"Segment{n}_Name") for n in (0, 1, 2)] == ["right lung", "left lung", "bone"]
