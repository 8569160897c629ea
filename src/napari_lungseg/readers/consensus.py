"""One mask of those of several readers, in a workspace of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from napari_lungseg.corrections import MODEL, PERSON
from napari_lungseg.errors import InputError
from napari_lungseg.readers.reading import Reading, check_names, find_reading, shared_cases
from napari_lungseg.volume import Array, bounding_box
from napari_lungseg.workspace import Case, Labelled, Workspace

#: How three readers and more are brought together.
METHODS = ("staple", "majority")
#: What the libraries write where readers are evenly divided.
UNDECIDED = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class ConsensusReport:
    """What came of a consensus.

    Attributes
    ----------
    made : list of (str, int, int)
        Name of each image, slices on which the readers were brought together, and how many of these a person has to decide.
    left_out : list of str
        One sentence for each image of which there is none.
    """

    made: list[tuple[str, int, int]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def make_consensus(readers: Sequence[Workspace], into: Workspace, method: str = "staple") -> ConsensusReport:
    """Write the consensus of each image of which two readers or more have reviewed slices.

    A slice is made of the masks of those who reviewed it. Of two readers it holds what both say. Of three and more it is made by STAPLE
    (Warfield et al. 2004, doi 10.1109/TMI.2004.828354), which weighs each reader by how well they agree with the others, or by the
    majority. Where readers are evenly divided it holds the label of the first of them, and the slice is flagged with a note;
    all other slices are reviewed.

    Parameters
    ----------
    readers : sequence of Workspace
        Two or more; the first decides what is left open until a person does.
    into : Workspace
        An empty one.
    method : {"staple", "majority"}
        How three readers and more are brought together.

    Raises
    ------
    InputError
        When there is nothing to bring together, or ``into`` is not empty.
    WorkspaceError
        When a workspace cannot be read or written.
    """
    if method not in METHODS:
        raise InputError(f"A consensus cannot be made by {method!r}; give one of {', '.join(METHODS)}.")
    if into.cases():
        raise InputError(f"The workspace {into.folder} is not empty; choose a new folder for the consensus.")
    report = ConsensusReport()
    for case in shared_cases(readers):
        readings = [reading for reading in (find_reading(one, case.content) for one in readers) if reading is not None and reading.reviewed]
        try:
            _check(readings)
        except InputError as error:
            report.left_out.append(str(error))
            continue
        _write(case, readings, into, method, report)
    return report


def _check(readings: list[Reading]) -> None:
    """Refuse labels that mean two things (InputError)."""
    first, *others = readings
    for other in others:
        check_names(first.names, other.names, first.case.name)
    if max(int(one.saved.labels.max(initial=0)) for one in readings) >= UNDECIDED:
        raise InputError(f"{first.case.name}: labels above {UNDECIDED - 1} cannot be brought together.")


def _write(case: Case, readings: list[Reading], into: Workspace, method: str, report: ConsensusReport) -> None:
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in range(case.slices):
        who = tuple(number for number, reading in enumerate(readings) if index in reading.reviewed)
        if len(who) > 1:
            groups.setdefault(who, []).append(index)
    if not groups:
        report.left_out.append(f"{case.name}: no slice was reviewed by two readers.")
        return
    copy = into.add_case(
        case.content,
        name=case.name,
        path=case.path,
        shape=case.shape,
        affine=case.affine,
        axis=case.axis,
        unit=case.unit,
        dtype=case.dtype or None,
    )
    open_slices: dict[int, int] = {}
    for who, indices in groups.items():
        chosen = [readings[number] for number in who]
        labels, undecided = combine([case.planes(one.saved.labels)[indices] for one in chosen], method)
        model = case.planes(chosen[0].saved.origin)[indices] & MODEL
        names = ", ".join(one.reader for one in chosen)
        slices = {index: Labelled(labels[place], model[place] | PERSON) for place, index in enumerate(indices)}
        into.save(copy, slices, cause=f"consensus of {names}", source=chosen[0].saved.source)
        for place, index in enumerate(indices):
            if count := int(np.count_nonzero(undecided[place])):
                open_slices[index] = count
                into.set_state(copy, index, "flagged", note=f"{count} voxels on which {names} are divided")
            else:
                into.set_state(copy, index, "reviewed", note=f"consensus of {names}")
    report.made.append((case.name, sum(map(len, groups.values())), len(open_slices)))


def combine(masks: Sequence[Array], method: str = "staple") -> tuple[Array, npt.NDArray[np.bool_]]:
    """Bring masks of the same voxels together.

    Parameters
    ----------
    masks : sequence of (slice, row, column) array of uint
        Two or more, of labels below 65535; the first one's labels are taken where they are evenly divided.
    method : {"staple", "majority"}
        For three masks and more.

    Returns
    -------
    labels : array
        As the first mask's type or wider.
    undecided : array of bool
        Where the masks are evenly divided.
    """
    first = masks[0].astype(np.result_type(*masks))
    if len(masks) == 2:
        return first, np.asarray(masks[0] != masks[1])
    differs = np.any([mask != masks[0] for mask in masks[1:]], axis=0)
    labels, undecided = first.copy(), np.zeros(first.shape, bool)
    if not differs.any():
        return labels, undecided
    # Far background says nothing of how well a reader tells lung: it would only hide their differences.
    box = bounding_box(np.any([mask > 0 for mask in masks], axis=0))
    assert box is not None
    images = [sitk.GetImageFromArray(np.ascontiguousarray(mask[box]).astype(np.uint16)) for mask in masks]
    voted = sitk.MultiLabelSTAPLE(images, UNDECIDED) if method == "staple" else sitk.LabelVoting(images, UNDECIDED)
    found = sitk.GetArrayFromImage(voted)
    undecided[box] = found == UNDECIDED
    labels[box] = np.where(found == UNDECIDED, labels[box], found)
    return labels, undecided
