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
from napari_lungseg.scan_list import ENDING, ListedScan, read_list
from napari_lungseg.volume import Unit

LABELS_SUFFIX = "_lungs"
PROBABILITY_SUFFIX = "_probability"
DEFAULT_ENDING = ".nii.gz"
#: Folder, beside the results, of what a run did of each scan.
RECORDS = ".lungseg"
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
    record : Path or None
        Where it is kept what was done, so that it need not be done again; None for one scan to one file.
    series : str or None
        Which image of the scan, where that is its own.
    unit : {"HU", "arbitrary"} or None
        What its numbers mean, where that is its own.
    """

    source: Path
    labels: Path
    probability: Path | None
    record: Path | None = None
    series: str | None = None
    unit: Unit | None = None


def plan_batch(
    inputs: Sequence[Path], output: Path, *, save_probability: bool = False, ending: str = ""
) -> tuple[list[BatchItem], list[tuple[Path, str]]]:
    """Find the scans in files, folders and lists, and name their results.

    Parameters
    ----------
    inputs : sequence of Path
        Files, DICOM folders, folders of scans, lists (CSV). A folder of numbered pictures is one scan where the output is a file, else
        many.
    output : Path
        A file for one scan, a folder (made when it is needed) for several and for lists.
    save_probability : bool
        Name a probability file beside each labels file.
    ending : str
        Of the labels in a folder; by default that of their scan, where it can be written.

    Returns
    -------
    tasks : list of BatchItem
        One for each scan.
    failures : list of (Path, str)
        Inputs in which there is no scan, rows of lists that cannot be used, and why.

    Raises
    ------
    InputError
        When the output does not fit, or a result would replace an input or another result.
    """
    output = given_path(output)
    if ending and ending not in WRITABLE:
        raise InputError(f"{ending} is no ending that can be written; use one of {', '.join(WRITABLE)}.")
    found: list[ListedScan] = []
    failures: list[tuple[Path, str]] = []
    is_folder = output.is_dir() or not output.suffix or any(map(_is_list, inputs))
    if ending and not is_folder:
        raise InputError(f"The ending of {output} says its format; give a folder, or no other ending.")
    writable = output.name.lower().endswith(WRITABLE)
    if is_folder and writable and not output.is_dir():
        raise InputError(f"{output} is one file; give a folder for the results of a list.")
    for path in inputs:
        try:
            given_path(path)
            if _is_list(path):
                listed, unusable = read_list(path)
                found += listed
                failures += unusable
            elif not is_folder and is_numbered(path):
                found.append(_plain(path))
            elif path.is_dir():
                found += [_plain(scan) for scan in scans_in(path) if not _is_own_result(scan, output)]
            else:
                found.append(_plain(path))
        except InputError as error:
            failures.append((path, str(error)))
    scans = list(dict.fromkeys(found))
    if not is_folder and not writable and len(inputs) == len(scans) == 1:
        raise InputError(f"{output} cannot be written: its ending should be one of {', '.join(WRITABLE)}, or none for a folder.")
    if not is_folder and len(scans) > 1 and writable:
        raise InputError(f"There are {len(scans)} scans, but {output} is one file; give a folder.")
    if not is_folder and len(scans) == 1:
        return _distinct([(scans[0], new_path(output))], failures, save_probability, kept=False)
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; give a folder for the results of {len(scans)} scans.")
    stems = _stems([scan.path for scan in scans])
    named = [
        (scan, output / (scan.output or stem + LABELS_SUFFIX + (ending or _result_ending(scan.path)))) for scan, stem in zip(scans, stems)
    ]
    return _distinct(named, failures, save_probability, kept=True)


def _is_list(path: Path) -> bool:
    return path.suffix.lower() == ENDING and not path.is_dir()


def _plain(path: Path) -> ListedScan:
    """A scan of which nothing is said but where it is."""
    return ListedScan("", path, "", None, None)


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


def _distinct(
    named: list[tuple[ListedScan, Path]], failures: list[tuple[Path, str]], save_probability: bool, *, kept: bool
) -> tuple[list[BatchItem], list[tuple[Path, str]]]:
    """A task for each scan whose results are its own; what is wrong in a row of a list does not stop the others."""
    sources = {scan.path.resolve() for scan, _ in named}
    taken: dict[Path, Path] = {}
    tasks, failures = [], list(failures)
    for scan, labels in named:
        probability = _probability_path(labels) if save_probability else None
        try:
            if not labels.name.lower().endswith(WRITABLE):
                raise InputError(f"{labels} cannot be written: its ending should be one of {', '.join(WRITABLE)}.")
            targets = [target for target in (labels, probability) if target is not None]
            for target in targets:
                if target.resolve() in sources:
                    raise InputError(f"The result would replace the input {target}; choose another output.")
                if (first := taken.get(target.resolve())) is not None:
                    advice = "give each an output of its own" if scan.where else "segment them one by one"
                    raise InputError(f"{first} and {scan.path} would both be written to {target}; {advice}.")
        except InputError as error:
            if not scan.where:
                raise
            failures.append((scan.path, f"{scan.where}: {error}"))
            continue
        taken |= dict.fromkeys((target.resolve() for target in targets), scan.path)
        record = labels.parent / RECORDS / f"{labels.name}.json" if kept else None
        tasks.append(BatchItem(scan.path, labels, probability, record, scan.series, scan.unit))
    return tasks, failures
