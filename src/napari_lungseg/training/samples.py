"""Cut slices to learn from out of cases, keep them in flat files, and read those of a bundled model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_lungseg.card import Card
from napari_lungseg.errors import InputError
from napari_lungseg.files import write_whole
from napari_lungseg.framing import framing_of
from napari_lungseg.grid import laid_on
from napari_lungseg.library import bundled_folder
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.run_files import SLICES_DATA, SLICES_INDEX
from napari_lungseg.translation import mark
from napari_lungseg.volume import Array, Volume

#: Label of pixels that nobody has judged.
IGNORE = 255

Side = Literal["train", "validation", "unjudged"]
CASES = "cases"


@dataclass(frozen=True, eq=False)
class LabelledSlice:
    """Hold one axial slice, cropped to the body, with its label.

    Attributes
    ----------
    case : str
        Key of the case it comes from.
    index : int
        Place along the axial axis, feet first.
    image : (H, W) array
        The case's own numbers.
    label : (H, W) array of uint8
        0 background, 1 .. n the classes, :data:`IGNORE` where nobody has judged.
    spacing_mm : tuple of float
        Row and column distance.
    intensity_range : tuple of float
        Values that are mapped to -1 and 1.
    is_hu : bool
        Whether the numbers are HU, so that disease may be drawn into them.
    """

    case: str
    index: int
    image: npt.NDArray[np.generic]
    label: npt.NDArray[np.uint8]
    spacing_mm: tuple[float, float]
    intensity_range: tuple[float, float]
    is_hu: bool

    @cached_property
    def values(self) -> frozenset[int]:
        """Labels that occur."""
        return frozenset(int(value) for value in np.flatnonzero(np.bincount(self.label.ravel(), minlength=256)))

    @property
    def classes(self) -> frozenset[int]:
        """Classes that occur."""
        return self.values - {0, IGNORE}

    @property
    def is_judged(self) -> bool:
        """Whether anybody has judged any pixel."""
        return self.values != {IGNORE}

    @property
    def pixel_mm2(self) -> float:
        """Area of a pixel."""
        return self.spacing_mm[0] * self.spacing_mm[1]

    def coarsened(self, factor: int) -> LabelledSlice:
        """Lower the resolution ``factor`` times: the mean of blocks of the image, the label that covers most of each."""
        rows, columns = (length // factor * factor for length in self.image.shape)
        blocks = (rows // factor, factor, columns // factor, factor)
        image = self.image[:rows, :columns].astype(np.float32).reshape(blocks).mean(axis=(1, 3))
        label = np.ascontiguousarray(_majority(self.label[:rows, :columns].reshape(blocks), sorted(self.values - {0}) or [0]))
        spacing = (self.spacing_mm[0] * factor, self.spacing_mm[1] * factor)
        return replace(self, image=image, label=label, spacing_mm=spacing)


def _majority(blocks: npt.NDArray[np.uint8], values: list[int]) -> npt.NDArray[np.uint8]:
    """Find the label that covers most of each block; on a tie a class before the background."""
    covers = np.stack([(blocks == value).mean(axis=(1, 3)) for value in values])
    most = np.array(values, np.uint8)[covers.argmax(axis=0)]
    return np.where(covers.max(axis=0) >= 1.0 - covers.sum(axis=0), most, np.uint8(0))


def slices_of(
    key: str, image: Volume, labels: Volume, preprocessing: Preprocessing, most_unjudged: int | None = None
) -> Iterator[LabelledSlice]:
    """Cut the axial slices of a case, feet first, cropped to the body as for prediction.

    Parameters
    ----------
    key : str
        Of the case.
    image : Volume
        Its image.
    labels : Volume
        uint8 on the same grid, whichever way its axes are stored, as in :class:`LabelledSlice`.
    preprocessing : Preprocessing
        Of the model; the same that prediction uses.
    most_unjudged : int, optional
        How many of the slices that nobody has judged are given, evenly spread; all by default.

    Raises
    ------
    InputError
        When the two lie on different grids.
    """
    labels = laid_on(
        labels, image, (mark("labels"), mark("image")), mark("give labels that were made on this image, or resample them first.")
    )
    image, _ = image.reorient()
    labels, _ = labels.reorient()
    values, known = image.array, labels.array
    if image.ndim == 2:
        values, known = values[None], known[None]
    intensity_range = preprocessing.intensity_range(image)
    cut = framing_of(preprocessing).cut(image, intensity_range)
    unjudged = [index for index in range(len(known)) if not (np.asarray(known[index]) != IGNORE).any()]
    wanted = set(range(len(known)))
    if most_unjudged is not None and len(unjudged) > most_unjudged:
        wanted -= set(unjudged) - {unjudged[int(place)] for place in np.linspace(0, len(unjudged) - 1, most_unjudged).round()}
    for index in sorted(wanted):
        plane = np.asarray(values[index])
        box, spacing = cut.of(plane)
        yield LabelledSlice(
            key,
            index,
            np.ascontiguousarray(plane[box]),
            np.ascontiguousarray(np.asarray(known[index])[box], dtype=np.uint8),
            (float(spacing[0]), float(spacing[1])),
            intensity_range,
            image.unit == "HU",
        )


def spread(slices: Sequence[LabelledSlice], most: int) -> list[LabelledSlice]:
    """Choose at most ``most`` slices, evenly spread over those given."""
    if len(slices) <= most:
        return list(slices)
    return [slices[int(index)] for index in np.linspace(0, len(slices) - 1, most).round()]


class SampleWriter:
    """Write slices to a folder, one after the other, so that no data set has to fit into memory.

    Parameters
    ----------
    folder : Path
        A folder of its own, made if need be.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._entries: list[dict[str, Any]] = []
        self._file: BinaryIO = (folder / SLICES_DATA).open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, item: LabelledSlice) -> None:
        """Append a slice."""
        entry = {name: getattr(item, name) for name in ("case", "index", "spacing_mm", "intensity_range", "is_hu")}
        for name in ("image", "label"):
            array = getattr(item, name)
            array = array.astype(np.float32) if array.dtype == np.float64 else array
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            # Whole words, as not every processor reads numbers from odd places.
            self._file.write(b"\0" * (-self._file.tell() % 8))
            entry[name] = {"offset": self._file.tell(), "dtype": little.dtype.str, "shape": little.shape}
            self._file.write(little.data)
        self._entries.append(entry)

    def finish(self, side: Callable[[LabelledSlice], Side | None], index: Callable[[Array], npt.NDArray[np.uint8]]) -> None:
        """Convert labels to classes and write the index, without which the folder cannot be read.

        Parameters
        ----------
        side : callable
            On which side a slice is; None to leave it out.
        index : callable
            From the labels that were added to classes.
        """
        self._file.close()
        data = np.memmap(self._folder / SLICES_DATA, np.uint8, "r+")
        item: LabelledSlice | None = None
        kept = []
        try:
            for entry in self._entries:
                item = _open(data, entry)
                item.label[...] = index(item.label)
                where = side(item)
                if where is not None:
                    kept.append({"side": where, **entry})
            data.flush()
        finally:
            # The traceback of an error would keep the file mapped, and Windows removes no mapped file.
            del data, item
        write_whole(self._folder / SLICES_INDEX, json.dumps(kept))


def read_samples(folder: Path) -> dict[Side, list[LabelledSlice]]:
    """Read slices by side, as views on the file; they take memory only while they are used.

    Raises
    ------
    InputError
        When the folder does not hold what :class:`SampleWriter` wrote.
    """
    found: dict[Side, list[LabelledSlice]] = {"train": [], "validation": [], "unjudged": []}
    try:
        data = np.memmap(folder / SLICES_DATA, np.uint8, "r")
        for entry in json.loads((folder / SLICES_INDEX).read_text()):
            found[entry["side"]].append(_open(data, entry))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InputError(f"The slices to learn from in {folder} cannot be read ({error}); begin the training anew.") from error
    return found


def _open(data: npt.NDArray[np.uint8], entry: dict[str, Any]) -> LabelledSlice:
    planes = {}
    for name in ("image", "label"):
        place, dtype = entry[name], np.dtype(entry[name]["dtype"])
        end = place["offset"] + dtype.itemsize * int(np.prod(place["shape"]))
        planes[name] = data[place["offset"] : end].view(dtype).reshape(place["shape"])
    (rows, columns), (low, high) = entry["spacing_mm"], entry["intensity_range"]
    return LabelledSlice(entry["case"], entry["index"], planes["image"], planes["label"], (rows, columns), (low, high), entry["is_hu"])


@dataclass(frozen=True, eq=False)
class BaseCases:
    """Hold the slices of a bundled model.

    Attributes
    ----------
    model : str
        Its name.
    replay : list of LabelledSlice
        Of patients that it has learnt from.
    frozen : list of LabelledSlice
        Of patients that it has not; never learnt from.
    """

    model: str
    replay: list[LabelledSlice]
    frozen: list[LabelledSlice]

    @property
    def classes(self) -> int:
        """How many classes, from the first on, their labels know."""
        return max(max(item.classes, default=0) for item in (*self.replay, *self.frozen))


def base_cases(card: Card) -> BaseCases | None:
    """Read the slices of the bundled model that a model is, or whose classes it has kept; None where there are none.

    Raises
    ------
    InputError
        When a file of the package is damaged.
    """
    name = card.training.get("base_cases", card.name)
    folder = bundled_folder(str(name)) / CASES
    return _read(str(name), folder, card.preprocessing) if (folder / "cases.json").is_file() else None


def _read(model: str, folder: Path, preprocessing: Preprocessing) -> BaseCases:
    found = BaseCases(model, [], [])
    try:
        for entry in json.loads((folder / "cases.json").read_text(encoding="utf-8"))["slices"]:
            image, label = (np.asarray(Image.open(folder / entry[kind])) for kind in ("image", "label"))
            low, high = entry["window"]
            is_hu = entry["unit"] == "HU"
            values = np.round(image * ((high - low) / 255.0) + low).astype(np.int16) if is_hu else image
            intensity_range = preprocessing.window_hu if is_hu else (0.0, 255.0)
            spacing = (float(entry["spacing_mm"][0]), float(entry["spacing_mm"][1]))
            item = LabelledSlice(entry["case"], int(entry["index"]), values, label.astype(np.uint8), spacing, intensity_range, is_hu)
            (found.frozen if entry["frozen"] else found.replay).append(item)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"The slices of the model {model} in {folder} cannot be read ({error}); install napari-lungseg again.") from error
    return found
