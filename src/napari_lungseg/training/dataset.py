"""Read a folder of labelled images: nnU-Net's raw layout, or pairs of pictures."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_lungseg.classes import LEFT, RIGHT
from napari_lungseg.errors import InputError, reading
from napari_lungseg.files import given_path
from napari_lungseg.formats import READABLE, read
from napari_lungseg.grid import laid_on, with_segmentation_whole
from napari_lungseg.labels import renumbered, whole_labels
from napari_lungseg.training.samples import IGNORE
from napari_lungseg.volume import Array, Volume

#: Folders of masks beside ``images`` in a folder of pairs.
MASKS = ("masks", "labels")
#: The number of a channel in the name of an image (nnU-Net raw layout).
_CHANNEL = re.compile(r"_(\d{4})(?=\.)")
#: Of a picture of a mask; never :data:`IGNORE` unless the data set says so.
WHITE = 255


#: Names by which the labels of files that name them are numbered where the data set says nothing.
_LUNGS = {RIGHT: "right", LEFT: "left"}
#: Name for :data:`IGNORE` in such a file.
_UNJUDGED = "not judged"


@dataclass(frozen=True)
class Dataset:
    """Describe a folder of cases.

    Attributes
    ----------
    folder : Path
        Where it lies.
    images, labels : dict of str to Path
        File of each case.
    cases : tuple of str
        Cases to learn from and to watch, sorted.
    patients : dict
        Patient of each case; a case that is not named is its own patient.
    validation : tuple of str or None
        Cases to watch, where the data set says so (``splits_final.json``).
    held_out : tuple of str
        Cases to score at the end (``imagesTs`` with ``labelsTs``).
    names : dict of int to str
        What the labels mean, as far as the data set says so.
    sources : list
        Where the data come from and under which licence, as ``"sources"`` in ``dataset.json`` says.
    ignore : int or None
        Label of voxels that nobody has judged ("ignore" in ``dataset.json``).
    name : str
        What the data set calls itself ("name" in ``dataset.json``); empty where it does not.
    """

    folder: Path
    images: dict[str, Path]
    labels: dict[str, Path]
    cases: tuple[str, ...]
    patients: dict[str, str]
    validation: tuple[str, ...] | None
    held_out: tuple[str, ...]
    names: dict[int, str]
    sources: list[Any]
    ignore: int | None = None
    name: str = ""

    @property
    def train(self) -> tuple[str, ...]:
        """Cases to learn from by the data set's own split."""
        return tuple(case for case in self.cases if case not in (self.validation or ()))

    def load(self, case: str) -> tuple[Volume, Volume]:
        """Read image and labels (uint8, ``IGNORE`` where nobody has judged) of one case.

        Raises
        ------
        InputError
            When one cannot be read, they lie on different grids, or the labels are none.
        """
        image = read(self.images[case])
        labels, _ = with_segmentation_whole(read(self.labels[case]), image)
        if sorted(image.shape) != sorted(labels.shape):
            raise InputError(
                f"{self.labels[case]} has shape {labels.shape} but its image {self.images[case].name} {image.shape}; "
                "give labels of the image's own size."
            )
        names = f"labels {self.labels[case]}", f"image {self.images[case].name}"
        labels = laid_on(labels, image, names, "give labels that were made on this image, or resample them first.")
        named = bool(self.names) or self.ignore is not None
        array = _whole_numbers(np.asarray(labels.array), self.ignore, self.labels[case], named=named)
        if labels.names:
            with reading(self.labels[case]):
                array = renumbered(array, {**labels.names, IGNORE: _UNJUDGED}, {**(self.names or _LUNGS), IGNORE: _UNJUDGED})
        if channel := _CHANNEL.search(self.images[case].name):
            number, others = int(channel[1]), self.images[case].parent
            if any((others / _CHANNEL.sub(f"_{one:04d}", channel.string)).exists() for one in (0, 1) if one != number):
                image = replace(image, notes=(*image.notes, f"Of its channels only number {number} is learnt from."))
        return image, replace(labels.with_array(array), notes=labels.notes)


def open_dataset(folder: Path | str) -> Dataset:
    """List the cases of a folder of labelled images.

    Parameters
    ----------
    folder : path
        Holds ``imagesTr/CASE_0000.ENDING``, ``labelsTr/CASE.ENDING`` and ``dataset.json`` (nnU-Net raw layout, of any version, or that of
        the Medical Segmentation Decathlon); of several channels the one called CT is taken, else the first. ``splits_final.json``,
        if there, says which cases are to be watched, and ``"patients"`` in ``dataset.json`` which cases belong together. Or pairs:
        ``images/NAME.ENDING`` and ``masks/NAME.ENDING`` (or ``labels``), of any format that can be read.

    Raises
    ------
    InputError
        When the folder is no such data set or a patient is on both sides of its split.
    """
    folder = given_path(folder)
    if not (folder / "dataset.json").is_file() and (folder / "images").is_dir():
        return _open_pairs(folder)
    try:
        # Editors on Windows may put a mark of the byte order first.
        description = json.loads((folder / "dataset.json").read_text(encoding="utf-8-sig"))
        ending = str(description.get("file_ending") or _usual_ending(folder / "labelsTr"))
        names = _label_names(description.get("labels", {}), folder)
        channels = description.get("channel_names") or description.get("modality") or {}
        channel = next((int(number) for number, name in channels.items() if str(name).upper() == "CT"), 0)
        given = {str(case): str(patient) for case, patient in description.get("patients", {}).items()}
        sources = list(description.get("sources", []))
    except json.JSONDecodeError as error:
        raise InputError(f"{folder / 'dataset.json'} is no JSON (line {error.lineno}: {error.msg}); correct it.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder} is no data set: it needs a dataset.json with a file_ending and labels that are whole numbers, beside imagesTr and "
            "labelsTr (nnU-Net raw layout), or the folders images and masks."
        ) from error
    images: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    cases = {end: _labelled(folder, end, ending, channel, images, labels) for end in ("Tr", "Ts")}
    if not cases["Tr"]:
        raise InputError(
            f"{folder} has no case with image and labels: looked for labelsTr/CASE{ending} and imagesTr/CASE_{channel:04d}{ending}."
        )
    patients = {case: case for case in (*cases["Tr"], *cases["Ts"])} | given
    validation = _given_split(folder, cases["Tr"])
    ignore = next((value for value, name in names.items() if name == "ignore"), None)
    meant = {value: name for value, name in names.items() if value > 0 and name != "ignore"}
    own_name = str(description.get("name", ""))
    data = Dataset(folder, images, labels, cases["Tr"], patients, validation, cases["Ts"], meant, sources, ignore, own_name)
    for name, group in (("validation", validation or ()), ("held-out", cases["Ts"])):
        shared = {patients[case] for case in data.train} & {patients[case] for case in group}
        if shared:
            raise InputError(f"{folder}: patient {sorted(shared)[0]} is among both the training and the {name} cases; split by patient.")
    return data


def _usual_ending(folder: Path) -> str:
    """The only ending of the files of a folder (KeyError where there is none, or several): older data sets do not say it."""
    endings = {path.name[len(stem) :] for path in folder.iterdir() if (stem := _stem(path))}
    if len(endings) != 1:
        raise KeyError("file_ending")
    return endings.pop()


def _label_names(given: dict[str, Any], folder: Path) -> dict[int, str]:
    """What labels are called; data sets of nnU-Net before version 2 and of the Medical Segmentation Decathlon give the names of numbers."""
    if given and all(isinstance(name, str) and not name.isdecimal() and number.isdecimal() for number, name in given.items()):
        return {int(number): str(name) for number, name in given.items()}
    for name, value in given.items():
        if isinstance(value, list):
            raise InputError(
                f"{folder / 'dataset.json'} makes {name!r} of the labels {value}; regions of several labels are not learnt: "
                "give each label one name and number."
            )
    return {int(value): str(name) for name, value in given.items()}


def _labelled(folder: Path, end: str, ending: str, channel: int, images: dict[str, Path], labels: dict[str, Path]) -> tuple[str, ...]:
    """List cases with image and labels, sorted, and enter their files into ``images`` and ``labels``."""
    found = []
    for path in sorted((folder / f"labels{end}").glob(f"*{ending}")):
        case = path.name.removesuffix(ending)
        names = (f"{case}_{channel:04d}{ending}", f"{case}{ending}")
        image = next((one for name in names if (one := folder / f"images{end}" / name).exists()), None)
        if image is not None and not path.name.startswith("."):
            images[case], labels[case] = image, path
            found.append(case)
    return tuple(found)


def _given_split(folder: Path, cases: tuple[str, ...]) -> tuple[str, ...] | None:
    path = folder / "splits_final.json"
    if not path.exists():
        return None
    try:
        return tuple(case for case in json.loads(path.read_text(encoding="utf-8"))[0]["val"] if case in cases)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"{path} is no split: it should be a list whose first entry has the cases under train and val; mend or remove it."
        ) from error


def _open_pairs(folder: Path) -> Dataset:
    where = next((folder / name for name in MASKS if (folder / name).is_dir()), None)
    if where is None:
        raise InputError(f"{folder} has images but no masks: put them into {folder / MASKS[0]}, under the names of the images.")
    images, labels = ({_stem(path): path for path in sorted(part.iterdir()) if _stem(path)} for part in (folder / "images", where))
    cases = tuple(sorted(images.keys() & labels.keys()))
    if not cases:
        raise InputError(f"{folder} has no image with a mask of the same name in {where}.")
    return Dataset(folder, images, labels, cases, {case: case for case in cases}, None, (), {}, [])


def _stem(path: Path) -> str:
    """Return the name without its ending; empty for files that cannot be read."""
    ending = max((end for end in READABLE if path.name.lower().endswith(end)), key=len, default="")
    return path.name[: -len(ending)] if ending and not path.name.startswith(".") else ""


def _whole_numbers(labels: Array, ignore: int | None, path: Path, *, named: bool = False) -> Array:
    """Convert labels to uint8, with ``IGNORE`` for the data set's own number for it.

    Parameters
    ----------
    labels : array
        As they were read.
    ignore : int or None
        The data set's number of what nobody has judged.
    path : Path
        Their file.
    named : bool
        Whether the data set says what its labels are; else white on black is a mask.

    Raises
    ------
    InputError
        When they are no labels, or hold a 255 that the data set does not explain.
    """
    if path.suffix.lower() in (".jpg", ".jpeg"):
        # The compression blurs; black and white are all that it can be trusted with.
        return (labels > labels.max(initial=0) / 2).astype(np.uint8)
    whole = whole_labels(labels)
    values = set() if whole is None else {int(value) for value in np.unique(whole)}
    if whole is None or min(values, default=0) < 0 or max(values, default=0) > WHITE:
        raise InputError(f"{path} holds no labels: they must be whole numbers from 0 to {IGNORE - 1}.")
    if WHITE in values and ignore != WHITE:
        if named or not values <= {0, WHITE}:
            others = ", ".join(str(value) for value in sorted(values - {0, WHITE})[:5])
            beside = f" beside {others}" if others else ""
            raise InputError(
                f"{path} holds {WHITE}, a mask's usual white{beside}, and nothing says what it means; use labels from 1 to {IGNORE - 1}, "
                f'or name {WHITE} "ignore" in dataset.json where nobody has annotated those voxels.'
            )
        return (whole > 0).astype(np.uint8)
    found = whole.astype(np.uint8)
    if ignore is not None:
        found[whole == ignore] = IGNORE
    return found
