"""The stacks of slices in DICOM files: one for each series, or several where a series holds several.

A series may hold more than one stack: a scout, the reconstructions of two kernels, the phases of a heart beat or of a breath, the
same slices twice. Each stack is told apart by what its slices say; where nothing tells, that is said.
"""

from __future__ import annotations

import filecmp
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_lungseg.errors import InputError
from napari_lungseg.formats.choice import Candidate, SeriesInfo
from napari_lungseg.formats.dicom.geometry import SAME_PLACE_MM, lay_out, same_plane, usual_step
from napari_lungseg.formats.dicom.headers import PARTS, Frame, Header, frames_of, not_ct, radiograph_of

#: How the classes of pictures that no scanner made begin (secondary capture).
_PICTURE = "1.2.840.10008.5.1.4.1.1.7"
#: What stands for the identifier of a series that was joined from slices with identifiers of their own.
JOINED = "joined"
_NUMBERS = re.compile(r"\d+")
#: Cosine of the angle between normals of slices that are parallel, whichever way they run.
_PARALLEL = 0.999
#: So many files that were left out are named.
_NAMED = 3
#: From so many slices on it is seen that they are one stack, though each calls itself a series.
_FEWEST_JOINED = 3
#: Acquisitions that share a larger part of their places are phases.
_MOST_SHARED = 0.34
#: So few images across the others are a scout, whether they say so or not: front and side.
_SCOUTS = 2


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of one size and orientation, sorted along their normal; or one radiograph.

    Attributes
    ----------
    frames : list of Frame
        The slices.
    series : str
        SeriesInstanceUID.
    part : str
        What sets it off from other stacks of the series; else empty.
    notes : tuple of str
        What was decided and left out.
    is_radiograph : bool
        Whether it is a projection, which lies nowhere.
    """

    frames: list[Frame]
    series: str
    part: str = ""
    notes: tuple[str, ...] = ()
    is_radiograph: bool = False


#: Files that are no part of a stack, and why.
LeftOut = dict[Path, str]


def find_stacks(headers: Sequence[Header], name: str, left: LeftOut | None = None) -> list[Candidate[Stack]]:
    """All stacks of CT slices, else all radiographs, in the order of the numbers of their series.

    Parameters
    ----------
    headers : sequence of Header
        Of all files.
    name : str
        What to call the place in messages.
    left : dict, optional
        Files that could not be read, and why; told with those that are no slices.

    Raises
    ------
    InputError
        When there is neither, or a slice of a stack is damaged or does not say where it lies.
    """
    left = dict(left or {})
    _check_slices(headers, left)
    found: list[tuple[Header, Stack]] = []
    unplaced: list[tuple[Header, InputError]] = []
    series = _by_series(headers, left, unplaced)
    for uid, members in series.items():
        if members[0].is_radiograph:
            found += [(header, Stack([radiograph_of(header)], uid, is_radiograph=True)) for header in members]
            continue
        frames: list[Frame] = []
        for header in members:
            try:
                frames += frames_of(header)
            except InputError as error:
                unplaced.append((header, error))
        notes = (f"The {len(members)} slices each call themselves a series of their own; they were joined.",) if uid == JOINED else ()
        found += [(members[0], replace(stack, notes=(*notes, *stack.notes))) for stack in _stacks_of(frames, uid, name, left)]
    if not found:
        raise unplaced[0][1] if unplaced else InputError(f"{name} holds {_first(left)}; give the folder of the CT slices.")
    for header, refusal in unplaced:
        if any(_is_missing_in(header, stack) for _, stack in found):
            raise refusal
        left[header.path] = reason(refusal, header.path)
    found.sort(key=lambda one: (_in_order(one[0].number), one[1].series, one[1].frames[0].number if one[1].is_radiograph else 0))
    numbers = Counter(header.number or "?" for header, _ in found)
    seen: Counter[str] = Counter()
    candidates = []
    for header, stack in found:
        number = header.number or "?"
        seen[number] += 1
        key = number if numbers[number] == 1 else f"{number}.{seen[number]}"
        candidates.append(Candidate(_info(key, header, stack), replace(stack, notes=(*stack.notes, *_told(left)))))
    return candidates


def _check_slices(headers: Sequence[Header], left: LeftOut) -> None:
    """Refuse a place where a file that cannot be read is named like the CT slices, but for its number, and so is one of them."""
    names = {_plain_name(header.path) for header in headers if header.is_ct}
    for path, why in left.items():
        if _plain_name(path) in names:
            raise InputError(f"{path} {why}; its name is that of a slice, so copy or export it again.")


def _by_series(headers: Sequence[Header], left: LeftOut, unplaced: list[tuple[Header, InputError]]) -> dict[str, list[Header]]:
    """CT files, else radiographs, by their series; what else there is (reports, masks, plans, screen shots) is left out."""
    # Dose reports and screen shots call themselves CT too.
    scans = [header for header in headers if not header.kind.startswith(_PICTURE)] or headers
    chosen = [one for one in scans if one.is_ct] or [one for one in scans if one.is_radiograph]
    if not chosen:
        frames_of(scans[0])
    kept = {header.path for header in chosen}
    for header in headers:
        if header.path in kept:
            continue
        if header.kind.startswith(_PICTURE):
            left[header.path] = "is a screen shot or report"
        elif header.place < 0:
            left[header.path] = f"is a {header.modality or 'DICOM'} file, not CT"
        else:
            unplaced.append((header, not_ct(header)))
    if joined := join_series(chosen):
        return {joined: chosen}
    series: dict[str, list[Header]] = {}
    for header in chosen:
        series.setdefault(header.series, []).append(header)
    return series


def join_series(headers: Sequence[Header]) -> str:
    """What to call the series of slices of one stack that each call themselves a series of their own; empty where they are none.

    De-identification may give each file a new SeriesInstanceUID. Slices of one study, number, description, size and orientation, whose
    numbers differ and which lie evenly, are one stack.
    """
    if len(headers) < _FEWEST_JOINED or not all(header.is_ct and header.study for header in headers):
        return ""
    if len({header.series for header in headers}) < len(headers):
        return ""
    if len({(header.study, header.number, header.description) for header in headers}) > 1:
        return ""
    try:
        frames = [frame for header in headers for frame in frames_of(header)]
        normal = frames[0].normal
        frames.sort(key=lambda frame: float(frame.position @ normal))
        lay_out(frames, "")
    except InputError:
        return ""
    if len(frames) > len(headers) or len({frame.number for frame in frames}) < len(frames):
        return ""
    return JOINED if all(same_plane(frames[0], frame) for frame in frames) else ""


def _stacks_of(frames: list[Frame], series: str, name: str, left: LeftOut) -> list[Stack]:
    """The stacks of a series; scouts are left out."""
    for frame in frames:
        if frame.scout:
            left[frame.path] = "is a scout view (localizer), not a CT slice"
    groups, scouts = _planes([frame for frame in frames if not frame.scout])
    for frame in scouts:
        left[frame.path] = "lies across the other slices, as a scout view does"
    return [stack for group in groups for stack in _phases(group, series, name)]


def _is_missing_in(header: Header, stack: Stack) -> bool:
    """Whether a file that does not say where it lies calls itself a slice of a stack, which so would lack it."""
    kind = header.data.get("ImageType") or ()
    is_derived = any(word in kind for word in ("LOCALIZER", "SECONDARY"))
    size = header.data.get("Rows"), header.data.get("Columns")
    first = stack.frames[0]
    is_of_it = header.series == stack.series if header.series else _plain_name(header.path) == _plain_name(first.path)
    return is_of_it and not is_derived and (header.place < 0 or size == first.shape)


def _plain_name(path: Path) -> str:
    """The name of a file without the numbers by which the names of slices differ."""
    return _NUMBERS.sub("", path.name)


def reason(error: InputError, path: Path) -> str:
    """Why a file was refused, in words to go behind its name."""
    return str(error).removeprefix(str(path)).split(";")[0].strip()


def _first(left: LeftOut) -> str:
    return next((f"{path.name}, which {why}" for path, why in left.items()), "no slices")


def _told(left: LeftOut) -> list[str]:
    """What was left out, by name and cause."""
    told = [f"{path.name} was left out: it {why}." for path, why in list(left.items())[:_NAMED]]
    more = len(left) - len(told)
    return told + ([f"{more} more file{'s were' if more > 1 else ' was'} left out."] if more else [])


def _info(key: str, header: Header, stack: Stack) -> SeriesInfo:
    first = stack.frames[0]
    if stack.is_radiograph:
        return SeriesInfo(key, header.description, header.modality, first.shape, (), header.path.name)
    return SeriesInfo(
        key,
        header.description,
        header.modality or "CT",
        (len(stack.frames), *first.shape),
        (usual_step(stack.frames), *first.spacing),
        stack.part,
    )


def _planes(frames: list[Frame]) -> tuple[list[list[Frame]], list[Frame]]:
    """Slices grouped by size, pixel spacing and orientation, the largest group first; and scouts that do not say so."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if same_plane(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    groups.sort(key=len, reverse=True)
    kept, scouts = [], []
    for group in groups:
        # Slices with a row or column turned round are parallel, and no scout.
        is_parallel = abs(group[0].normal @ groups[0][0].normal) > _PARALLEL
        if len(group) > _SCOUTS or len(group) * 2 > len(groups[0]) or is_parallel:
            kept.append(group)
        else:
            scouts += group
    return kept, scouts


def _without_doubles(frames: list[Frame]) -> list[Frame]:
    """Each image once. Where files of other places have one SOPInstanceUID it says nothing, and only equal files are doubles."""
    found: dict[tuple[str, int, bytes], Frame] = {}
    kept: list[Frame] = []
    for frame in frames:
        place = (frame.position / SAME_PLACE_MM).round().tobytes()
        first = found.setdefault((frame.uid, frame.index, place), frame)
        if first is not frame and _is_double(first, frame):
            continue
        kept.append(frame)
    return kept


def _is_double(one: Frame, other: Frame) -> bool:
    return (one.number == other.number and one.parts == other.parts) or filecmp.cmp(one.path, other.path, shallow=False)


def _phases(frames: list[Frame], series: str, name: str) -> list[Stack]:
    """Slices of one size and orientation as stacks in which no two lie at the same place."""
    frames = _without_doubles(frames)
    normal = frames[0].normal
    frames.sort(key=lambda frame: float(frame.position @ normal))
    heights = np.array([frame.position @ normal for frame in frames])
    place = np.concatenate([[0], np.cumsum(np.diff(heights) >= SAME_PLACE_MM)])
    times = np.bincount(place)
    most = int(times.max())
    if most == 1:
        return [Stack(frames, series)]
    if joined := _continued(frames, place):
        return [Stack(joined[0], series, notes=(joined[1],))]
    for keyword, words in PARTS.items():
        values = [frame.parts.get(keyword, "") for frame in frames]
        split = {value: [index for index, one in enumerate(values) if one == value] for value in sorted(set(values), key=_in_order)}
        if len(split) == most and all(len({int(place[index]) for index in members}) == len(members) for members in split.values()):
            return [
                Stack([frames[index] for index in members], series, words.format(value or "unknown")) for value, members in split.items()
            ]
    if (times == most).all() and most <= len(times):
        # Nothing names them: the first images at each place, the second ones, and so on.
        order = sorted(range(len(frames)), key=lambda index: (int(place[index]), frames[index].number, frames[index].path))
        return [Stack([frames[index] for index in order[copy::most]], series, f"copy {copy + 1}") for copy in range(most)]
    twice = int(np.flatnonzero(times > 1)[0])
    members = [frame for frame, one in zip(frames, place) if one == twice]
    at = f"{heights[np.flatnonzero(place == twice)[0]]:.2f} mm"
    raise InputError(
        f"{name} has two slices at {at} ({members[0].path.name} and {members[1].path.name}); keep only the slices of one stack."
    )


def _continued(frames: list[Frame], place: npt.NDArray[np.intp]) -> tuple[list[Frame], str] | None:
    """Acquisitions that follow each other and share few places, as one stack; where two lie at one place the later is taken."""
    numbers = [_in_order(frame.parts.get("AcquisitionNumber", "")) for frame in frames]
    acquisitions = {number: {int(one) for one, of in zip(place, numbers) if of == number} for number in numbers}
    taken: dict[int, int] = {}
    for index in sorted(range(len(frames)), key=lambda index: numbers[index]):
        taken[int(place[index])] = index
    shared = len(frames) - len(taken)
    if len(acquisitions) < 2 or sum(map(len, acquisitions.values())) < len(frames):
        return None
    if shared > _MOST_SHARED * min(map(len, acquisitions.values())):
        return None
    note = f"{len(acquisitions)} acquisitions that follow each other were joined; at {shared} shared places the later one was taken."
    return [frames[index] for _, index in sorted(taken.items())], note


def _in_order(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value
