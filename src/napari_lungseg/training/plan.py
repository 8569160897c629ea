"""Write and read the plan of a training run: classes, split, settings; kept beside its slices for resuming."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from napari_lungseg.architecture import PRESETS
from napari_lungseg.card import Card, check_name
from napari_lungseg.errors import InputError
from napari_lungseg.files import write_whole
from napari_lungseg.labels import plain_name
from napari_lungseg.run_files import PLAN
from napari_lungseg.training.samples import IGNORE
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.split import Split
from napari_lungseg.training.updates import Overview
from napari_lungseg.translation import say
from napari_lungseg.volume import Array

#: Names under which data sets have the lung, whole or by sides.
LUNG_NAMES = frozenset({"lung", "lungs", "right lung", "left lung", "lung right", "lung left", "lung_right", "lung_left"})


@dataclass(frozen=True)
class Classes:
    """Map labels of the data to the classes of a model in training.

    Attributes
    ----------
    names : tuple of str
        Of each class.
    labels : tuple of int
        The label that each is written as.
    sides : bool
        Whether the first is lung, split into 1 right and 2 left after prediction.
    of_label : dict of int to int
        Class, from 1, of each label in the data.
    from_base : tuple of (int or None)
        Which class of the base, from 1, each is; None for new ones.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    sides: bool
    of_label: dict[int, int]
    from_base: tuple[int | None, ...]

    @property
    def old(self) -> int | None:
        """Number of classes that the base knows, which come first; None if it knows all or there is none."""
        known = sum(number is not None for number in self.from_base)
        return known if 0 < known < len(self.names) else None

    def index(self, labels: Array) -> npt.NDArray[np.uint8]:
        """Convert labels to classes (0 background, 1 .. n, ``IGNORE``).

        Raises
        ------
        InputError
            When a label is none of the classes.
        """
        table = np.full(256, IGNORE - 1, np.uint8)
        table[0], table[IGNORE] = 0, IGNORE
        for label, number in self.of_label.items():
            table[label] = number
        found = table[np.asarray(labels)]
        if (found == IGNORE - 1).any():
            strange = int(np.asarray(labels)[found == IGNORE - 1][0])
            raise InputError(
                say(
                    "There is a label {label} that is none of the classes ({names}); remove it or name it.",
                    label=strange,
                    names=", ".join(self.names),
                )
            )
        return found


def choose_classes(found: Mapping[int, str], base: Card | None, *, keep_old: bool) -> Classes:
    """Choose classes for the labels of the data.

    Parameters
    ----------
    found : mapping of int to str
        Labels that occur, with their names; empty where a label has none.
    base : Card or None
        The model to start from.
    keep_old : bool
        Whether its classes stay even where the data do not have them.

    Raises
    ------
    InputError
        When no label occurs, or one means another thing in the base.
    """
    if not found:
        raise InputError(say("There is nothing to learn: no annotated slice holds a label. Paint what is to be found on some of them."))
    names: list[str] = []
    labels: list[int] = []
    from_base: list[int | None] = []
    of_label: dict[int, int] = {}
    lungs = {label for label, name in found.items() if name.lower() in LUNG_NAMES}
    sides = bool(lungs) or (base is not None and base.sides and any(found.get(label, "named") == "" for label in (1, 2)))
    if base is not None:
        own = {label for label in found if base.sides and label in (1, 2) and (label in lungs or not found[label])}
        for number, (name, label) in enumerate(zip(base.classes, base.labels, strict=True), 1):
            same = {one for one, called in found.items() if one == label and (not called or plain_name(called) == plain_name(name))}
            mine = own if base.sides and number == 1 else same
            if base.sides and number == 1:
                mine |= lungs
            if mine or keep_old:
                names.append(name)
                labels.append(label)
                from_base.append(number)
                of_label |= dict.fromkeys(mine, len(names))
        sides = base.sides and bool(names) and from_base[0] == 1
    elif sides:
        names.append("lung")
        labels.append(1)
        from_base.append(None)
        of_label |= dict.fromkeys(lungs, 1)
    taken = set(labels) | ({1, 2} if sides else set())
    for label in sorted(found.keys() - of_label.keys()):
        if label in taken:
            whose = names[labels.index(label)] if label in labels else say("the left lung")
            raise InputError(
                say(
                    "Label {label} is {here} here but {there} in the model to start from; give it another number, or "
                    "train something else (do not keep what the starting model knows).",
                    label=label,
                    here=found[label] or say("something else"),
                    there=whose,
                )
            )
        names.append(found[label] or f"label {label}")
        labels.append(label)
        from_base.append(None)
        of_label[label] = len(names)
    return Classes(tuple(names), tuple(labels), sides, of_label, tuple(from_base))


@dataclass(frozen=True)
class Plan:
    """Describe a training run.

    Attributes
    ----------
    name : str
        Name of the new model.
    base : str or None
        Name or folder of the model to start from; None for new weights.
    preset : str
        Architecture where there is no base.
    source : str
        Title of what it learns from.
    command : str
        What asked for it, for the card.
    settings : TrainSettings
        How.
    classes : Classes
        What it is to tell apart.
    split : Split
        What it learns from and what is watched.
    patients : dict
        Patient of each case.
    licences : list
        Where the images come from.
    overview : Overview
        What there is to learn from.
    """

    name: str
    base: str | None
    preset: str
    source: str
    command: str
    settings: TrainSettings
    classes: Classes
    split: Split
    patients: dict[str, str]
    overview: Overview
    licences: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.base is None and self.preset not in PRESETS:
            raise InputError(f"There is no architecture {self.preset!r}; choose from {', '.join(PRESETS)}.")


def write_plan(plan: Plan, folder: Path) -> None:
    """Write a plan into the folder of the new model (InputError where the disk refuses)."""
    write_whole(folder / PLAN, TypeAdapter(Plan).dump_json(plan, indent=1))


def without_names(plan: Plan) -> Plan:
    """Remove names of cases and patients, and paths, from a plan that stays with a model."""
    base = None if plan.base is None else Path(plan.base).name
    return replace(plan, base=base, patients={}, overview=replace(plan.overview, problems=(), notes=()))


def read_plan(folder: str | os.PathLike[str]) -> Plan:
    """Read the plan of the run in a folder.

    Raises
    ------
    InputError
        When there is none.
    """
    path = Path(folder) / PLAN
    try:
        return TypeAdapter(Plan).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"There is no training run to go on with in {Path(folder)}; begin one there first.") from error
