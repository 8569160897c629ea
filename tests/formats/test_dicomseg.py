"""DICOM-SEG as highdicom and others read it: codes, places, and nothing of the patient."""

from __future__ import annotations

import shutil
import subprocess
import sys

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_files import PATIENT, with_zeros_behind
from pydicom.sr.codedict import codes

from napari_lungseg.errors import InputError
from napari_lungseg.formats import read, read_segments, write
from napari_lungseg.volume import Volume

EVEN = [10.0, 13.0, 16.0, 19.0, 22.0]


def halves(volume: Volume) -> Volume:
    """The right lung in low columns, the left in high ones, with one slice empty."""
    labels = np.zeros(volume.shape, np.uint8)
    labels[1:, 1:, : volume.shape[2] // 2] = 1
    labels[1:, :-1, volume.shape[2] // 2 :] = 2
    return volume.with_array(labels)


def segments(path) -> dict[int, Volume]:
    """Each segment as highdicom lays it out; its volume has (Z, Y, X) in LPS as ours."""
    found = highdicom.seg.segread(path)
    result = {}
    for number in found.segment_numbers:
        volume = found.get_volume(segment_numbers=[number], combine_segments=True)
        result[number] = Volume(volume.array, volume.affine)
    return result


def assert_in_place(path, labels: Volume) -> None:
    for number, segment in segments(path).items():
        there = {tuple(np.round(segment.affine @ (*index, 1), 3)[:3]) for index in np.argwhere(segment.array)}
        wanted = {tuple(np.round(labels.affine @ (*index, 1), 3)[:3]) for index in np.argwhere(labels.array == number)}
        assert there == wanted


@pytest.fixture
def series(tmp_path, write_series):
    write_series(tmp_path / "ct", EVEN, SeriesDescription="Thorax B30f")
    return tmp_path / "ct"


def test_lungs_lie_on_the_slices_of_their_series(series, tmp_path):
    labels = halves(read(series))
    path = write(labels, tmp_path / "lungs.dcm", source=series)
    found = segments(path)
    assert sorted(found) == [1, 2]
    assert_in_place(path, labels)
    file = pydicom.dcmread(path)
    sources = {one.SOPInstanceUID for one in (pydicom.dcmread(slice_) for slice_ in series.iterdir())}
    named = {item.ReferencedSOPInstanceUID for item in file.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named == sources
    assert file.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3.4"
    assert (file.StudyInstanceUID, file.FrameOfReferenceUID) == ("1.2.3", "1.2.3.9")
    for frame in file.PerFrameFunctionalGroupsSequence:
        (derivation,) = frame.DerivationImageSequence
        (slice_,) = derivation.SourceImageSequence
        assert slice_.ReferencedSOPInstanceUID in sources
    assert file.Modality == "SEG"


def test_lungs_have_their_codes_and_colours(series, tmp_path):
    file = pydicom.dcmread(write(halves(read(series)), tmp_path / "lungs.dcm", source=series))
    for segment, (name, code, side) in zip(file.SegmentSequence, (("right lung", "24028007", "Right"), ("left lung", "7771000", "Left"))):
        assert segment.SegmentLabel == name
        category, kind = segment.SegmentedPropertyCategoryCodeSequence[0], segment.SegmentedPropertyTypeCodeSequence[0]
        assert (category.CodeValue, category.CodingSchemeDesignator) == ("91723000", "SCT")
        assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("39607008", "SCT", "Lung")
        modifier = kind.SegmentedPropertyTypeModifierCodeSequence[0]
        assert (modifier.CodeValue, modifier.CodingSchemeDesignator, modifier.CodeMeaning) == (code, "SCT", side)
        assert "RecommendedDisplayCIELabValue" in segment


def test_lobes_have_their_codes(series, tmp_path):
    labels = halves(read(series))
    path = write(labels, tmp_path / "lobes.dcm", {1: "right middle lobe", 2: "left upper lobe"}, source=series)
    assert_in_place(path, labels)
    middle, upper = (segment.SegmentedPropertyTypeCodeSequence[0] for segment in pydicom.dcmread(path).SegmentSequence)
    assert (middle.CodeValue, middle.CodeMeaning) == ("72481006", "Middle lobe of right lung")
    assert "SegmentedPropertyTypeModifierCodeSequence" not in middle
    assert (upper.CodeValue, upper.CodeMeaning) == ("45653009", "Upper lobe of lung")
    assert upper.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"


def test_what_is_no_lung_is_not_written_as_one(series, tmp_path):
    """Labels mean what their names say, not what their numbers mean elsewhere."""
    labels = halves(read(series))
    with pytest.raises(InputError, match="the mask has spleen, liver"):
        write(labels, tmp_path / "a.dcm", {1: "spleen", 2: "liver"}, source=series)
    both = labels.with_array((labels.array > 0).astype(np.uint8))
    path = write(both, tmp_path / "a.dcm", {1: "lungs", 3: "tumour"}, source=series)
    (segment,) = pydicom.dcmread(path).SegmentSequence
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    assert (segment.SegmentLabel, kind.CodeMeaning) == ("lungs", "Lung")
    assert "SegmentedPropertyTypeModifierCodeSequence" not in kind
    assert_in_place(path, both)


def test_lungs_of_other_labels_are_numbered_as_segments_are(series, tmp_path):
    labels = halves(read(series))
    path = write(labels.with_array(labels.array * 3), tmp_path / "a.dcm", {3: "right lung", 6: "left lung"}, source=series)
    assert [segment.SegmentLabel for segment in pydicom.dcmread(path).SegmentSequence] == ["right lung", "left lung"]
    assert_in_place(path, labels)


@pytest.mark.parametrize("multiframe", [False, True])
def test_a_multi_frame_source_is_as_good(tmp_path, write_enhanced, write_series, multiframe):
    """Also where its frames are in no order, and some of another point of time."""
    hu = np.random.default_rng(2).integers(-1000, 500, (5, 4, 6))
    frames = [{"hu": hu[index], "position": (-20, -10, 10 + 3 * index), "time": time} for index in (3, 0, 4, 2, 1) for time in (1, 2)]
    write_enhanced(tmp_path / "ct.dcm", frames if multiframe else frames[::2])
    key = {"series": "3.2"} if multiframe else {}
    labels = halves(read(tmp_path / "ct.dcm", **key))
    assert_in_place(write(labels, tmp_path / "lungs.dcm", source=tmp_path / "ct.dcm", **key), labels)


def test_labels_of_a_tilted_gantry_go_back_to_its_slices(tmp_path, write_slice):
    angle = np.deg2rad(20)
    columns = [0.0, round(float(np.cos(angle)), 8), round(float(-np.sin(angle)), 8)]
    folder = tmp_path / "ct"
    folder.mkdir()
    for index in range(5):
        write_slice(folder / f"{index}.dcm", np.full((24, 6), 100), (0, 0, 5.0 * index), ImageOrientationPatient=[1, 0, 0, *columns])
    volume = read(folder)
    # What is body in the upright volume is the whole of each slice.
    labels = volume.with_array((volume.array > 50).astype(np.uint8))
    assert not labels.array.all()
    found = highdicom.seg.segread(write(labels, tmp_path / "lungs.dcm", source=folder))
    assert found.pixel_array.mean() > 0.95
    assert found.pixel_array.shape == (5, 24, 6)


def test_slices_that_were_filled_in_are_left_out(tmp_path, write_series):
    write_series(tmp_path / "ct", [0.0, 2.0, 6.0, 8.0])
    volume = read(tmp_path / "ct", fill_gaps=True)
    assert volume.shape[0] == 5
    labels = volume.with_array(np.ones(volume.shape, np.uint8))
    file = pydicom.dcmread(write(labels, tmp_path / "lungs.dcm", source=tmp_path / "ct"))
    heights = [frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in file.PerFrameFunctionalGroupsSequence]
    assert sorted(heights) == [0, 2, 6, 8]


def test_an_empty_mask_can_be_written(series, tmp_path):
    volume = read(series)
    file = pydicom.dcmread(write(volume.with_array(np.zeros(volume.shape, np.uint8)), tmp_path / "lungs.dcm", source=series))
    assert len(file.SegmentSequence) == 2
    assert not file.pixel_array.any()


def test_nothing_of_the_patient_is_in_the_file(series, tmp_path):
    path = write(halves(read(series)), tmp_path / "lungs.dcm", source=series)
    whole = path.read_bytes()
    for value in PATIENT.values():
        if len(value) > 1:
            assert value.encode() not in whole
    assert pydicom.dcmread(path).PatientSex in (None, "")


def test_the_mask_beside_its_series_does_not_disturb_it(series):
    volume = read(series)
    write(halves(volume), series / "lungs.dcm", source=series)
    np.testing.assert_array_equal(read(series).array, volume.array)


def test_what_cannot_be_a_dicom_seg_is_refused(series, tmp_path):
    volume = read(series)
    labels = halves(volume)
    shifted = volume.affine.copy()
    shifted[0, 3] += 2
    for wrong, source, message in (
        (labels, None, "needs the DICOM series"),
        (labels, tmp_path / "empty", "DICOM series only"),
        (volume, series, "not an image"),
        (labels.with_array(labels.array * 2), series, "has label 4; use .seg.nrrd"),
        (Volume(labels.array, shifted), series, "does not cover IM"),
        (Volume(labels.array, labels.affine, spacing_known=False), series, "not known"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=message):
            write(wrong, tmp_path / "lungs.dcm", source=source)
    assert {path.name for path in tmp_path.iterdir()} == {"ct", "empty"}


def test_without_highdicom_it_is_said_how_to_get_it(series, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match=r"pip install 'napari-lungseg\[dicom-seg\]'"):
        write(halves(read(series)), tmp_path / "lungs.dcm", source=series)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed")
@pytest.mark.parametrize("names", [None, {1: "lungs", 2: "left lung"}])
def test_the_standards_checker_finds_no_error(tmp_path, shared_data, names):
    """On a real series; the phantom slices of the other tests lack much that the standard asks of a CT. Empty patients are warned of."""
    folder = shared_data / "lung_dx_a0002" / "dicom_b40f"
    path = write(halves(read(folder)), tmp_path / "lungs.dcm", names, source=folder)
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr.splitlines()
    assert told[-1] == "Segmentation"
    assert [line for line in told if "Error" in line] == []
    assert all("DICOMDIR" in line for line in told[:-1])


# ---- read


def assert_same_labels(found: Volume, labels: Volume) -> None:
    """Each label lies at the same places of the patient; the file may leave out empty slices."""
    for label in (1, 2):
        there, wanted = (
            {tuple(np.round(volume.affine @ (*index, 1), 3)[:3]) for index in np.argwhere(volume.array == label)}
            for volume in (found, labels)
        )
        assert there == wanted


def test_what_was_written_is_read_again(series, tmp_path):
    labels = halves(read(series))
    path = write(labels, tmp_path / "lungs.dcm", source=series)
    found, names = read_segments(path)
    assert names == {1: "right lung", 2: "left lung"}
    assert found.array.dtype.kind == "u"
    assert_same_labels(found, labels)
    np.testing.assert_array_equal(read(path).array, found.array)


def test_slices_that_are_left_out_between_others_are_empty(series, tmp_path):
    labels = halves(read(series))
    labels.array[2] = 0
    found = read(write(labels, tmp_path / "lungs.dcm", source=series))
    assert found.shape[0] == 4
    assert_same_labels(found, labels)


def other_kind(series, tmp_path, planes: np.ndarray, kind: str, numbers=(1, 2)):
    """A segmentation as other programs make them."""
    datasets = [pydicom.dcmread(path) for path in series.iterdir()]
    datasets.sort(key=lambda data: float(data.ImagePositionPatient[2]))
    algorithm = highdicom.AlgorithmIdentificationSequence("x", codes.cid7162.ArtificialIntelligence, "1")
    segments = [
        highdicom.seg.SegmentDescription(number, f"part {number}", codes.cid7150.Tissue, codes.SCT.Lung, "AUTOMATIC", algorithm)
        for number in numbers
    ]
    uids = {"series_instance_uid": "1.2.9", "sop_instance_uid": "1.2.9.1"}
    made = highdicom.seg.Segmentation(
        datasets, planes, kind, segments, **uids, series_number=2, instance_number=1, manufacturer="x", manufacturer_model_name="x",
        software_versions="1", device_serial_number="1",
    )  # fmt: skip
    made.save_as(tmp_path / "other.dcm")
    return tmp_path / "other.dcm"


def test_segments_that_overlap_and_probabilities_become_labels(series, tmp_path):
    volume = read(series)
    parts = np.zeros((*volume.shape, 2), np.float32)
    parts[1:, 1:3, :, 0] = 0.7
    parts[1:, 2:, :, 1] = 0.6
    parts[0, :, :, 0] = 0.3
    expected = np.zeros(volume.shape, np.uint8)
    expected[1:, 1:3], expected[1:, 2:] = 1, 2
    order = np.argsort([(volume.affine @ (index, 0, 0, 1))[2] for index in range(volume.shape[0])])
    for kind, planes in (("FRACTIONAL", parts), ("BINARY", (parts > 0.5).astype(np.uint8))):
        found, names = read_segments(other_kind(series, tmp_path, planes, kind))
        assert names == {1: "part 1", 2: "part 2"}
        assert_same_labels(found, volume.with_array(expected[order]))


def test_a_label_map_is_read(series, tmp_path):
    volume = read(series)
    labels = volume.with_array(np.indices(volume.shape).sum(axis=0).astype(np.uint8) % 3)
    assert_same_labels(read(other_kind(series, tmp_path, labels.array, "LABELMAP")), labels)


def test_a_damaged_segmentation_is_told_in_one_sentence(series, tmp_path):
    path = write(halves(read(series)), tmp_path / "lungs.dcm", source=series)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"lungs.dcm .*export it again"):
        read(path)


def test_without_highdicom_reading_says_how_to_get_it(series, tmp_path, monkeypatch):
    path = write(halves(read(series)), tmp_path / "lungs.dcm", source=series)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match=r"pip install 'napari-lungseg\[dicom-seg\]'"):
        read(path)


def test_slices_that_lie_absurdly_far_apart_are_refused_before_memory_is_asked_for(series, tmp_path):
    path = write(halves(read(series)), tmp_path / "lungs.dcm", source=series)
    file = pydicom.dcmread(path)
    x, y, _ = file.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0].ImagePositionPatient
    file.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0].ImagePositionPatient = [x, y, 3e6 + 1]
    file.save_as(path)
    with pytest.raises(InputError, match=r"lungs\.dcm"):
        read(path)


def deflated(path):
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    file.save_as(path)
    return path


def test_a_deflated_segmentation_is_inflated_no_further_than_its_frames_reach(series, tmp_path, little_memory):
    labels = halves(read(series))
    path = deflated(write(labels, tmp_path / "lungs.dcm", source=series))
    assert_same_labels(read(path), labels)
    with_zeros_behind(path)
    assert_same_labels(read(path), labels)


def test_the_heads_of_a_deflated_series_are_inflated_no_further_than_heads_reach(series, tmp_path, little_memory):
    labels = halves(read(series))
    for path in series.iterdir():
        with_zeros_behind(deflated(path))
    assert_same_labels(read(write(labels, tmp_path / "lungs.dcm", source=series)), labels)


def test_frames_that_the_file_cannot_hold_are_refused_before_memory_is_asked_for(series, tmp_path, little_memory):
    path = write(halves(read(series)), tmp_path / "lungs.dcm", source=series)
    file = pydicom.dcmread(path)
    file.Rows = file.Columns = 65535
    file.save_as(path)
    with pytest.raises(InputError, match=r"lungs\.dcm"):
        read(path)
