"""Enhanced multi-frame files: as good as one file for each slice."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from dicom_files import packed
from pydicom import uid

from napari_lungseg.errors import InputError
from napari_lungseg.formats import SeriesChoiceError, UnevenSlicesError, read

RNG = np.random.default_rng(2)
HU = RNG.integers(-1000, 500, (5, 4, 6))


def frames(order, **attributes):
    return [{"hu": HU[index], "position": (-20, -10, 10 + 3 * index), **attributes} for index in order]


def test_frames_are_sorted_by_position(tmp_path, write_enhanced):
    volume = read(write_enhanced(tmp_path / "a.dcm", frames([3, 0, 4, 2, 1])))
    np.testing.assert_array_equal(volume.array, HU)
    assert (volume.array.dtype, volume.unit) == (np.int16, "HU")
    np.testing.assert_allclose(volume.spacing, (3.0, 0.75, 0.5))
    np.testing.assert_allclose(volume.affine @ (1, 2, 3, 1), (-20 + 3 * 0.5, -10 + 2 * 0.75, 13, 1))


def test_slope_and_intercept_are_those_of_each_frame(tmp_path, write_enhanced):
    several = frames(range(5))
    for index, frame in enumerate(several):
        frame |= {"slope": [1.0, 2.0, 0.5, 1.0, -1.0][index], "intercept": [-1024.0, -1001.0, -1024.0, -2000.0, 800.0][index]}
        frame["hu"] = np.full((4, 6), -501.0 + 2 * index)
    volume = read(write_enhanced(tmp_path / "a.dcm", several))
    np.testing.assert_array_equal(volume.array[:, 0, 0], -501.0 + 2 * np.arange(5))


def test_a_packed_file_reads_the_same(tmp_path, write_enhanced):
    plain = write_enhanced(tmp_path / "plain.dcm", frames([3, 0, 4, 2, 1]))
    packed(plain, tmp_path / "a.dcm", uid.JPEGLSLossless, imagecodecs.jpegls_encode)
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").array, HU)


def test_points_of_time_are_asked_about(tmp_path, write_enhanced):
    path = write_enhanced(tmp_path / "a.dcm", [*frames(range(4), time=1), *frames(range(1, 5), time=2)][::-1])
    with pytest.raises(SeriesChoiceError) as caught:
        read(path)
    assert [choice.part for choice in caught.value.choices] == ["time 1", "time 2"]
    np.testing.assert_array_equal(read(path, series="3.2").array, HU[1:])


def test_a_missing_frame_is_named(tmp_path, write_enhanced):
    with pytest.raises(UnevenSlicesError, match=r"1 slice is missing between 13\.00 mm and 19\.00 mm"):
        read(write_enhanced(tmp_path / "a.dcm", frames([0, 1, 3, 4])))


def test_scouts_among_the_frames_are_left_out(tmp_path, write_enhanced):
    scout = {"hu": HU[0], "position": (0, 0, 400), "frame_type": ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]}
    np.testing.assert_array_equal(read(write_enhanced(tmp_path / "a.dcm", [scout, *frames(range(5))])).array, HU)


def test_frames_without_a_place_are_refused(tmp_path, write_enhanced):
    path = write_enhanced(tmp_path / "a.dcm", frames(range(5)), NumberOfFrames=7)
    with pytest.raises(InputError, match="does not say where"):
        read(path)


def test_a_series_in_several_multi_frame_files_is_one(tmp_path, write_enhanced):
    write_enhanced(tmp_path / "a.dcm", frames([0, 1, 2]))
    write_enhanced(tmp_path / "b.dcm", frames([4, 3]))
    np.testing.assert_array_equal(read(tmp_path).array, HU)
