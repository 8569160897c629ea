"""Split slices into those to learn from and those to watch; decided once, and kept in further trainings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from napari_lungseg.translation import say, say_n

#: Slices of one patient that lie nearer together than this (mm) look alike; between what is learnt from and what is watched none are used.
GAP_MM = 10.0
#: Judged slices that a single patient must have for some to be put aside.
FEWEST = 3

#: Part of all judged slices that whole patients may have to be put aside.
MOST = 1 / 3
#: Part of a case's judged slices that may lie between its blocks and be left out; the more blocks, the more places are watched.
LOST = 0.15

#: Keys in which no name can be read.
_HIDDEN = re.compile(r"case_[0-9a-f]{12}")

Part = Literal["train", "validation"]
Block = tuple[int, int]


@dataclass(frozen=True)
class SliceRef:
    """Name a judged slice: case, patient, index along the body axis, and height there in mm (None where it is not known)."""

    case: str
    patient: str
    index: int
    height_mm: float | None


@dataclass(frozen=True)
class Split:
    """Hold the side of each patient, and blocks of slices of patients that are on both.

    Attributes
    ----------
    patients : dict of str to {"train", "validation"}
        Side of each patient.
    blocks : dict of str to tuple of (int, int)
        Of cases of a patient to learn from: first and last index of each run of slices that are only watched.
    gaps : dict of str to int
        How many slices on either side of a block are left out.
    learnt : dict of str to tuple of int
        Indices of the slices of each case that were learnt from.
    why : str
        One sentence for the person.
    """

    patients: dict[str, Part] = field(default_factory=dict)
    blocks: dict[str, tuple[Block, ...]] = field(default_factory=dict)
    gaps: dict[str, int] = field(default_factory=dict)
    learnt: dict[str, tuple[int, ...]] = field(default_factory=dict)
    why: str = ""

    def part(self, ref: SliceRef) -> Part | None:
        """Return the side of a slice; None if it is left out."""
        if self.patients.get(ref.patient) == "validation":
            return "validation"
        blocks = self.blocks.get(ref.case, ())
        if _touches(ref.index, blocks, 0):
            return "validation"
        return None if _touches(ref.index, blocks, self.gaps.get(ref.case, 1)) else "train"

    def having_learnt(self, refs: Sequence[SliceRef]) -> Split:
        """Add the slices to learn from among these to those that were learnt from."""
        learnt = {case: set(indices) for case, indices in self.learnt.items()}
        for ref in refs:
            if self.part(ref) == "train":
                learnt.setdefault(ref.case, set()).add(ref.index)
        return replace(self, learnt={case: tuple(sorted(indices)) for case, indices in learnt.items()})


def hidden_key(name: str) -> str:
    """Hash the key of a case or patient, to be kept with a model: file names may be names of people.

    Parameters
    ----------
    name : str
        Key of a case, or a patient; one that is hashed already, as those of a workspace are, stays as it is.

    Returns
    -------
    str
        The same for the same name. (Who knows a name can find out whether it is among the keys.)
    """
    return name if _HIDDEN.fullmatch(name) else f"case_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def without_names(split: Split) -> Split:
    """Hash the keys of a split of a model that was trained when names were still kept."""
    return replace(
        split,
        patients={hidden_key(name): side for name, side in split.patients.items()},
        blocks={hidden_key(name): blocks for name, blocks in split.blocks.items()},
        gaps={hidden_key(name): gap for name, gap in split.gaps.items()},
        learnt={hidden_key(name): indices for name, indices in split.learnt.items()},
    )


def make_split(refs: Sequence[SliceRef], share: float, seed: int, earlier: Split | None = None) -> Split:
    """Put slices aside for validation.

    Whole patients where that leaves two thirds of the slices to learn from, else a few
    runs of neighbouring slices with gaps around them.

    Parameters
    ----------
    refs : sequence of SliceRef
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
    patients = sorted({ref.patient for ref in refs})
    fresh = [patient for patient in patients if patient not in split.patients]
    sides = dict(split.patients)
    watched = [patient for patient in patients if sides.get(patient) == "validation"]
    if share <= 0:
        return replace(
            split, patients=sides | dict.fromkeys(fresh, "train"), why=say("Nothing is put aside for validation, as was asked for.")
        )
    if len(patients) > 1:
        wanted = max(1, round(share * len(patients)))
        # Of equal patients chance decides, else those with few slices are put aside: what is to be learnt is dear.
        counts = {patient: sum(ref.patient == patient for ref in refs) for patient in fresh}
        order = np.random.default_rng(seed).permutation(len(fresh))
        chosen = [fresh[int(i)] for i in order] if len(patients) > 5 else sorted((fresh[int(i)] for i in order), key=counts.__getitem__)
        room = max(0, min(wanted - len(watched), len(patients) - len(watched) - 1))
        put_aside = set(chosen[:room])
        if not watched and sum(counts[patient] for patient in put_aside) > MOST * len(refs):
            # Of few slices too many would be lost.
            put_aside = set()
        sides |= {patient: "validation" if patient in put_aside else "train" for patient in fresh}
        watched += sorted(put_aside)
        if watched:
            learnt = len(patients) - len(watched)
            return replace(
                split,
                patients=sides,
                why=say(
                    "{learnt} to learn from, {watched} for validation.",
                    learnt=say_n("{count} case", "{count} cases", learnt),
                    watched=say_n("{count} other", "{count} others", len(watched)),
                ),
            )
    sides |= dict.fromkeys(fresh, "train")
    split = replace(split, patients=sides)
    if any(split.part(ref) == "validation" for ref in refs):
        return replace(split, why=say("Slices that were watched before are watched again."))
    return _split_case(refs, share, split)


def _split_case(refs: Sequence[SliceRef], share: float, split: Split) -> Split:
    """Put aside runs of neighbouring slices, spread over the case that has the most."""
    cases = sorted({ref.case for ref in refs}, key=lambda case: (-sum(p.case == case for p in refs), case))
    case = cases[0]
    own = sorted(ref.index for ref in refs if ref.case == case)
    if len(own) < FEWEST and any(case in split.learnt for case in cases):
        return _without(split, say("the starting model has learnt from these patients already"), say("Annotate slices of another patient."))
    if len(own) < FEWEST:
        return _without(
            split,
            say_n("there is only {count} annotated slice", "there are only {count} annotated slices", len(refs)),
            say("Annotate more slices."),
        )
    gap = _gap([ref for ref in refs if ref.case == case])
    size = max(1, min(round(share * len(refs)), len(own) // 2))
    ways = [blocks for number in range(size, 0, -1) if (blocks := _spread(own, size, number, gap, split.learnt.get(case, ())))]
    if not ways:
        return _without(
            split,
            say("the starting model has learnt from these slices or their neighbours already"),
            say("Annotate slices of another case."),
        )

    def kept(blocks: tuple[Block, ...]) -> int:
        return sum(not _touches(index, blocks, gap) for index in own)

    best = next((blocks for blocks in ways if len(own) - size - kept(blocks) <= LOST * len(own)), max(ways, key=kept))
    if kept(best) < max(2, len(own) // 3):
        return _without(split, say("the annotated slices lie too near together"), say("Annotate some slices farther away."))
    left_out = len(own) - kept(best) - size
    why = say_n(
        "{count} slice to learn from, {watched} for validation.",
        "{count} slices to learn from, {watched} for validation.",
        kept(best),
        watched=size,
    )
    if left_out:
        why = say_n(
            "{count} slice to learn from, {watched} for validation, {left_out} between them left out.",
            "{count} slices to learn from, {watched} for validation, {left_out} between them left out.",
            kept(best),
            watched=size,
            left_out=left_out,
        )
    known = split.blocks.get(case, ())
    return replace(split, blocks=split.blocks | {case: (*known, *best)}, gaps=split.gaps | {case: gap}, why=why)


def _gap(own: Sequence[SliceRef]) -> int:
    """Count the slices on either side of a block that are too near to it."""
    heights = sorted((ref.index, ref.height_mm) for ref in own if ref.height_mm is not None)
    if len(heights) < 2:
        return 2
    (first, low), (last, high) = heights[0], heights[-1]
    step = abs(high - low) / max(1, last - first)
    return max(1, int(GAP_MM / step)) if step > 0 else 2


def _spread(own: Sequence[int], size: int, number: int, gap: int, learnt: Sequence[int]) -> tuple[Block, ...] | None:
    """Place ``number`` runs of ``size`` slices together, evenly spread, none near a slice that was learnt from; None if they cannot be."""
    blocks: list[Block] = []
    begin = 0
    for turn in range(number):
        length = size // number + (turn < size % number)
        wanted = (turn + 0.5) / number * len(own) - length / 2
        starts = sorted(range(begin, len(own) - length + 1), key=lambda start: abs(start - wanted))
        runs = ((start, (own[start], own[start + length - 1])) for start in starts)
        found = next(((start, run) for start, run in runs if not any(_touches(index, [run], gap) for index in learnt)), None)
        if found is None:
            return None
        blocks.append(found[1])
        begin = found[0] + length
    return tuple(blocks)


def _touches(index: int, blocks: Sequence[Block], gap: int) -> bool:
    return any(first - gap <= index <= last + gap for first, last in blocks)


def _without(split: Split, reason: str, advice: str) -> Split:
    return replace(
        split,
        why=say(
            "No slices can be put aside, as {reason}: whether the model gets better cannot be told. {advice}", reason=reason, advice=advice
        ),
    )
