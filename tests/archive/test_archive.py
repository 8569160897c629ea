"""Against a real Orthanc: find, segment, store, watch, and what happens where the archive is not there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_files import PATIENT
from orthanc import CT, LUNGS, segmentations, stored_file, write_chest
from phantom import chest_model

from napari_lungseg.archive.client import Archive
from napari_lungseg.archive.segmenting import ArchiveSettings, segment_series
from napari_lungseg.archive.watching import watch
from napari_lungseg.errors import InputError
from napari_lungseg.formats import read
from napari_lungseg.model import save_model

WANTED = {"Modality": "CT"}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("models") / "chest"
    save_model(chest_model(), folder)
    return str(folder)


@pytest.fixture
def archive(orthanc) -> Archive:
    return Archive(orthanc.url)


@pytest.fixture
def settings(model) -> ArchiveSettings:
    return ArchiveSettings(model, "cpu", with_patient=True)


def test_series_are_found_by_what_they_are(orthanc, archive, tmp_path):
    orthanc.post(write_chest(tmp_path / "ct", SeriesDescription="Thorax 1.0"))
    orthanc.post(write_chest(tmp_path / "mr", slices=3, Modality="MR", PatientID="other", StudyInstanceUID="1.2.4"))
    (found,) = archive.find(Modality="CT")
    assert (found.study, found.patient, found.modality, found.description, found.images) == ("1.2.3", "MRN-4711", "CT", "Thorax 1.0", 12)
    assert [one.modality for one in archive.find(PatientID="oth*")] == ["MR"]
    assert list(archive.find(StudyDate="20250101-20251231")) == []
    assert len(archive.images(found)) == 12
    assert archive.series(found.uid) == found
    with pytest.raises(InputError, match="no series"):
        archive.series("1.9.9")


def test_more_series_than_an_answer_holds_are_all_found(orthanc, archive, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_lungseg.archive.client._PAGE", 2)
    for number in range(5):
        orthanc.post(write_chest(tmp_path / str(number), slices=1))
    assert len({one.uid for one in archive.find(Modality="CT")}) == 5


def test_a_series_is_fetched_as_it_is_stored(orthanc, archive, tmp_path):
    orthanc.post(write_chest(tmp_path / "ct"))
    (series,) = archive.find(Modality="CT")
    assert list(archive.fetch(series, tmp_path / "got")) == list(range(1, 13))
    came = read(tmp_path / "got")
    assert np.array_equal(came.array, CT.array)
    assert np.allclose(came.affine, CT.affine)


def test_a_mask_is_stored_in_the_study_of_its_series_and_lies_where_the_lungs_are(orthanc, archive, settings, tmp_path):
    orthanc.post(write_chest(tmp_path / "ct"))
    (series,) = archive.find(Modality="CT")
    stored = segment_series(archive, series, settings)
    (patient,) = orthanc.get("/patients?expand")
    (study,) = orthanc.get("/studies?expand")
    assert patient["MainDicomTags"]["PatientID"] == "MRN-4711"
    assert len(study["Series"]) == 2
    (one,) = segmentations(orthanc)
    assert one["MainDicomTags"]["SeriesInstanceUID"] == stored.series_uid
    path = stored_file(orthanc, one, tmp_path)
    found = highdicom.seg.segread(path)
    volume = found.get_volume(combine_segments=True)
    there = {tuple(np.round(volume.affine @ (*index, 1), 3)[:3]) for index in np.argwhere(volume.array)}
    wanted = {tuple(np.round(CT.affine @ (*index, 1), 3)[:3]) for index in np.argwhere(LUNGS)}
    assert len(there ^ wanted) < 0.02 * len(wanted)
    assert sum(stored.volume_ml.values()) == pytest.approx(np.count_nonzero(volume.array) * CT.voxel_ml)
    segment = found.SegmentSequence[0]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert found.SegmentationType == "BINARY"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert algorithm.AlgorithmName == "napari-lungseg chest"
    assert algorithm.AlgorithmVersion


def test_patient_and_study_are_copied_only_where_that_is_asked_for(orthanc, archive, model, tmp_path):
    orthanc.post(write_chest(tmp_path / "ct"))
    (series,) = archive.find(Modality="CT")
    segment_series(archive, series, ArchiveSettings(model, "cpu"))
    (one,) = segmentations(orthanc)
    content = stored_file(orthanc, one, tmp_path).read_bytes()
    assert [value for value in PATIENT.values() if value.encode() in content and len(value) > 3] == []
    # That is why the option is there.
    assert len(orthanc.get("/patients")) == 2
    segment_series(archive, series, ArchiveSettings(model, "cpu", with_patient=True))
    full = next(found for found in segmentations(orthanc) if found["ID"] != one["ID"])
    file = pydicom.dcmread(stored_file(orthanc, full, tmp_path))
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber", "StudyDescription"):
        assert str(file[keyword].value) == PATIENT[keyword]
    for keyword in ("PatientAddress", "PatientComments", "InstitutionName"):
        assert keyword not in file


def test_a_patient_of_an_odd_name_is_copied_and_named_nowhere_else(orthanc, model, tmp_path):
    orthanc.post(write_chest(tmp_path / "ct", PatientName="Unparted"))
    command = [sys.executable, "-m", "napari_lungseg", "dicomweb", "watch", orthanc.url, "w", "--once", "--every", "0"]
    command += ["--model", model, "--device", "cpu", "--with-patient"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "stored as series" in done.stdout
    assert done.stderr == ""
    (one,) = segmentations(orthanc)
    assert pydicom.dcmread(stored_file(orthanc, one, tmp_path)).PatientName == "Unparted"


def test_each_new_series_is_segmented_once_also_after_a_restart(orthanc, archive, settings, tmp_path):
    orthanc.post(write_chest(tmp_path / "one"))
    orthanc.post(write_chest(tmp_path / "scout", slices=2))
    waits = []

    def look():
        return list(watch(archive, settings, tmp_path / "watch", WANTED, once=True, wait=waits.append))

    (first,) = look()
    assert first.series.images == 12
    assert waits == [30.0]  # a series is taken when its images are the same in two looks
    assert look() == []
    assert len(segmentations(orthanc)) == 1
    orthanc.post(write_chest(tmp_path / "two", StudyInstanceUID="1.2.5"))
    (second,) = look()
    assert second.series.study == "1.2.5"
    assert look() == []
    assert len(segmentations(orthanc)) == 2


def test_a_series_that_is_still_arriving_is_left_until_it_is_whole(orthanc, archive, settings, tmp_path):
    folder = write_chest(tmp_path / "ct")
    late = tmp_path / "late"
    late.mkdir()
    (folder / "011.dcm").rename(late / "011.dcm")
    orthanc.post(folder)
    waits = []

    def wait(_: float) -> None:
        waits.append(len(segmentations(orthanc)))
        if len(waits) == 1:
            orthanc.post(late)

    (done,) = watch(archive, settings, tmp_path / "watch", WANTED, once=True, wait=wait)
    assert done.series.images == 12
    assert waits == [0, 0]


def test_a_series_that_cannot_be_segmented_is_told_once(orthanc, archive, settings, tmp_path):
    folder = write_chest(tmp_path / "ct")
    for file in sorted(folder.iterdir()):
        data = pydicom.dcmread(file)
        del data.PixelData
        data.save_as(file)
    orthanc.post(folder)
    orthanc.post(write_chest(tmp_path / "good"))

    def look():
        return list(watch(archive, settings, tmp_path / "watch", WANTED, once=True, wait=lambda _: None))

    results = look()
    assert sorted(bool(one.error) for one in results) == [False, True]
    (kept,) = json.loads((tmp_path / "watch" / "failed.json").read_text()).values()
    assert kept["reason"] == next(one.error for one in results if one.error)
    assert look() == []


def test_an_archive_that_is_down_for_a_while_is_asked_again(orthanc, archive, settings, tmp_path):
    orthanc.post(write_chest(tmp_path / "ct"))
    waits = 0

    def wait(_: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 1:
            orthanc.stop()
        elif waits == 2:
            orthanc.start()

    results = []
    for one in watch(archive, settings, tmp_path / "watch", WANTED, wait=wait):
        results.append(one)
        if one.stored is not None:
            break
    assert [bool(one.error) for one in results] == [True, False]
    assert "cannot be reached" in results[0].error
    assert len(segmentations(orthanc)) == 1


def test_the_terminal_finds_segments_and_watches(orthanc, model, tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "napari_lungseg", "dicomweb", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
        )

    orthanc.post(write_chest(tmp_path / "ct", SeriesDescription="Thorax"))
    (line,) = run("find", orthanc.url).stdout.splitlines()
    assert line.endswith("Thorax")
    assert "Doe" not in line
    uid = line.split()[-2]
    done = run("segment", orthanc.url, uid, "9.9.9", "--model", model, "--device", "cpu", "--with-patient")
    assert done.returncode == 1
    assert f"{uid}: right " in done.stdout
    assert "There is no series 9.9.9" in done.stderr
    again = run("watch", orthanc.url, "watch", "--once", "--every", "0", "--model", model, "--device", "cpu", "--with-patient")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(segmentations(orthanc)) == 1


class Answering:
    """A server that is no archive, or none for everybody."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}/dicom-web"

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"", "name and password"),
        (403, b"", "may not"),
        (404, b"", "address"),
        (500, b"", "HTTP 500"),
        (200, b"<html>", "no DICOMweb"),
    ],
)
def test_what_an_archive_refuses_is_one_sentence(status, body, words):
    with Answering(status, body) as url, pytest.raises(InputError, match=words):
        list(Archive(url).find(Modality="CT"))


def test_an_address_where_nothing_is_or_that_is_none_is_told():
    with pytest.raises(InputError, match="cannot be reached"):
        list(Archive("http://127.0.0.1:9/dicom-web").find())
    with pytest.raises(InputError, match="no address"):
        Archive("pacs.example.org")
