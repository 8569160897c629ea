"""Labelled slices from a data set folder in nnU-Net raw layout."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.formats import read
from napari_lungseg.preprocess import Preprocessing, assumed_spacing, body_box
from napari_lungseg.volume import Volume


@dataclass(frozen=True, eq=False)
class LabelledSlice:
    """One axial slice, cropped to the body, with its mask.

    Attributes
    ----------
    case : str
        Name of the case it comes from.
    index : int
        Place along the axial axis.
    image : (H, W) array
        The case's own numbers.
    label : (H, W) array of bool
        The class to learn.
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
    label: npt.NDArray[np.bool_]
    spacing_mm: tuple[float, float]
    intensity_range: tuple[float, float]
    is_hu: bool

    def coarsened(self, factor: int) -> LabelledSlice:
        """The slice at a ``factor`` times lower resolution, by averaging blocks."""
        rows, columns = (length // factor * factor for length in self.image.shape)
        blocks = (rows // factor, factor, columns // factor, factor)
        image = self.image[:rows, :columns].astype(np.float32).reshape(blocks).mean(axis=(1, 3))
        label = self.label[:rows, :columns].reshape(blocks).mean(axis=(1, 3)) >= 0.5
        spacing = (self.spacing_mm[0] * factor, self.spacing_mm[1] * factor)
        return replace(self, image=image, label=label, spacing_mm=spacing)


@dataclass(frozen=True)
class Dataset:
    """A folder of cases.

    Attributes
    ----------
    folder : Path
        Where it lies.
    patients : dict
        Patient of each case; a case that is not named is its own patient.
    train, validation, held_out : tuple of str
        Cases to learn from, to watch, and to score at the end (``imagesTs`` with ``labelsTs``).
    ending : str
        File ending of images and labels.
    sources : list
        Where the data come from and under which licence, as ``"sources"`` in ``dataset.json`` says.
    ignore : int or None
        Label of voxels that nobody has judged ("ignore" in ``dataset.json``).
    """

    folder: Path
    patients: dict[str, str]
    train: tuple[str, ...]
    validation: tuple[str, ...]
    held_out: tuple[str, ...]
    ending: str
    sources: list[Any]
    ignore: int | None = None

    def load(self, case: str) -> tuple[Volume, Volume]:
        """Image and labels of one case."""
        end = "Ts" if case in self.held_out else "Tr"
        image = read(self.folder / f"images{end}" / f"{case}_0000{self.ending}")
        labels = read(self.folder / f"labels{end}" / f"{case}{self.ending}")
        if image.shape != labels.shape:
            raise InputError(f"Case {case}: the image has shape {image.shape} but its labels {labels.shape}; export them again.")
        return image, labels


def open_dataset(folder: Path | str, validation_share: float = 0.1, seed: int = 0) -> Dataset:
    """Look at a data set folder and split it by patient.

    Parameters
    ----------
    folder : path
        Holds ``imagesTr/CASE_0000.ENDING``, ``labelsTr/CASE.ENDING`` and ``dataset.json``; ``splits_final.json``, if there,
        says which cases are for validation, and ``"patients"`` in ``dataset.json`` which cases belong together.
    validation_share : float
        Share of the patients that are put aside where no split is given.
    seed : int
        Fixes that choice.

    Raises
    ------
    InputError
        When the folder is not such a data set or a patient is on both sides of its split.
    """
    folder = Path(folder)
    try:
        description = json.loads((folder / "dataset.json").read_text())
        ending = str(description["file_ending"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder} is no data set: it needs a dataset.json with a file_ending, beside imagesTr and labelsTr (nnU-Net raw layout)."
        ) from error
    cases = _labelled(folder, "Tr", ending)
    held_out = _labelled(folder, "Ts", ending)
    if not cases:
        raise InputError(f"{folder} has no case with image and labels: looked for labelsTr/CASE{ending} and imagesTr/CASE_0000{ending}.")
    patients = {case: case for case in (*cases, *held_out)} | dict(description.get("patients", {}))
    splits = folder / "splits_final.json"
    if splits.exists():
        validation = tuple(case for case in json.loads(splits.read_text())[0]["val"] if case in cases)
    else:
        people = sorted({patients[case] for case in cases})
        count = round(validation_share * len(people)) if len(people) > 1 else 0
        chosen = set(np.random.default_rng(seed).permutation(people)[: max(count, 1 if len(people) > 1 and validation_share > 0 else 0)])
        validation = tuple(case for case in cases if patients[case] in chosen)
    train = tuple(case for case in cases if case not in validation)
    for name, group in (("validation", validation), ("held-out", held_out)):
        shared = {patients[case] for case in train} & {patients[case] for case in group}
        if shared:
            raise InputError(f"{folder}: patient {sorted(shared)[0]} is among both the training and the {name} cases; split by patient.")
    ignore = description.get("labels", {}).get("ignore")
    sources = list(description.get("sources", []))
    return Dataset(folder, patients, train, validation, held_out, ending, sources, None if ignore is None else int(ignore))


def _labelled(folder: Path, end: str, ending: str) -> tuple[str, ...]:
    labels = sorted(path.name.removesuffix(ending) for path in (folder / f"labels{end}").glob(f"*{ending}"))
    return tuple(case for case in labels if (folder / f"images{end}" / f"{case}_0000{ending}").exists())


def slices_of(case: str, image: Volume, labels: Volume, preprocessing: Preprocessing, ignore: int | None = None) -> list[LabelledSlice]:
    """Axial slices of a case, cropped to one body box for the whole volume; those with voxels to ignore are left out."""
    image, _ = image.reorient()
    labels, _ = labels.reorient()
    box = body_box(image)
    spacing = image.spacing[-2:] if image.spacing_known else assumed_spacing(box)
    values, known = np.asarray(image.array), np.asarray(labels.array)
    if values.ndim == 2:
        values, known = values[None], known[None]
    marked = known > 0
    intensity_range = preprocessing.intensity_range(image)
    return [
        LabelledSlice(
            case,
            index,
            np.ascontiguousarray(values[index][box]),
            np.ascontiguousarray(marked[index][box]),
            (spacing[0], spacing[1]),
            intensity_range,
            image.unit == "HU",
        )
        for index in range(values.shape[0])
        if ignore is None or not (known[index] == ignore).any()
    ]


class SliceSampler:
    """Draws slices so that small patients and slices without the class are not drowned.

    Parameters
    ----------
    slices : list of LabelledSlice
        What to draw from.
    patients : dict
        Patient of each case.
    empty_share : float
        Share of draws without any of the class, as far as there are such slices.
    """

    def __init__(self, slices: list[LabelledSlice], patients: dict[str, str], empty_share: float = 0.2) -> None:
        self.slices = slices
        people = [patients[item.case] for item in slices]
        counts = {person: people.count(person) for person in set(people)}
        empty = np.array([not item.label.any() for item in slices])
        # The square root lies between drawing every patient and drawing every slice equally often.
        weight = np.array([counts[person] ** -0.5 for person in people])
        for chosen, share in ((empty, empty_share), (~empty, 1.0 - empty_share)):
            if chosen.any():
                weight[chosen] *= share / weight[chosen].sum()
        self.weight = weight / weight.sum()

    def coarsened(self, factor: int) -> SliceSampler:
        """The same draws at a lower resolution."""
        other = copy.copy(self)
        other.slices = [item.coarsened(factor) for item in self.slices]
        return other

    def draw(self, rng: np.random.Generator) -> LabelledSlice:
        """One slice."""
        return self.slices[int(rng.choice(len(self.slices), p=self.weight))]
