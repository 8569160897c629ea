"""Damaged and hostile NIfTI, NRRD and MetaImage files: refused in one sentence, before memory is asked for, and nothing on stderr."""

from __future__ import annotations

import gzip
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from napari_lungseg.errors import InputError
from napari_lungseg.formats import read, write
from napari_lungseg.volume import Volume, scaling

VOXELS = np.random.default_rng(0).integers(-1000, 500, (12, 20, 24)).astype(np.int16)
CT = Volume(VOXELS, scaling((2.5, 0.5, 0.75)))
META = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 24 20 12\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 24 20 12\nspacings: 1 1 1\nendian: little\nencoding: raw\n\n"


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(InputError) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def made(path: Path, header: str, *changes: tuple[str, str], voxels: bytes = VOXELS.tobytes()) -> Path:
    for old, new in changes:
        assert old in header
        header = header.replace(old, new)
    path.write_bytes(header.encode() + voxels)
    return path


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".seg.nrrd", ".mha"])
def test_no_flipped_bit_of_packed_voxels_is_read(tmp_path, capfd, ending):
    labels = Volume((VOXELS > 0).astype(np.uint8), CT.affine)
    path = write(labels if ending == ".seg.nrrd" else CT, tmp_path / f"a{ending}")
    expected, whole = read(path).array, path.read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.integers(len(whole) // 3, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = read(path).array
        except InputError:
            continue
        # A bit of padding, or of a date, changes nothing.
        np.testing.assert_array_equal(found, expected)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("where", "form", "value"),
    [
        *((70, "h", 64), (72, "h", -1), (46, "h", 0), (46, "h", -5), (40, "h", 1536), (40, "h", 0), (108, "f", 348.0), (108, "f", np.nan)),
        *((108, "f", -352.0), (112, "f", np.inf), (344, "4s", b"n+9\0"), (42, "h", 32767)),
    ],
)
def test_nifti_headers_that_do_not_fit_their_voxels_are_refused(tmp_path, capfd, where, form, value):
    for ending in (".nii", ".nii.gz"):
        raw = bytearray(write(CT, tmp_path / "a.nii").read_bytes())
        struct.pack_into("<" + form, raw, where, value)
        path = tmp_path / f"b{ending}"
        path.write_bytes(gzip.compress(raw) if ending == ".nii.gz" else raw)
        assert str(path) in refusal(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "change",
    [
        ("NDims = 3", "NDims = 100000"),
        ("NDims = 3", "NDims = 30000 30000"),
        ("NDims = 3", "NDims = 4294967296"),
        ("BinaryData = True", "BinaryData = none"),
        ("BinaryData = True", "BinaryData = True\nCompressedData = 17"),
        ("BinaryData = True", "BinaryData = True\nElementSpacing = 1 1"),
        ("BinaryData = True", "BinaryData = True\nElementSpacing = -1 1 1"),
        ("BinaryData = True", "BinaryData = True\nTransformMatrix = 1 0 0 1 0 0 0 0 1"),
        ("24 20 12", "4294967295 4294967295 4294967295"),
        ("24 20 12", "24 20 -12"),
        ("24 20 12", "20 20 12"),
        ("MET_SHORT", "MET_STRING"),
        ("= LOCAL", "= x%s%s%s%n.raw 1 12 1"),
        ("= LOCAL", "= x%999999999d.raw 1 12 1"),
        ("= LOCAL", "= x%d.raw 1 1000000000 1"),
        ("= LOCAL", "= /etc/passwd"),
        ("= LOCAL", "= ../a.raw"),
        ("= LOCAL", "= ."),
    ],
)
def test_metaimage_headers_that_make_no_sense_are_refused(tmp_path, capfd, change):
    assert np.array_equal(read(made(tmp_path / "good.mha", META)).array, VOXELS)
    refusal(made(tmp_path / "a.mha", META, change))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "change",
    [
        ("type: short", f"type: {'A' * 5000}"),
        ("dimension: 3", f"dimension: {'A' * 5000}"),
        ("dimension: 3", "dimension: 4"),
        ("spacings: 1 1 1", f"space: {'A' * 5000}\nspace directions: (1,0,0)"),
        ("spacings: 1 1 1", f"surprise: {'A' * 5000}"),
        ("24 20 12", "24 20 1000000"),
        ("24 20 12", "20 20 12"),
        ("24 20 12", "24 20 0"),
        ("endian: little\n", ""),
        ("encoding: raw", "encoding: raw\ndata file: /etc/passwd"),
        ("encoding: raw", "encoding: raw\ndata file: ../a.raw"),
        ("encoding: raw", "encoding: raw\ndata file: x%n%n.raw 1 12 1"),
        ("encoding: raw", "encoding: gzip"),
        ("encoding: raw", "encoding: hex"),
        ("encoding: raw", "encoding: ascii"),
        ("encoding: raw", "encoding: raw\nbyte skip: -5"),
        ("encoding: raw", "encoding: raw\nline skip: 100000000000"),
    ],
)
def test_nrrd_headers_that_make_no_sense_are_refused(tmp_path, capfd, change):
    assert np.array_equal(read(made(tmp_path / "good.nrrd", NRRD)).array, VOXELS)
    refusal(made(tmp_path / "a.nrrd", NRRD, change))
    assert capfd.readouterr().err == ""


def test_a_million_points_of_time_are_refused_at_once(tmp_path):
    many = ("dimension: 3\nsizes: 24 20 12\nspacings: 1 1 1", "dimension: 4\nsizes: 1 1 1 5760\nspacings: 1 1 1 1")
    assert read(made(tmp_path / "a.nrrd", NRRD, many), series="5").shape == (1, 1, 1)
    more = ("5760", "1000000")
    assert "points of time" in refusal(made(tmp_path / "b.nrrd", NRRD, many, more, voxels=bytes(2_000_000)))
    assert "cut off" in refusal(made(tmp_path / "c.nrrd", NRRD, many, more))


@pytest.mark.parametrize("field", ["Layer", "LabelValue"])
@pytest.mark.parametrize("value", ["", "-1", "two", "1e400", "99999999999999999999", "<script>"])
def test_segments_with_numbers_that_are_none_are_refused(tmp_path, field, value):
    header = NRRD.replace("short", "uchar").replace("\n\n", f"\nSegment0_ID:=a\nSegment0_Name:=right lung\nSegment0_{field}:={value}\n\n")
    path = made(tmp_path / "a.seg.nrrd", header, voxels=bytes(5760))
    assert field in refusal(path)
    assert str(path) in refusal(path)


def test_a_segment_in_a_layer_that_is_not_there_is_refused(tmp_path):
    keys = "\nkinds: list domain domain domain\nSegment0_ID:=a\nSegment0_Layer:=2\n\n"
    header = NRRD.replace("short", "uchar").replace("dimension: 3\nsizes: 24", "dimension: 4\nsizes: 2 24").replace("spacings: 1 1 1\n", "")
    assert "layer 2" in refusal(made(tmp_path / "a.seg.nrrd", header.replace("\n\n", keys), voxels=bytes(11520)))


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is looked up as Linux tells it")
def test_headers_that_promise_much_ask_for_no_memory(tmp_path):
    """In a process that may have 256 MB more than it has: promises of terabytes, and 400 MB of packed zeros behind a small header."""
    huge = "30000 30000 30000"
    raw = bytearray(write(CT, tmp_path / "a.nii").read_bytes())
    struct.pack_into("<3h", raw, 42, 30000, 30000, 30000)
    (tmp_path / "a.nii").write_bytes(raw)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw))
    (tmp_path.parent / "small").mkdir(exist_ok=True)
    small = write(CT, tmp_path.parent / "small" / "a.mha")
    packed = zlib.compress(bytes(4_000_000))
    compressed = ("BinaryData = True", "BinaryData = True\nCompressedData = True")
    made(tmp_path / "c.mha", META, ("24 20 12", huge))
    made(tmp_path / "d.mha", META, ("24 20 12", huge), compressed, voxels=packed)
    made(tmp_path / "e.nrrd", NRRD, ("24 20 12", huge))
    made(tmp_path / "f.nrrd", NRRD, ("24 20 12", huge), ("raw", "gzip"), voxels=gzip.compress(bytes(4_000_000)))
    made(tmp_path / "g.nrrd", NRRD, ("24 20 12", huge), ("raw", "ascii"), voxels=b"1 2 3")
    made(tmp_path / "h.nrrd", NRRD, ("raw", "gzip"), voxels=gzip.compress(bytes(400_000_000), 1))
    made(tmp_path / "i.mha", META, compressed, voxels=zlib.compress(bytes(400_000_000), 1))
    script = """
import resource, sys
from pathlib import Path
import napari_lungseg as lungseg
lungseg.read(sys.argv[2])
used = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmSize"))) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), used + (1 << 28)))
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        lungseg.read(path)
        print(path.name, "read")
    except lungseg.InputError as error:
        print(path.name, "refused")
"""
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path), str(small)], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [word for name in sorted(path.name for path in tmp_path.iterdir()) for word in (name, "refused")]
    assert ran.stderr == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="only POSIX has pipes with names")
def test_a_pipe_as_data_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.raw")
    for path in (
        made(tmp_path / "a.mhd", META, ("LOCAL", "pipe.raw"), voxels=b""),
        made(tmp_path / "b.mhd", META, ("LOCAL", "LIST\npipe.raw"), voxels=b""),
        made(tmp_path / "c.nhdr", NRRD, ("raw", "raw\ndata file: pipe.raw"), voxels=b""),
    ):
        assert "pipe.raw" in refusal(path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are no text")
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".seg.nrrd", ".tif"])
def test_names_that_are_no_text_are_read_and_written(tmp_path, ending):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    path = write(Volume((VOXELS > 0).astype(np.uint8), CT.affine), folder / os.fsdecode(b"\xe9" + ending.encode()))
    np.testing.assert_array_equal(read(path).array, VOXELS > 0)


def test_names_read_in_a_locale_without_umlauts(tmp_path):
    write(CT, tmp_path / "Lunge Müller.nii.gz")
    script = "import sys; sys.stdout.reconfigure(errors='backslashreplace')\nimport napari_lungseg as lungseg\n"
    script += "lungseg.write(lungseg.read(sys.argv[1]), sys.argv[1][:-7] + 'x.nrrd')"
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", script, tmp_path / "Lunge Müller.nii.gz"], env=environment, check=True)
    np.testing.assert_array_equal(read(tmp_path / "Lunge Müllerx.nrrd").array, VOXELS)


def test_a_message_never_holds_a_very_long_name(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path / ("L" * 5000))
    assert len(str(caught.value)) < 400
    assert re.search("cannot be used", str(caught.value))
