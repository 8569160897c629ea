from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tifffile

from napari_lungseg.errors import InputError
from napari_lungseg.formats import SeriesChoiceError, read, write
from napari_lungseg.volume import Volume, scaling

STACK = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5)])
def test_stacks_and_single_pages_read_however_packed(tmp_path, compression, shape):
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape) - 1000
    tifffile.imwrite(tmp_path / "a.tif", array, compression=compression, photometric="minisblack")
    volume = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == np.int16
    assert not volume.spacing_known


def test_resolution_for_print_is_not_believed(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, resolution=(72, 72), resolutionunit="inch", metadata=None, photometric="minisblack")
    assert not read(tmp_path / "a.tif").spacing_known


@pytest.mark.parametrize(
    ("unit", "mm"),
    [("mm", 1.0), ("micron", 1e-3), ("\\u00B5m", 1e-3), ("um", 1e-3), ("cm", 10.0), ("millimeters", 1.0), ("micrometres", 1e-3)],
)
def test_spacing_of_imagej_is_read(tmp_path, unit, mm):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, resolution=(4.0, 2.0), metadata={"axes": "ZYX", "spacing": 3.0, "unit": unit})
    volume = read(tmp_path / "a.tif")
    assert volume.spacing_known
    np.testing.assert_allclose(volume.spacing, (3.0 * mm, 0.5 * mm, 0.25 * mm))


HU = np.random.default_rng(3).integers(-1024, 1500, STACK.shape)


def write_calibrated(path, stored, **calibration):
    """A file as ImageJ writes it, with its calibration in the description."""
    tifffile.imwrite(path, stored, imagej=True, metadata={"axes": "ZYX", **calibration})


def test_signed_numbers_that_imagej_keeps_by_its_calibration_are_read_as_hu(tmp_path):
    write_calibrated(tmp_path / "a.tif", (HU + 32768).astype(np.uint16), cf=0, c0=-32768.0, c1=1.0, vunit="Gray Value")
    volume = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.array, HU)
    assert volume.array.dtype == np.int16


def test_a_straight_line_of_imagej_is_applied(tmp_path):
    write_calibrated(tmp_path / "a.tif", (HU + 1024).astype(np.uint16), cf=0, c0=-512.0, c1=0.5)
    np.testing.assert_allclose(read(tmp_path / "a.tif").array, HU / 2)


def test_other_functions_of_imagej_are_refused(tmp_path):
    write_calibrated(tmp_path / "a.tif", (HU + 1024).astype(np.uint16), cf=3, c0=1.0, c1=0.5, c2=2.0)
    with pytest.raises(InputError, match=r"a\.tif has a calibration of ImageJ"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(("spacing", "known"), [(0.0, False), (float("inf"), False), (-2.5, True)])
def test_an_impossible_depth_of_imagej_is_not_known(tmp_path, spacing, known):
    """But for a negative one, with which ImageJ counts slices downwards."""
    tifffile.imwrite(
        tmp_path / "a.tif", STACK, imagej=True, resolution=(2.0, 2.0), metadata={"axes": "ZYX", "spacing": spacing, "unit": "mm"}
    )
    volume = read(tmp_path / "a.tif")
    assert volume.spacing_known == known
    assert not known or volume.spacing[0] == 2.5


def test_imagej_without_a_unit_has_no_spacing(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "ZYX"})
    assert not read(tmp_path / "a.tif").spacing_known


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "bool"])
@pytest.mark.parametrize("axes", [2, 3])
def test_what_is_written_reads_the_same(tmp_path, dtype, axes):
    array = (np.arange(60).reshape(3, 4, 5) % 2).astype(dtype)[3 - axes :][0 if axes == 2 else slice(None)]
    spacing = (2.5, 0.5, 0.75)[3 - axes :]
    again = read(write(Volume(array, scaling(spacing)), tmp_path / "a.tif"))
    np.testing.assert_array_equal(again.array, array)
    assert again.array.dtype == (np.uint8 if dtype == "bool" else dtype)
    assert again.spacing_known
    np.testing.assert_allclose(again.spacing, spacing)


def test_unknown_spacing_stays_unknown(tmp_path):
    volume = Volume(STACK, scaling((1.0, 1.0, 1.0)), spacing_known=False)
    assert not read(write(volume, tmp_path / "a.tiff")).spacing_known


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_colour_is_made_grey(tmp_path, planes):
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5) * 10
    colour = np.stack([grey] * 3, axis=-1 if planes == "contig" else 0)
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb", planarconfig=planes)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, grey)


def test_white_is_bright_also_in_inverted_files(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5), 255, np.uint8), photometric="miniswhite")
    assert read(tmp_path / "a.tif").array.max() == 0


def test_a_stack_that_calls_its_slices_channels_reads(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 4, 5), np.uint8), imagej=True, metadata={"axes": "CYX"})
    assert read(tmp_path / "a.tif").shape == (9, 4, 5)


@pytest.mark.parametrize(
    ("axes", "shape", "part"), [("TZYX", (2, 3, 4, 5), "time 2"), ("ZCYX", (3, 2, 4, 5), "channel 2"), ("CYX", (2, 4, 5), "channel 2")]
)
@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_points_of_time_and_channels_are_asked_for(tmp_path, axes, shape, part, kind):
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    options = {kind: True, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", array, metadata={"axes": axes}, **options)
    with pytest.raises(SeriesChoiceError) as caught:
        read(tmp_path / "a.tif")
    assert [choice.key for choice in caught.value.choices] == ["1", "2"]
    assert caught.value.choices[1].part == part
    second = array.take(1, axes.index(part[0].upper()))
    np.testing.assert_array_equal(read(tmp_path / "a.tif", series="2").array, second)


def test_still_more_axes_and_mixed_pages_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "five.tif", np.zeros((2, 3, 2, 4, 5), np.uint8), imagej=True)
    with pytest.raises(InputError, match="more axes"):
        read(tmp_path / "five.tif")
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as file:
        file.write(np.zeros((4, 5), np.uint8))
        file.write(np.zeros((8, 9), np.uint8))
    with pytest.raises(InputError, match="2 images"):
        read(tmp_path / "mixed.tif")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_cut_off_and_false_files_are_refused(tmp_path, capfd, share, compression):
    noise = np.random.default_rng(0).integers(0, 255, (9, 30, 30)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", noise, compression=compression)
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[: int(len(whole) * share)])
    (tmp_path / "b.tif").write_text("no image")
    for name in "ab":
        with pytest.raises(InputError, match=rf"{name}\.tif"):
            read(tmp_path / f"{name}.tif")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("compression", "tag", "value"), [(None, "ImageLength", 2**31), ("zlib", "ImageLength", 2**31), ("zlib", "StripByteCounts", 2**31)]
)
def test_promises_that_a_file_cannot_hold_are_refused_before_memory_is_asked_for(tmp_path, compression, tag, value):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages.first.tags[tag].overwrite(value, dtype="I")
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.tif is damaged"):
        read(tmp_path / "a.tif")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50e6
