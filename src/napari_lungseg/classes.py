"""What a model tells apart, and the labels that this is written as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.translation import OR, say, say_all

#: Labels of the patient's lungs wherever the sides are told apart.
RIGHT, LEFT = 1, 2
#: Name of the class that is post-processed as lung.
LUNG = "lung"
#: Above this, 255 is left for voxels that nobody has judged.
LARGEST_LABEL = 254


def spelled_out(names: Mapping[int, str]) -> dict[int, str]:
    """Names of labels as they are read outside of a mask of lungs: "right" is the right lung."""
    return {label: f"{name} {LUNG}" if name in ("right", "left") else name for label, name in names.items()}


@dataclass(frozen=True)
class ClassLabels:
    """The classes of a model and their labels; by default those of a lung model.

    Attributes
    ----------
    names : tuple of str
        Name of each foreground class. The one named ``lung`` is post-processed as lung.
    labels : tuple of int
        Label, 1 to 254, that each class is written as.
    sides : bool
        The first class is lung and is told apart into right (1) and left (2) by geometry.
    convention : {"lungseg", "lungmask"}
        Whose way of making a mask is gone: this package's, or that of the package lungmask (:mod:`~napari_lungseg.lungmask`).

    Raises
    ------
    InputError
        When there is not one label for each class, two are alike or out of range, or do not go with the sides.
    """

    names: tuple[str, ...] = (LUNG,)
    labels: tuple[int, ...] = (RIGHT,)
    sides: bool = True
    convention: Literal["lungseg", "lungmask"] = "lungseg"

    def __post_init__(self) -> None:
        if len(self.names) != len(self.labels):
            raise InputError(f"There are {len(self.names)} classes but {len(self.labels)} labels; give one label for each class.")
        if len(set(self.names)) < len(self.names):
            raise InputError(f"Two classes have the same name ({', '.join(self.names)}); name each differently.")
        if len(set(self.labels)) < len(self.labels) or not all(1 <= label <= LARGEST_LABEL for label in self.labels):
            raise InputError(f"The labels {self.labels} are not distinct numbers from 1 to {LARGEST_LABEL}; give each class its own.")
        if self.sides and (self.names[:1] != (LUNG,) or self.labels[0] != RIGHT or LEFT in self.labels):
            raise InputError(
                f"Right and left can only be told apart where the first class is {LUNG!r} with label {RIGHT}, and no class has label "
                f"{LEFT}; here the classes {self.names} have the labels {self.labels}."
            )

    @property
    def lung(self) -> int | None:
        """Index of the class that is lung, if there is one."""
        return self.names.index(LUNG) if LUNG in self.names else None

    @property
    def listed(self) -> str:
        """The classes in a sentence: "lung", or "right lung or left lung"."""
        return say_all(map(say, spelled_out(dict(zip(self.labels, self.names, strict=True))).values()), OR)

    def of(self, indices: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Labels in place of the indices of classes."""
        return np.asarray(self.labels, np.uint8)[indices]

    def to_settings(self) -> dict[str, Any]:
        """The classes as JSON gives them back."""
        return {"names": [*self.names], "labels": [*self.labels], "sides": self.sides, "convention": self.convention}

    @classmethod
    def from_settings(cls, saved: Mapping[str, Any] | None) -> ClassLabels:
        """Back from :meth:`to_settings`; without anything it is lung alone."""
        return (
            cls()
            if saved is None
            else cls(tuple(saved["names"]), tuple(saved["labels"]), saved["sides"], saved.get("convention", "lungseg"))
        )

    def names_by_label(self, *, split_sides: bool = True) -> dict[int, str]:
        """Name of each label that a mask may hold; lung is "right" and "left" where its sides are split, else "lungs"."""
        named = {label: "lungs" if name == LUNG else name for name, label in zip(self.names, self.labels, strict=True)}
        sides = {RIGHT: "right", LEFT: "left"} if self.sides and split_sides else {}
        return dict(sorted({**named, **sides}.items()))
