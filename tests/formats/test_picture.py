from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from PIL import Image

from napari_lungseg.errors import InputError
from napari_lungseg.formats import is_readable, read, write
from napari_lungseg.formats.picture import to_grey
from napari_lungseg.volume import Volume, scaling

GREY = (np.arange(20, dtype=np.uint8) * 12).reshape(4, 5)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_every_kind_of_png_reads_as_grey(tmp_path, mode):
    Image.fromarray(GREY).convert(mode).save(tmp_path / "a.png")
    volume = read(tmp_path / "a.png")
    np.testing.assert_array_equal(volume.array, GREY)
    assert volume.array.dtype == np.uint8
    assert (volume.unit, volume.spacing_known) == ("arbitrary", False)


def test_sixteen_bits_are_kept(tmp_path):
    deep = GREY.astype(np.uint16) * 200
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png").array.dtype == np.uint16
    np.testing.assert_array_equal(read(tmp_path / "a.png").array, deep)


MASK = np.zeros((64, 64), bool)
MASK[10:40, 15:33] = True


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_a_black_and_white_mask_that_jpeg_has_blurred_is_black_and_white(tmp_path, quality):
    Image.fromarray(np.where(MASK, 255, 0).astype(np.uint8)).save(tmp_path / "mask.jpg", quality=quality)
    volume = read(tmp_path / "mask.jpg")
    np.testing.assert_array_equal(volume.array, np.where(MASK, 255, 0))
    assert "JPEG blurs" in volume.notes[0]


def test_a_mask_of_colours_is_told_to_be_read_as_brightness(tmp_path):
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[MASK] = (255, 0, 0)
    Image.fromarray(colours).save(tmp_path / "mask.png")
    volume = read(tmp_path / "mask.png")
    np.testing.assert_array_equal(volume.array, np.where(MASK, 76, 0))
    (told,) = volume.notes
    assert "labels are their brightness" in told
    assert "Some" not in told
    colours[50:60, 50:60] = (0, 130, 0)
    Image.fromarray(colours).save(tmp_path / "mask.png")
    assert "Some of them are of one brightness" in read(tmp_path / "mask.png").notes[0]
    photograph = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    assert read(tmp_path / "photograph.png").notes == ()


def test_a_mask_that_is_drawn_in_the_transparency_is_read(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[MASK, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    volume = read(tmp_path / "mask.png")
    np.testing.assert_array_equal(volume.array, np.where(MASK, 255, 0))
    assert "transparency" in volume.notes[0]


def test_jpeg_reads(tmp_path):
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tmp_path / "a.JPG", format="JPEG")
    np.testing.assert_allclose(read(tmp_path / "a.JPG").array, 90, atol=1)


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_damaged_pictures_are_refused(tmp_path, capfd, ending, share):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)] or b"no picture")
    with pytest.raises(InputError, match="damaged"):
        read(path)
    assert capfd.readouterr().err == ""


def test_labels_are_written_in_eight_bits(tmp_path):
    labels = (GREY > 100).astype(np.int32) * 2
    path = write(Volume(labels, scaling((1.0, 1.0))), tmp_path / "a.png")
    assert Image.open(path).mode == "L"
    np.testing.assert_array_equal(np.array(Image.open(path)), labels)
    one = write(Volume(labels[None], scaling((1.0, 1.0, 1.0))), tmp_path / "b.png")
    np.testing.assert_array_equal(np.array(Image.open(one)), labels)


def test_hu_do_not_go_into_a_png(tmp_path):
    for shape in ((4, 5), (3, 4, 5)):
        with pytest.raises(InputError, match="whole numbers"):
            write(Volume(np.full(shape, -5, np.int16), scaling((1.0,) * len(shape))), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("top", "bits"), [(2, 8), (700, 16)])
def test_a_volume_becomes_a_folder_of_numbered_slices(tmp_path, top, bits):
    """All of one depth, whatever is in the single slice; they read as the volume again."""
    labels = np.zeros((11, 4, 5), np.int32)
    labels[5, 2:, 1:] = top
    folder = write(Volume(labels, scaling((2.5, 0.5, 0.75))), tmp_path / "lungs.png")
    assert folder == tmp_path / "lungs"
    assert [path.name for path in sorted(folder.iterdir())] == [f"lungs_{index:04d}.png" for index in range(11)]
    # In the header of a PNG; what Pillow calls it depends on its version.
    assert {path.read_bytes()[24] for path in folder.iterdir()} == {bits}
    again = read(folder)
    np.testing.assert_array_equal(again.array, labels)
    assert not again.spacing_known


def test_a_folder_of_slices_is_never_mixed_with_another(tmp_path):
    volume = Volume(np.zeros((3, 4, 5), np.uint8), scaling((1.0, 1.0, 1.0)))
    write(volume, tmp_path / "lungs.png")
    with pytest.raises(InputError, match="is there already"):
        write(volume, tmp_path / "lungs.png")
    assert [path.name for path in tmp_path.iterdir()] == ["lungs"]


def test_numbered_pictures_are_sorted_by_their_number(tmp_path):
    for number in (8, 9, 10, 11):
        Image.fromarray(np.full((4, 5), number, np.uint8)).save(tmp_path / f"scan2_{number}.png")
    np.testing.assert_array_equal(read(tmp_path).array[:, 0, 0], [8, 9, 10, 11])


def test_the_number_that_differs_need_not_be_the_last_one(tmp_path):
    for number in (9, 10, 11):
        Image.fromarray(np.full((4, 5), number, np.uint8)).save(tmp_path / f"scan2_{number}_512x512.png")
    assert read(tmp_path).array[:, 0, 0].tolist() == [9, 10, 11]


def test_a_missing_number_is_named(tmp_path):
    for number in (1, 2, 4, 5):
        Image.fromarray(GREY).save(tmp_path / f"{number:03d}.png")
    with pytest.raises(InputError, match=r"jump after 002\.png"):
        read(tmp_path)


def test_a_slice_of_another_size_is_named(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "1.png")
    Image.fromarray(GREY[:3]).save(tmp_path / "2.png")
    with pytest.raises(InputError, match=r"2\.png is of another size"):
        read(tmp_path)


def test_pictures_of_different_names_are_no_volume(tmp_path):
    for name in ("ann1.png", "bob2.png"):
        Image.fromarray(GREY).save(tmp_path / name)
    assert not is_readable(tmp_path)


def test_grey_is_what_people_see_and_lazy_stays_lazy():
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [7, 7, 7]]], np.uint8)
    np.testing.assert_array_equal(to_grey(colours), [[76, 150, 29, 7]])
    lazy = to_grey(da.from_array(colours))
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy.compute(), to_grey(colours))
