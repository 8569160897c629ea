"""Which scans there are in what a person names, and where their results go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_lungseg.errors import InputError
from napari_lungseg.files import given_path, new_path
from napari_lungseg.formats import DICOM_SEG, READABLE, WRITABLE, is_numbered, scans_in

LABELS_SUFFIX = "_lungs"
PROBABILITY_SUFFIX = "_probability"
DEFAULT_ENDING = ".nii.gz"
#: Ending of the results of inputs whose own ending cannot be written, or not without being asked for.
_ENDINGS = {".jpg": ".png", ".jpeg": ".png", ".nhdr": ".nrrd", ".mhd": ".mha", ".dcm": DEFAULT_ENDING}


@dataclass(frozen=True)
class BatchItem:
    """One scan and where its results go.

    Attributes
    ----------
    source : Path
        File or DICOM folder.
    labels : Path
        Where the labels go.
    probability : Path or None
        Where the probability goes, if it is wanted.
    """

    source: Path
    labels: Path
    probability: Path | None


def plan_batch(inputs: Sequence[Path], output: Path, *, save_probability: bool = False) -> tuple[list[BatchItem], dict[Path, str]]:
    """Find the scans in files and folders and name their results.

    Parameters
    ----------
    inputs : sequence of Path
        Files, DICOM folders, folders of scans. A folder of numbered pictures is one scan where the output is a file, else many.
    output : Path
        A file for one scan, a folder (made when the first result is there) for several.
    save_probability : bool
        Name a probability file beside each labels file.

    Returns
    -------
    tasks : list of BatchItem
        One for each scan.
    failures : dict
        Inputs in which there is no scan, and why.

    Raises
    ------
    InputError
        When the output does not fit, or a result would replace an input or another result.
    """
    output = given_path(output)
    scans: list[Path] = []
    failures: dict[Path, str] = {}
    is_folder = output.is_dir() or not output.suffix
    for path in inputs:
        try:
            given_path(path)
            if not is_folder and is_numbered(path):
                scans.append(path)
                continue
            scans += [scan for scan in scans_in(path) if not _is_own_result(scan, output)] if path.is_dir() else [path]
        except InputError as error:
            failures[path] = str(error)
    scans = list(dict.fromkeys(scans))
    if not is_folder and not output.name.lower().endswith(WRITABLE) and len(inputs) == len(scans) == 1:
        raise InputError(f"{output} cannot be written: its ending should be one of {', '.join(WRITABLE)}, or none for a folder.")
    if not is_folder and len(scans) > 1 and output.name.lower().endswith(WRITABLE):
        raise InputError(f"There are {len(scans)} scans, but {output} is one file; give a folder.")
    if is_folder or len(scans) != 1:
        if output.exists() and not output.is_dir():
            raise InputError(f"{output} is a file; give a folder for the results of {len(scans)} scans.")
        targets = [output / (stem + LABELS_SUFFIX + _result_ending(scan)) for scan, stem in zip(scans, _stems(scans))]
    else:
        targets = [new_path(output)]
    tasks = [BatchItem(scan, target, _probability_path(target) if save_probability else None) for scan, target in zip(scans, targets)]
    _check_distinct(tasks)
    return tasks, failures


def stem_of(path: Path) -> str:
    """Name of a scan without its ending."""
    ending = _ending_of(path)
    return path.name[: len(path.name) - len(ending)] if ending else path.name


def _ending_of(path: Path) -> str:
    if path.is_dir():
        return ""
    return max((ending for ending in READABLE if path.name.lower().endswith(ending)), key=len, default="")


def _result_ending(scan: Path) -> str:
    ending = _ending_of(scan)
    ending = _ENDINGS.get(ending, ending)
    return ending if ending in WRITABLE else DEFAULT_ENDING


def _probability_path(labels: Path) -> Path:
    ending = _ending_of(labels)
    ending = DEFAULT_ENDING if ending == DICOM_SEG else ending
    return labels.with_name(stem_of(labels).removesuffix(LABELS_SUFFIX) + PROBABILITY_SUFFIX + ending)


def _is_own_result(scan: Path, output: Path) -> bool:
    """Whether a scan is what an earlier run put into the same folder."""
    return scan.parent.resolve() == output.resolve() and stem_of(scan).endswith((LABELS_SUFFIX, PROBABILITY_SUFFIX))


def _stems(scans: list[Path]) -> list[str]:
    """Names of the scans; where two are alike, with the folders in which they differ."""
    stems = [stem_of(scan) for scan in scans]
    if len(scans) < 2 or max(Counter(stems).values()) == 1:
        return stems
    absolute = [scan.resolve() for scan in scans]
    common = Path(os.path.commonpath([path.parent for path in absolute]))
    return ["_".join((*path.parent.relative_to(common).parts, stem)) for path, stem in zip(absolute, stems)]


def _check_distinct(tasks: list[BatchItem]) -> None:
    sources = {task.source.resolve() for task in tasks}
    taken: dict[Path, Path] = {}
    for task in tasks:
        for target in (task.labels, task.probability):
            if target is None:
                continue
            if target.resolve() in sources:
                raise InputError(f"The result would replace the input {target}; choose another output.")
            if target in taken:
                raise InputError(f"{taken[target]} and {task.source} would both be written to {target}; segment them one by one.")
            taken[target] = task.source
