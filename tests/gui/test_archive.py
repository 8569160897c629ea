"""A DICOM archive in the window, against a real Orthanc: open a series, correct its mask, send it back."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_files import PATIENT
from napari.utils.notifications import notification_manager
from orthanc import CT, segmentations, stored_file, write_chest
from waiting import SOON

from napari_lungseg.widgets.archive import ArchiveDialog, SendDialog


@pytest.fixture
def opened(desk, orthanc, tmp_path, qtbot):
    """The only series of the archive, opened by the dialog."""
    orthanc.post(write_chest(tmp_path / "ct", SeriesDescription="Thorax 1.0"))
    dialog = show(desk, "Open from an archive …", ArchiveDialog)
    dialog.url.setText(orthanc.url)
    dialog.find.click()
    qtbot.waitUntil(lambda: dialog.list.topLevelItemCount() == 1, timeout=SOON)
    item = dialog.list.topLevelItem(0)
    assert [item.text(column) for column in range(4)] == ["20010203", "MRN-4711", "Thorax 1.0", "12"]
    item.setSelected(True)
    before = len(desk.viewer.layers)
    with qtbot.waitSignal(dialog.got, timeout=SOON):
        dialog.open.click()
    qtbot.waitUntil(lambda: len(desk.viewer.layers) > before, timeout=SOON)
    return desk.viewer.layers[-1]


def show(desk, entry: str, kind: type):
    """Choose an entry of the workspace's menu; gives the dialog that comes."""
    menu = desk.dock.workspace.menu
    next(action for action in menu.actions() if action.text() == entry).trigger()
    return next(found for found in desk.dock.window().findChildren(kind) if found.isVisible())


def test_a_series_is_opened_and_its_corrected_mask_goes_back_into_its_study(desk, opened, orthanc, tmp_path, qtbot):
    assert opened.name == "Thorax 1.0"
    assert np.array_equal(np.asarray(opened.data), CT.array)
    assert desk.segment() == ""
    lungs = next(layer for layer in desk.viewer.layers if layer.name.endswith("lungs"))
    lungs.data_setitem((np.array([3, 3]), np.array([2, 3]), np.array([2, 2])), 2)
    dialog = show(desk, "Send the mask to an archive …", SendDialog)
    assert dialog.url.text() == orthanc.url
    dialog.send.click()
    qtbot.waitUntil(lambda: len(segmentations(orthanc)) == 1, timeout=SOON)
    qtbot.waitUntil(lambda: any("is in the archive" in notice.message for notice in notification_manager.records), timeout=SOON)
    (study,) = orthanc.get("/studies?expand")
    assert len(study["Series"]) == 2
    path = stored_file(orthanc, segmentations(orthanc)[0], tmp_path)
    found = highdicom.seg.segread(path)
    assert np.count_nonzero(found.get_volume(combine_segments=True).array) == np.count_nonzero(lungs.data)
    assert pydicom.dcmread(path).PatientID == PATIENT["PatientID"]
    segment = found.SegmentSequence[0]
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName.startswith("napari-lungseg ")


def test_a_series_that_is_here_is_not_fetched_again(desk, opened, orthanc, qtbot, monkeypatch):
    def never(*_):
        raise AssertionError("fetched again")

    monkeypatch.setattr("napari_lungseg.archive.client.Archive.fetch", never)
    dialog = show(desk, "Open from an archive …", ArchiveDialog)
    dialog.find.click()
    qtbot.waitUntil(lambda: dialog.list.topLevelItemCount() == 1, timeout=SOON)
    dialog.list.topLevelItem(0).setSelected(True)
    with qtbot.waitSignal(dialog.got, timeout=SOON):
        dialog.open.click()


def test_an_archive_that_is_not_there_is_told_in_the_dialog(desk, qtbot):
    dialog = show(desk, "Open from an archive …", ArchiveDialog)
    dialog.url.setText("http://127.0.0.1:9/dicom-web")
    dialog.find.click()
    qtbot.waitUntil(lambda: "cannot be reached" in dialog.status.text(), timeout=SOON)
    assert dialog.find.isEnabled()
    assert not dialog.open.isEnabled()
    dialog.reject()


def test_a_mask_of_an_image_that_is_no_dicom_cannot_be_sent(desk, qtbot):
    desk.add(CT)
    assert desk.segment() == ""
    dialog = show(desk, "Send the mask to an archive …", SendDialog)
    dialog.url.setText("http://127.0.0.1:9/dicom-web")
    dialog.send.click()
    qtbot.waitUntil(lambda: any("DICOM" in notice.message for notice in notification_manager.records), timeout=SOON)
