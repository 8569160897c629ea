"""PNG and JPEG, by way of Pillow; they know pixels, not millimetres."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from napari_lungseg.errors import InputError, reading
from napari_lungseg.formats.intact import check_jpeg, check_png
from napari_lungseg.volume import Array, Volume, scaling

#: Shares of red, green and blue in the brightness that people see (ITU-R 601).
_LUMA = (0.299, 0.587, 0.114)
#: EXIF's tag of the orientation, and what sets its values upright: whether columns are reversed, then turns by 90 degrees to the left.
_ORIENTATION = 0x0112
_TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}
#: Where a PNG has the bits of a number; the kind of its colours follows.
_DEPTH = 24
#: A picture of more colours is no mask; and red, green and blue of a grey differ by no more than this.
_MOST_LABELS, _GREY = 32, 8
_WHITE, _MIDDLE = 255, 127
#: A mask in JPEG is blurred by less than this, but for so small a part of it.
_NEARLY, _MOSTLY = 48, 0.97
_BLURRED = "It is black and white, which JPEG blurs: its numbers were set to 0 and 255. Save masks as PNG."
_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_NUMBER = re.compile(r"(\d+)")


def read_picture(path: Path) -> Volume:
    """Read .png, .jpg or .jpeg as a (Y, X) image; colour is made grey."""
    with reading(path, f"{path} is damaged or not a PNG or JPEG picture; copy or export it again."):
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.format == "PNG":
                check_png(data)
            image.load()
            if image.format == "JPEG":
                check_jpeg(data, np.asarray(image))
            array, notes = _grey(image, data)
            if image.format == "JPEG" and _is_blurred_mask(array):
                array, notes = np.where(array > _MIDDLE, _WHITE, 0).astype(np.uint8), (_BLURRED,)
            turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    if turn is not None:
        flipped, turns = turn
        array = np.ascontiguousarray(np.rot90(array[:, ::-1] if flipped else array, turns))
        notes = (*notes, "The picture is stored turned or mirrored; it was set upright as its EXIF orientation says.")
    return Volume(array, scaling((1.0, 1.0)), spacing_known=False, oriented=False, notes=notes)


def _grey(image: Image.Image, data: bytes) -> tuple[Array, tuple[str, ...]]:
    """One number for each pixel, and what was decided: brightness, or the labels that a palette gives colours to."""
    if image.format == "PNG" and data[_DEPTH] == 16 and data[_DEPTH + 1] != 0:
        # Of colours with 16 bits Pillow keeps the upper 8.
        channels = imagecodecs.png_decode(data)
        return (to_grey(channels) if channels.shape[-1] > 2 else channels[..., 0]), ()
    if image.mode == "P":
        labels = np.array(image)
        used = np.unique(labels)
        colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
        if len(used) <= _MOST_LABELS and used[-1] < len(colours) and (np.ptp(colours[used], axis=1) > _GREY).any():
            return labels, ("Its colours stand for labels: their numbers in the palette were taken, not their brightness.",)
    if image.mode in ("LA", "RGBA") and len(np.unique(pixels := np.asarray(image)[..., :-1])) == 1:
        alpha = np.asarray(image)[..., -1]
        if np.ptp(alpha):
            return alpha.copy(), (f"All of it has one colour ({pixels.flat[0]}); its transparency was taken in place of its brightness.",)
    array = np.array(image if image.mode.startswith("I") else image.convert("L"))
    if image.format == "PNG" and image.mode in ("RGB", "RGBA"):
        return array, _colours_told(np.asarray(image)[..., :3], array)
    # 16-bit PNGs come as 32-bit integers from older Pillows.
    return (array.astype(np.uint16) if array.dtype.kind == "i" else array), ()


def _is_blurred_mask(array: Array) -> bool:
    """Whether nearly all of a picture is black or white, with both there, as of a mask that JPEG has blurred."""
    dark, bright = np.mean(array <= _NEARLY), np.mean(array >= _WHITE - _NEARLY)
    return bool(min(dark, bright) > 0 and dark + bright >= _MOSTLY)


def _colours_told(colours: Array, grey: Array) -> tuple[str, ...]:
    """What to say of a picture of few flat colours, which may be a mask; nothing of a photograph, or of greys."""
    red, green, blue = colours.astype(np.uint32).transpose(2, 0, 1)
    if np.ptp(colours, axis=-1).max(initial=0) <= _GREY:
        return ()
    codes = np.unique(red << 24 | green << 16 | blue << 8 | grey)
    if len(codes) > _MOST_LABELS:
        return ()
    alike = " Some of them are of one brightness: save it with numbers." if len(np.unique(codes & _WHITE)) < len(codes) else ""
    return (f"Its few colours were made grey; as a mask, its labels are their brightness.{alike}",)


def numbered(folder: Path) -> list[Path]:
    """The pictures of a folder where they are slices, in their order; else none."""
    return in_order(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS and not path.name.startswith("."))


def in_order(files: Iterable[Path]) -> list[Path]:
    """Files that are slices, two or more whose names differ in one number only, by that number; else none."""
    return [path for _, path in _by_number(list(files))]


def _by_number(paths: list[Path]) -> list[tuple[int, Path]]:
    """Two or more files whose names differ in one number only, by that number; else none."""
    words = [_NUMBER.split(path.name) for path in paths]
    if len(paths) < 2 or len(set(map(len, words))) > 1:
        return []
    differing = [place for place, column in enumerate(zip(*words)) if len(set(column)) > 1]
    if len(differing) != 1 or differing[0] % 2 == 0:
        return []
    return sorted((int(one[differing[0]]), path) for one, path in zip(words, paths))


def read_numbered(paths: Sequence[Path], read: Callable[[Path], Volume]) -> Volume:
    """Read numbered slices, as :func:`in_order` gives them, as a (Z, Y, X) volume.

    Raises
    ------
    InputError
        When a number is missing, sizes differ, or a file is no single slice.
    """
    steps = np.diff([number for number, _ in _by_number(list(paths))])
    if (steps != steps[0]).any():
        name = paths[int(steps.argmax())].name
        raise InputError(f"{paths[0].parent} lacks slices: the numbers jump after {name}; put all slices there.")
    slices = [read(path) for path in paths]
    planes = [one.array for one in slices]
    for path, plane in zip(paths, planes):
        if plane.ndim != 2:
            raise InputError(f"{path} is a volume itself, not one slice; open it alone.")
        if plane.shape != planes[0].shape:
            raise InputError(f"{path} is of another size than {paths[0].name}; put only the slices of one volume into the folder.")
    notes = tuple(dict.fromkeys(note for one in slices for note in one.notes))
    return Volume(np.stack(planes), scaling((1.0, 1.0, 1.0)), spacing_known=False, oriented=False, notes=notes)


def write_png(volume: Volume, path: Path) -> None:
    """Write one slice as an 8- or 16-bit grey PNG."""
    path.write_bytes(_png(_in_png(volume).reshape(volume.shape[-2:])))


def write_numbered(volume: Volume, folder: Path, name: str) -> None:
    """Write each slice as a PNG of its own, all of one depth, numbered from 0 on as napari counts."""
    for index, plane in enumerate(_in_png(volume)):
        (folder / f"{name}_{index:04d}.png").write_bytes(_png(plane))


def _png(plane: Array) -> bytes:
    # In memory, as Python tells when a disk took only a part of it.
    content = io.BytesIO()
    Image.fromarray(plane).save(content, "PNG")
    return content.getvalue()


def _in_png(volume: Volume) -> Array:
    array = np.asarray(volume.array)
    if array.dtype.kind not in "bui" or array.min() < 0 or array.max() > 65535:
        raise InputError("PNG holds whole numbers from 0 to 65535 only; use .nii.gz, .nrrd, .mha or .tif.")
    return array.astype(np.uint8 if array.max() < 256 else np.uint16)


def to_grey(array: Array) -> Array:
    """Brightness of colours along the last axis (RGB or RGBA), of the same type; lazy arrays stay lazy."""
    red, green, blue = (array[..., channel] * share for channel, share in enumerate(_LUMA))
    brightness = red + green + blue
    return (brightness.round() if array.dtype.kind in "ui" else brightness).astype(array.dtype)
