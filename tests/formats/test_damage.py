"""Whatever is wrong with a file: one sentence that names it, the cause kept, and nothing else on the screen."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image

from napari_lungseg.cli import main
from napari_lungseg.errors import InputError, reading
from napari_lungseg.formats import is_readable, read, read_segments, scans_in, write
from napari_lungseg.volume import Volume, scaling


def refused(path, call=read):
    with pytest.raises(InputError) as caught:
        call(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def test_whatever_a_library_raises_names_the_file_and_keeps_the_cause(tmp_path):
    for wrong in (struct.error("4 bytes"), OverflowError("inf"), NotImplementedError("VR"), KeyError("x"), RecursionError("deep")):
        with pytest.raises(InputError, match=r"scan\.x is damaged") as caught, reading(tmp_path / "scan.x"):
            raise wrong
        assert caught.value.__cause__ is wrong


def test_a_refusal_that_does_not_name_the_file_gets_its_name(tmp_path):
    with pytest.raises(InputError, match=r"scan\.x: no lung"), reading(tmp_path / "scan.x"):
        raise InputError("no lung")


def test_an_interruption_and_want_of_memory_are_no_damage(tmp_path):
    with pytest.raises(KeyboardInterrupt), reading(tmp_path):
        raise KeyboardInterrupt
    with pytest.raises(MemoryError, match=r"not enough memory to read .*scan\.x"), reading(tmp_path / "scan.x"):
        raise MemoryError


@pytest.mark.parametrize("command", ["segment", "measure", "evaluate"])
def test_want_of_memory_is_one_sentence_in_the_terminal(tmp_path, capsys, monkeypatch, command):
    """With the file's name; a real one would take the memory of the machine."""
    path = write(Volume(np.ones((2, 3, 4), np.uint8), scaling((1.0, 1.0, 1.0))), tmp_path / "big.tif")

    def short(*_, **__):
        raise MemoryError("Unable to allocate 8.00 GiB")

    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", short)
    arguments = {"segment": [path, "-o", tmp_path / "lungs.nii"], "measure": [path], "evaluate": [path, path]}[command]
    with pytest.raises(SystemExit) as ended:
        main([command, *map(str, arguments)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "not enough memory" in said
    assert "big.tif" in said
    assert said.count("\n") == 1


def replaced(path, tag, kind, raw):
    """An element with other bytes in its place."""
    data = path.read_bytes()
    mark = struct.pack("<HH", *tag)
    place = data.find(mark, 132)
    length = struct.unpack("<H", data[place + 6 : place + 8])[0]
    path.write_bytes(data[:place] + mark + kind + struct.pack("<H", len(raw)) + raw + data[place + 8 + length :])


@pytest.mark.parametrize(
    ("tag", "kind", "raw"),
    [
        ((0x28, 0x10), b"FD", b"\1\0"),
        ((0x28, 0x02), b"FD", b"\1\0"),
        ((0x20, 0x32), b"ZZ", b"1\\2\\3 "),
        ((0x28, 0x30), b"DS", b"a\\b "),
        ((0x08, 0x60), b"ZZ", b"CT"),
        ((0x20, 0x11), b"IS", b"\xb2 "),
        ((0x20, 0x11), b"IS", b"inf "),
        ((0x20, 0x13), b"IS", b"inf "),
    ],
)
def test_elements_of_impossible_kinds_are_refused_by_the_files_name(tmp_path, write_slice, tag, kind, raw):
    path = write_slice(tmp_path / "odd.dcm", np.zeros((4, 6)), (0, 0, 0))
    replaced(path, tag, kind, raw)
    refused(path)
    with pytest.raises(InputError, match=r"odd\.dcm"):
        read(tmp_path)


def test_a_damaged_deflated_file_is_refused_by_name(tmp_path, write_slice):
    path = write_slice(tmp_path / "a.dcm", np.zeros((40, 60)), (0, 0, 0))
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(path)
    raw = bytearray(path.read_bytes())
    raw[-60:-40] = b"\xff" * 20
    path.write_bytes(raw)
    refused(path)


def test_impossible_segments_are_refused_by_the_files_name(tmp_path):
    path = write(Volume(np.ones((2, 3, 4), np.uint8), scaling((1.0, 1.0, 1.0))), tmp_path / "a.seg.nrrd")
    whole = path.read_bytes()
    for old, new in (
        (b"Segment0_LabelValue:=1", b"Segment0_LabelValue:="),
        (b"Segment0_LabelValue:=1", b"Segment0_LabelValue:=x"),
        (b"Segment0_Layer:=0", b"Segment0_Layer:=x"),
    ):
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        refused(path)
        refused(path, read_segments)


def test_names_that_no_file_can_have_are_refused(tmp_path):
    for name in ("x" * 300 + ".nii", "x" * 300):
        with pytest.raises(InputError, match="too long"):
            read(tmp_path / name)
    with pytest.raises(InputError, match="~nobody-of-this-name"):
        read("~nobody-of-this-name/a.nii")
    for call in (scans_in, read_segments):
        with pytest.raises(InputError, match="too long"):
            call(tmp_path / ("x" * 300))
    assert is_readable(tmp_path / ("x" * 300))


def test_nothing_but_the_sentence_is_shown(tmp_path, write_series, capfd, recwarn):
    """pydicom warns of values that break its rules, and would show them."""
    write_series(tmp_path / "ct", [0.0, 3.0], SeriesInstanceUID="dbf60361338b6cb0d8add6f6ea34276642da945f02b34613f09188618e7d4d7b")
    recwarn.clear()
    read(tmp_path / "ct")
    (tmp_path / "ct" / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\2\0\0\0UL")
    refused(tmp_path / "ct" / "bad.dcm")
    assert capfd.readouterr().err == ""
    assert [warning for warning in recwarn if issubclass(warning.category, UserWarning)] == []


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(rows, columns, data):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def test_any_flipped_bit_in_the_pixels_of_a_png_is_found(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 65535, (16, 20)).astype(np.uint16)).save(path)
    whole = path.read_bytes()
    start = whole.find(b"IDAT") + 4
    for place in range(start, len(whole) - 16, 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        refused(path)


@pytest.mark.parametrize("rows", [8, 15, 17])
def test_a_png_with_too_few_or_too_many_rows_is_refused(tmp_path, rows):
    (tmp_path / "a.png").write_bytes(png(16, 20, (b"\0" + b"\7" * 20) * rows))
    refused(tmp_path / "a.png")


def test_an_interlaced_png_is_read(tmp_path):
    """Two pixels of a row: the first in the first pass, the other in the sixth."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, 0, 0, 0, 1))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0\x05\0\x09")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(read(tmp_path / "a.png").array, [[5, 9]])


JPEGS = [{}, {"progressive": True}, {"restart_marker_blocks": 3}, {"subsampling": 0}]


@pytest.mark.parametrize("options", JPEGS, ids=str)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_that_ends_early_is_refused_even_with_an_end_mark(tmp_path, options, mode):
    path = tmp_path / "a.jpg"
    thumbnail = Image.fromarray(np.zeros((8, 8), np.uint8))
    thumbnail.save(tmp_path / "b.jpg")
    channels = {"L": (), "RGB": (3,), "CMYK": (4,)}[mode]
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, *channels)).astype(np.uint8)
    Image.fromarray(noise, mode).save(path, comment=(tmp_path / "b.jpg").read_bytes(), **options)
    assert read(path).shape == (48, 64)
    whole = path.read_bytes()
    start = whole.rfind(b"\xff\xda") + 20
    for share in (0.1, 0.5, 0.8):
        path.write_bytes(whole[: start + int((len(whole) - start) * share)] + b"\xff\xd9")
        refused(path)


def test_a_tiff_without_pixels_is_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((0, 4, 5), np.uint8), photometric="minisblack")
    refused(tmp_path / "a.tif")
