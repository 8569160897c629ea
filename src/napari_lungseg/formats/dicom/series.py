"""The stacks of slices in DICOM files: one for each series, or several where a series holds several.

A series may hold more than one stack: a scout, the reconstructions of two kernels, the phases of a heart beat or of a breath, the
same slices twice. Each stack is told apart by what its slices say; where nothing tells, that is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_lungseg.errors import InputError
from napari_lungseg.formats.choice import Candidate, SeriesInfo
from napari_lungseg.formats.dicom.geometry import SAME_PLACE_MM, same_plane, usual_step
from napari_lungseg.formats.dicom.headers import PARTS, Frame, Header, frames_of

#: How the classes of pictures that no scanner made begin (secondary capture).
_PICTURE = "1.2.840.10008.5.1.4.1.1.7"
#: So few images across the others are a scout, whether they say so or not: front and side.
_SCOUTS = 2


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of one size and orientation, sorted along their normal.

    Attributes
    ----------
    frames : list of Frame
        The slices.
    series : str
        SeriesInstanceUID.
    part : str
        What sets it off from other stacks of the series; else empty.
    """

    frames: list[Frame]
    series: str
    part: str = ""


def find_stacks(headers: Sequence[Header], name: str) -> list[Candidate[Stack]]:
    """All stacks of CT slices, in the order of the numbers of their series; ``name`` is what to call the place in messages.

    Raises
    ------
    InputError
        When there is none, or a CT file does not say where its slices lie.
    """
    series: dict[str, list[Header]] = {}
    # Dose reports and screen shots call themselves CT too.
    scans = [header for header in headers if not str(header.data.get("SOPClassUID")).startswith(_PICTURE)]
    for header in scans or headers:
        series.setdefault(str(header.data.SeriesInstanceUID), []).append(header)
    # Other things of the patient (reports, masks, plans) may lie beside the CT.
    of_ct = {uid: members for uid, members in series.items() if any(one.data.get("Modality") == "CT" for one in members)} or series
    found: list[tuple[str, Header, Stack]] = []
    scouts: list[Frame] = []
    for uid, members in of_ct.items():
        frames = [frame for header in members for frame in frames_of(header)]
        scouts += [frame for frame in frames if frame.scout]
        planes = _planes([frame for frame in frames if not frame.scout])
        stacks = [stack for plane in planes for stack in _phases(plane, uid, name)]
        found += [(str(members[0].data.get("SeriesNumber") or "?"), members[0], stack) for stack in stacks]
    if not found:
        raise InputError(f"{scouts[0].path} is a scout view (localizer), not a CT slice; give the folder of the slices.")
    found.sort(key=lambda one: (_in_order(one[0]), one[2].series))
    numbers = Counter(number for number, _, _ in found)
    seen: Counter[str] = Counter()
    candidates = []
    for number, header, stack in found:
        seen[number] += 1
        key = number if numbers[number] == 1 else f"{number}.{seen[number]}"
        candidates.append(Candidate(_info(key, header, stack), stack))
    return candidates


def _info(key: str, header: Header, stack: Stack) -> SeriesInfo:
    first = stack.frames[0]
    return SeriesInfo(
        key,
        str(header.data.get("SeriesDescription") or ""),
        str(header.data.get("Modality") or ""),
        (len(stack.frames), *first.shape),
        (usual_step(stack.frames), *first.spacing),
        stack.part,
    )


def _planes(frames: list[Frame]) -> list[list[Frame]]:
    """Slices grouped by size, pixel spacing and orientation, without unnamed scouts; the largest group first."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if same_plane(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    groups.sort(key=len, reverse=True)
    return [
        group
        for group in groups
        if len(group) > _SCOUTS or len(group) * 2 > len(groups[0]) or np.allclose(group[0].normal, groups[0][0].normal, atol=1e-3)
    ]


def _phases(frames: list[Frame], series: str, name: str) -> list[Stack]:
    """Slices of one size and orientation as stacks in which no two lie at the same place."""
    frames = list({(frame.uid, frame.index): frame for frame in frames}.values())
    normal = frames[0].normal
    frames.sort(key=lambda frame: float(frame.position @ normal))
    heights = np.array([frame.position @ normal for frame in frames])
    place = np.concatenate([[0], np.cumsum(np.diff(heights) >= SAME_PLACE_MM)])
    times = np.bincount(place)
    most = int(times.max())
    if most == 1:
        return [Stack(frames, series)]
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


def _in_order(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value
