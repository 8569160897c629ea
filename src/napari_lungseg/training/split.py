"""What is learnt from and what is only watched; decided once, and kept whenever a model is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

#: Slices of one patient that lie nearer together than this (mm) look alike; between what is learnt from and what is watched none are used.
GAP_MM = 10.0
#: Judged slices that a single patient must have for some to be put aside.
FEWEST = 3

#: Part of all judged slices that whole patients may have to be put aside.
MOST = 1 / 3

Part = Literal["train", "validation"]


@dataclass(frozen=True)
class Place:
    """A judged slice: its case, its patient, its index along the body axis, and its height there in mm (None where nothing is known)."""

    case: str
    patient: str
    index: int
    height_mm: float | None


@dataclass(frozen=True)
class Split:
    """Patients on one side each, and blocks of slices of patients that are on both.

    Attributes
    ----------
    patients : dict of str to {"train", "validation"}
        Side of each patient.
    blocks : dict of str to (int, int)
        Of cases of a patient to learn from: first and last index of the slices that are only watched.
    gaps : dict of str to int
        How many slices on either side of a block are left out.
    learnt : dict of str to tuple of int
        Indices of the slices of each case that were learnt from.
    why : str
        One sentence for the person.
    """

    patients: dict[str, Part] = field(default_factory=dict)
    blocks: dict[str, tuple[int, int]] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)
    learnt: dict[str, tuple[int, ...]] = field(default_factory=dict)
    why: str = ""

    def part(self, place: Place) -> Part | None:
        """On which side a slice is; None if it is left out."""
        if self.patients.get(place.patient) == "validation":
            return "validation"
        if place.case not in self.blocks:
            return "train"
        first, last = self.blocks[place.case]
        if first <= place.index <= last:
            return "validation"
        gap = self.gaps.get(place.case, 1)
        return None if first - gap <= place.index <= last + gap else "train"

    def having_learnt(self, places: Sequence[Place]) -> Split:
        """The split once the slices to learn from among these have been learnt from."""
        learnt = {case: set(indices) for case, indices in self.learnt.items()}
        for place in places:
            if self.part(place) == "train":
                learnt.setdefault(place.case, set()).add(place.index)
        return replace(self, learnt={case: tuple(sorted(indices)) for case, indices in learnt.items()})


def make_split(places: Sequence[Place], share: float, seed: int, earlier: Split | None = None) -> Split:
    """Put slices aside for validation.

    Whole patients where that leaves two thirds of the slices to learn from, else a block of neighbouring slices with a gap.

    Parameters
    ----------
    places : sequence of Place
        All judged slices.
    share : float
        Part of the patients, or of the single patient's slices, to put aside; at least one where ``share`` is above 0.
    seed : int
        Fixes which patients.
    earlier : Split, optional
        Of the model that is trained on: what was learnt from is never watched, what was watched is never learnt from.

    Returns
    -------
    Split
        Whose ``why`` says how it was done, or why it could not be.
    """
    split = replace(earlier, why="") if earlier is not None else Split()
    patients = sorted({place.patient for place in places})
    fresh = [patient for patient in patients if patient not in split.patients]
    sides = dict(split.patients)
    watched = [patient for patient in patients if sides.get(patient) == "validation"]
    if share <= 0:
        return replace(split, patients=sides | dict.fromkeys(fresh, "train"), why="Nothing is put aside for validation, as was asked for.")
    if len(patients) > 1:
        wanted = max(1, round(share * len(patients)))
        # Of equal patients chance decides, else those with few slices are put aside: what is to be learnt is dear.
        counts = {patient: sum(place.patient == patient for place in places) for patient in fresh}
        order = np.random.default_rng(seed).permutation(len(fresh))
        chosen = [fresh[int(i)] for i in order] if len(patients) > 5 else sorted((fresh[int(i)] for i in order), key=counts.__getitem__)
        room = max(0, min(wanted - len(watched), len(patients) - len(watched) - 1))
        put_aside = set(chosen[:room])
        if not watched and sum(counts[patient] for patient in put_aside) > MOST * len(places):
            # Of few slices too many would be lost.
            put_aside = set()
        sides |= {patient: "validation" if patient in put_aside else "train" for patient in fresh}
        watched += sorted(put_aside)
        if watched:
            learnt = len(patients) - len(watched)
            return replace(split, patients=sides, why=f"{_count(learnt, 'case')} to learn from, {_count(len(watched), 'other')} to watch.")
    sides |= dict.fromkeys(fresh, "train")
    split = replace(split, patients=sides)
    if any(split.part(place) == "validation" for place in places):
        return replace(split, why="Slices that were watched before are watched again.")
    return _split_case(places, share, split)


def _split_case(places: Sequence[Place], share: float, split: Split) -> Split:
    """A block of neighbouring slices of the case with the most."""
    cases = sorted({place.case for place in places}, key=lambda case: (-sum(p.case == case for p in places), case))
    own = sorted((place for place in places if place.case == cases[0]), key=lambda place: place.index)
    if len(own) < FEWEST:
        return _without(split, f"there {'is' if len(own) == 1 else 'are'} only {_count(len(own), 'judged slice')}", "Judge more slices.")
    gap, size = _gap(own), max(1, min(round(share * len(places)), len(own) // 2))
    learnt = split.learnt.get(cases[0], ())
    blocks: list[tuple[int, float, int, int]] = []
    for start in range(len(own) - size + 1):
        first, last = own[start].index, own[start + size - 1].index
        if any(first - gap <= index <= last + gap for index in learnt):
            continue
        kept = sum(not first - gap <= place.index <= last + gap for place in own)
        # A block in the middle is more like the rest than one at an end.
        blocks.append((-kept, abs(start + (size - 1) / 2 - (len(own) - 1) / 2), first, last))
    if not blocks:
        return _without(split, "the base has learnt from these slices or their neighbours already", "Judge slices of another case.")
    less, _, first, last = min(blocks)
    kept = -less
    if kept < max(2, len(own) // 3):
        return _without(split, "the judged slices lie too near together", "Judge some slices farther away.")
    left_out = len(own) - kept - size
    why = f"{_count(kept, 'slice')} to learn from, {size} to watch" + (f", {left_out} between them left out." if left_out else ".")
    return replace(split, blocks=split.blocks | {cases[0]: (first, last)}, gaps=split.gaps | {cases[0]: gap}, why=why)


def _gap(own: Sequence[Place]) -> int:
    """Slices on either side of a block that are too near to it."""
    heights = [(place.index, place.height_mm) for place in own if place.height_mm is not None]
    if len(heights) < 2:
        return 2
    (first, low), (last, high) = heights[0], heights[-1]
    step = abs(high - low) / max(1, last - first)
    return max(1, int(GAP_MM / step)) if step > 0 else 2


def _without(split: Split, reason: str, advice: str) -> Split:
    return replace(split, why=f"No slices can be put aside, as {reason}: whether the model gets better cannot be told. {advice}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
