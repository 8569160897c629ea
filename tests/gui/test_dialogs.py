"""Opening what holds several images, or lacks slices: a person is asked, and gets what they choose."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_files import write_ct_slice
from napari.layers import Image
from phantom import chest, dice
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QDialogButtonBox, QFileDialog, QMessageBox

from napari_lungseg.errors import InputError
from napari_lungseg.widgets.dialogs import SeriesDialog
from napari_lungseg.widgets.layers import dicom_source, volume_from_layer
from napari_lungseg.widgets.readers import read_layers

ABOUT = {"SeriesInstanceUID": "1.2.1", "SeriesNumber": 1, "SeriesDescription": "Thorax B30f"}
OTHER = {"SeriesInstanceUID": "1.2.2", "SeriesNumber": 2, "SeriesDescription": "Thorax B70f"}


def series(folder, heights=(0.0, 2.0, 4.0), value=0, **attributes):
    folder.mkdir(exist_ok=True)
    for index, height in enumerate(heights):
        name = f"{len(list(folder.iterdir()))}.dcm"
        write_ct_slice(folder / name, np.full((4, 6), value + index), (0, 0, height), **attributes)
    return folder


@pytest.fixture
def answer(qtbot):
    """Does what a person does with the next question; keeps what it showed."""
    shown = []

    def prepare(act):
        def when_open():
            dialog = QApplication.activeModalWidget()
            if dialog is None:
                QTimer.singleShot(20, when_open)
                return
            shown.append(dialog)
            act(dialog)

        QTimer.singleShot(0, when_open)
        return shown

    return prepare


def choose(*rows, as_time=None):
    def act(dialog: SeriesDialog) -> None:
        for index in range(dialog.list.topLevelItemCount()):
            dialog.list.topLevelItem(index).setSelected(index in rows)
        if as_time is not None:
            dialog.as_time.setChecked(as_time)
        dialog.buttons.button(QDialogButtonBox.StandardButton.Open).click()

    return act


def texts(dialog: SeriesDialog) -> list[list[str]]:
    items = [dialog.list.topLevelItem(index) for index in range(dialog.list.topLevelItemCount())]
    return [[item.text(column) for column in range(item.columnCount())] for item in items]


def layers(path) -> list[Image]:
    return [Image(data, **keywords) for data, keywords, _ in read_layers(str(path))]


def test_series_are_offered_by_description_and_size(tmp_path, answer):
    series(tmp_path / "ct", **ABOUT)
    series(tmp_path / "ct", (0.0, 2.0, 4.0, 6.0), 100, **OTHER)
    seen = []

    def look(dialog: SeriesDialog) -> None:
        seen.extend([texts(dialog), dialog.keys()])
        choose(0)(dialog)

    answer(look)
    (layer,) = layers(tmp_path / "ct")
    assert seen == [
        [["1", "Thorax B30f", "", "6 x 4 x 3", "0.5 x 0.75 x 2"], ["2", "Thorax B70f", "", "6 x 4 x 4", "0.5 x 0.75 x 2"]],
        {"2"},
    ]
    assert layer.name == "ct Thorax B30f"
    assert layer.data.max() == 2
    assert dicom_source(layer) == (tmp_path / "ct", "1")


def test_several_series_become_several_layers(tmp_path, answer):
    series(tmp_path / "ct", **ABOUT)
    series(tmp_path / "ct", value=100, **OTHER)
    answer(choose(0, 1))
    assert [layer.name for layer in layers(tmp_path / "ct")] == ["ct Thorax B30f", "ct Thorax B70f"]


def test_phases_become_one_layer_with_an_axis_of_time(tmp_path, answer):
    for phase in (0, 1):
        series(tmp_path / "ct", value=100 * phase, **ABOUT, TemporalPositionIdentifier=phase + 1)
    answer(lambda dialog: dialog.buttons.button(QDialogButtonBox.StandardButton.Open).click())
    (layer,) = layers(tmp_path / "ct")
    assert layer.data.shape == (2, 3, 4, 6)
    assert layer.axis_labels == ("t", "z", "y", "x")
    for step in (0, 1):
        volume = volume_from_layer(layer, (step,))
        np.testing.assert_array_equal(volume.array[:, 0, 0], 100 * step + np.arange(3))
        np.testing.assert_allclose(volume.spacing, (2.0, 0.75, 0.5))
        assert dicom_source(layer, (step,)) == (tmp_path / "ct", f"1.{step + 1}")


def test_points_of_time_of_a_file_are_offered(tmp_path, answer):
    import nibabel

    nibabel.Nifti1Image(np.arange(120, dtype=np.int16).reshape(5, 4, 3, 2), np.diag([-1, -1, 2, 1])).to_filename(tmp_path / "a.nii")
    answer(choose(1))
    (layer,) = layers(tmp_path / "a.nii")
    assert layer.name == "a time 2"
    assert layer.data.shape == (3, 4, 5)
    assert dicom_source(layer) == (None, None)


def test_thinking_better_of_it_opens_nothing(tmp_path, answer, make_napari_viewer):
    series(tmp_path / "ct", **ABOUT)
    series(tmp_path / "ct", value=100, **OTHER)
    viewer = make_napari_viewer()
    answer(lambda dialog: dialog.reject())
    viewer.open(str(tmp_path / "ct"), plugin="napari-lungseg")
    assert len(viewer.layers) == 0


@pytest.mark.parametrize("fill", [True, False])
def test_gaps_are_filled_when_the_person_says_so(tmp_path, answer, fill):
    series(tmp_path / "ct", (0.0, 2.0, 6.0, 8.0), **ABOUT)

    def act(box: QMessageBox) -> None:
        assert "1 slice is missing between 2.00 mm and 6.00 mm" in box.informativeText()
        next(button for button in box.buttons() if (button.text() == "Fill in") is fill).click()

    answer(act)
    found = read_layers(str(tmp_path / "ct"))
    assert (found[0][0].shape == (5, 4, 6)) if fill else (found == [(None,)])


def test_a_script_without_a_window_gets_the_error(tmp_path, monkeypatch):
    series(tmp_path / "ct", **ABOUT)
    series(tmp_path / "ct", value=100, **OTHER)
    monkeypatch.setattr(QApplication, "instance", lambda: None)
    with pytest.raises(InputError, match="holds 2 images"):
        read_layers(str(tmp_path / "ct"))


def test_another_thread_gets_the_error(tmp_path, qtbot):
    series(tmp_path / "ct", **ABOUT)
    series(tmp_path / "ct", value=100, **OTHER)
    with ThreadPoolExecutor(1) as pool, pytest.raises(InputError, match="holds 2 images"):
        pool.submit(read_layers, str(tmp_path / "ct")).result()


def test_the_phase_that_is_displayed_gets_its_mask_and_its_dicom_seg(tmp_path, answer, open_desk, monkeypatch, messages):
    """From one layer with an axis of time, through the menu, to a file that names the slices of that phase alone."""
    volume, lungs = chest(slices=3)
    folder = tmp_path / "ct"
    folder.mkdir()
    for phase in (1, 2):
        for index in range(3):
            about = {"PixelSpacing": [4.0, 4.0], "TemporalPositionIdentifier": phase, **ABOUT}
            plane = np.asarray(volume.array[index]) if phase == 2 else np.full(volume.shape[1:], -1000)
            write_ct_slice(folder / f"{phase}_{index}.dcm", plane, (0, 0, 6.0 * index), **about)
    desk = open_desk()
    answer(lambda dialog: dialog.buttons.button(QDialogButtonBox.StandardButton.Open).click())
    desk.viewer.open(str(folder), plugin="napari-lungseg")
    desk.viewer.dims.set_current_step(0, 1)
    assert desk.segment() == ""
    target = tmp_path / "lungs.dcm"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    next(action for action in desk.dock.workspace.menu.actions() if action.text().startswith("Export the mask")).trigger()
    desk.wait(lambda: f"Saved {target}." in messages)
    file = highdicom.seg.segread(target)
    named = {str(uid) for _, _, uid in file.get_source_image_uids()}
    assert named == {str(pydicom.dcmread(folder / f"2_{index}.dcm").SOPInstanceUID) for index in range(3)}
    found = file.get_volume(combine_segments=True)
    assert dice(found.array[:: int(found.affine[2, 0] / 6)] > 0, lungs) > 0.99  # highdicom may begin at either end
