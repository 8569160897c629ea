from __future__ import annotations

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from geometry import grids

from napari_lungseg.errors import InputError
from napari_lungseg.formats import read, read_segments, write
from napari_lungseg.volume import Volume, scaling

LABELS = np.zeros((3, 4, 5), np.uint8)
LABELS[1, 1:3, 0:2] = 1
LABELS[2, 3, 4] = 2
AFFINE = scaling((2.5, 0.5, 0.75), (-10.0, 20.0, -300.0))


def segments(header) -> list[dict[str, str]]:
    """What the header says of each segment."""
    found = []
    while f"Segment{len(found)}_ID" in header:
        start = f"Segment{len(found)}_"
        found.append({key.removeprefix(start): value for key, value in header.items() if key.startswith(start)})
    return found


def test_lungs_have_their_names_colours_and_extents(tmp_path):
    data, header = nrrd.read(str(write(Volume(LABELS, AFFINE), tmp_path / "a.seg.nrrd")))
    np.testing.assert_array_equal(data.T, LABELS)
    right, left = segments(header)
    assert (right["Name"], right["LabelValue"], right["Layer"], right["Extent"]) == ("right lung", "1", "0", "0 1 1 2 1 1")
    assert (left["Name"], left["LabelValue"], left["Layer"], left["Extent"]) == ("left lung", "2", "0", "4 4 3 3 2 2")
    for segment, colour in ((right, "3ddc97"), (left, "4aa8ff")):
        assert bytes(round(255 * float(part)) for part in segment["Color"].split()).hex() == colour
    for segment, side in ((right, "SCT^24028007^Right"), (left, "SCT^7771000^Left")):
        assert f"~SCT^123037004^Anatomical Structure~SCT^39607008^Lung~{side}~" in segment["Tags"]
    assert right["ID"] != left["ID"]
    assert header["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert header["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"
    assert header["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    assert header["type"] in ("uint8", "unsigned char")
    assert header["space"] == "left-posterior-superior"


def test_other_labels_are_segments_of_their_own(tmp_path):
    labels = LABELS.astype(np.int32)
    labels[0, 0, :2] = (7, 300)
    _, header = nrrd.read(str(write(Volume(labels, AFFINE), tmp_path / "a.seg.nrrd")))
    found = segments(header)
    assert [(one["Name"], one["LabelValue"]) for one in found[2:]] == [("label 7", "7"), ("label 300", "300")]
    assert len({one["Color"] for one in found}) == 4
    np.testing.assert_array_equal(read(tmp_path / "a.seg.nrrd").array, labels)


def test_labels_can_be_given_names(tmp_path):
    _, header = nrrd.read(str(write(Volume(LABELS, AFFINE), tmp_path / "a.seg.nrrd", {1: "liver", 5: "spleen"})))
    found = segments(header)
    assert [(one["LabelValue"], one["Name"]) for one in found] == [("1", "liver"), ("2", "label 2"), ("5", "spleen")]
    assert not any("Lung" in one["Tags"] for one in found)


def test_names_are_read_again(tmp_path):
    _, names = read_segments(write(Volume(LABELS, AFFINE), tmp_path / "a.seg.nrrd", {1: "liver", 5: "spleen"}))
    assert names == {1: "liver", 2: "label 2", 5: "spleen"}
    assert read_segments(write(Volume(LABELS, AFFINE), tmp_path / "a.nrrd")) is None


def test_both_lungs_together_are_of_no_side(tmp_path):
    _, header = nrrd.read(str(write(Volume(LABELS > 0, AFFINE), tmp_path / "a.seg.nrrd", {1: "lungs"})))
    (both,) = segments(header)
    assert "~SCT^39607008^Lung~^^~" in both["Tags"]


def test_lobes_have_their_codes_and_colours_of_their_own(tmp_path):
    names = {1: "left upper lobe", 2: "right middle lobe"}
    _, header = nrrd.read(str(write(Volume(LABELS, AFFINE), tmp_path / "a.seg.nrrd", names)))
    upper, middle = segments(header)
    assert "~SCT^45653009^Upper lobe of lung~SCT^7771000^Left~" in upper["Tags"]
    assert "~SCT^72481006^Middle lobe of right lung~^^~" in middle["Tags"]
    assert upper["Color"] != middle["Color"]


def test_an_empty_mask_has_both_lungs_to_paint_on(tmp_path):
    _, header = nrrd.read(str(write(Volume(np.zeros_like(LABELS), AFFINE), tmp_path / "a.seg.nrrd")))
    assert [(one["Name"], one["Extent"]) for one in segments(header)] == [("right lung", "0 -1 0 -1 0 -1"), ("left lung", "0 -1 0 -1 0 -1")]


def test_the_geometry_is_that_of_a_plain_nrrd(tmp_path):
    for affine in list(grids())[::4]:
        volume = Volume(LABELS, affine)
        one, other = (sitk.ReadImage(str(write(volume, tmp_path / name))) for name in ("a.seg.nrrd", "a.nrrd"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(other))
        for get in ("GetOrigin", "GetSpacing", "GetDirection"):
            assert getattr(one, get)() == getattr(other, get)()
        back = read(tmp_path / "a.seg.nrrd")
        np.testing.assert_array_equal(back.array, LABELS)
        np.testing.assert_allclose(back.affine, affine, atol=1e-6)


def test_a_slice_becomes_a_volume_of_one(tmp_path):
    back = read(write(Volume(LABELS[2], AFFINE), tmp_path / "a.seg.nrrd"))
    np.testing.assert_array_equal(back.array, LABELS[2:])
    np.testing.assert_allclose(back.affine, AFFINE)


def write_layers(path, layers, values, numbers) -> None:
    """A file with overlapping segments, as 3D Slicer writes it: layers along a first axis."""
    header = {
        "space": "left-posterior-superior",
        "kinds": ["list", "domain", "domain", "domain"],
        "space directions": np.array([[np.nan] * 3, [0.75, 0, 0], [0, 0.5, 0], [0, 0, 2.5]]),
        "space origin": [-10.0, 20.0, -300.0],
    }
    for number, (value, layer) in enumerate(zip(values, numbers)):
        header |= {
            f"Segment{number}_ID": f"Segment_{number}",
            f"Segment{number}_LabelValue": str(value),
            f"Segment{number}_Layer": str(layer),
        }
    nrrd.write(str(path), np.stack(layers).transpose(0, 3, 2, 1), header)


def test_overlapping_segments_are_laid_over_each_other(tmp_path):
    first, second = LABELS.copy(), np.zeros_like(LABELS)
    second[1, 2:, 1:] = 5
    write_layers(tmp_path / "a.seg.nrrd", [first, second], (1, 2, 5), (0, 0, 1))
    back = read(tmp_path / "a.seg.nrrd")
    np.testing.assert_array_equal(back.array, np.where(second, second, first))
    np.testing.assert_allclose(back.affine, AFFINE)


def test_segments_of_one_label_in_several_layers_are_numbered(tmp_path):
    first, second = (LABELS == 1).astype(np.uint8), (LABELS == 2).astype(np.uint8)
    write_layers(tmp_path / "a.seg.nrrd", [first, second], (1, 1), (0, 1))
    np.testing.assert_array_equal(read(tmp_path / "a.seg.nrrd").array, LABELS)


@pytest.mark.parametrize("array", [np.full((2, 2, 2), 0.5), np.full((2, 2, 2), -1)])
def test_what_is_no_mask_is_refused(tmp_path, array):
    with pytest.raises(InputError, match="whole numbers"):
        write(Volume(array, AFFINE), tmp_path / "a.seg.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "a.seg.nrrd").write_bytes(b"NRRD0004\nnonsense")
    with pytest.raises(InputError, match="damaged"):
        read(tmp_path / "a.seg.nrrd")


@pytest.mark.parametrize("name", ["lungs.nrrd", "lungs.NRRD"])
def test_a_segmentation_under_another_name_keeps_its_names(tmp_path, name):
    write(Volume(LABELS, AFFINE), tmp_path / "a.seg.nrrd").rename(tmp_path / name)
    labels, names = read_segments(tmp_path / name)
    np.testing.assert_array_equal(labels.array, LABELS)
    assert names == read(tmp_path / name).names == {1: "right lung", 2: "left lung"}
    plain = write(Volume(LABELS, AFFINE), tmp_path / "plain.nrrd")
    assert read_segments(plain) is None


def test_layers_under_another_name_are_no_points_of_time(tmp_path):
    layers = np.stack([LABELS == 1, LABELS == 2], axis=-1).astype(np.uint8)
    fields = "type: uchar\ndimension: 4\nsizes: 2 5 4 3\nencoding: raw\nkinds: list domain domain domain\n"
    fields += "space: left-posterior-superior\nspace directions: none (0.75,0,0) (0,0.5,0) (0,0,2.5)\nspace origin: (0,0,0)\n"
    keys = "".join(f"Segment{n}_ID:=s{n}\nSegment{n}_Name:=part {n}\nSegment{n}_LabelValue:=1\nSegment{n}_Layer:={n}\n" for n in (0, 1))
    (tmp_path / "lungs.nrrd").write_bytes(f"NRRD0004\n{fields}{keys}\n".encode() + layers.tobytes())
    volume = read(tmp_path / "lungs.nrrd")
    np.testing.assert_array_equal(volume.array, LABELS)
    assert volume.names == {1: "part 0", 2: "part 1"}
