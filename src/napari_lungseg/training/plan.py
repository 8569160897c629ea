"""What a training run was asked to do; kept beside its slices, so that going on with it needs nothing else."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from napari_lungseg.architecture import PRESETS
from napari_lungseg.card import check_name
from napari_lungseg.errors import InputError
from napari_lungseg.files import write_whole
from napari_lungseg.run_files import LOG, PLAN, SAMPLES
from napari_lungseg.training.classes import Classes
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.split import Split
from napari_lungseg.training.updates import Overview

__all__ = ["LOG", "PLAN", "SAMPLES", "Plan", "read_plan", "write_plan"]


@dataclass(frozen=True)
class Plan:
    """A training run.

    Attributes
    ----------
    name : str
        Name of the model that is to come.
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
    """Keep a plan in the folder of the model that is to come (InputError where the disk refuses)."""
    write_whole(folder / PLAN, TypeAdapter(Plan).dump_json(plan, indent=1))


def without_names(plan: Plan) -> Plan:
    """The plan as it may stay with a model: without names of cases and patients, and without paths."""
    base = None if plan.base is None else Path(plan.base).name
    return replace(plan, base=base, patients={}, overview=replace(plan.overview, problems=()))


def read_plan(folder: str | os.PathLike[str]) -> Plan:
    """The plan of a run that was begun in a folder.

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
