"""The workspace as an nnU-Net raw data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_lungseg.content import content_hash
from napari_lungseg.errors import InputError
from napari_lungseg.files import given_path, make_folder, write_whole
from napari_lungseg.formats import SeriesChoiceError, read, write
from napari_lungseg.translation import AND, SEMICOLON, say, say_all, say_n
from napari_lungseg.volume import Array, Volume
from napari_lungseg.workspace.records import Case, case_key
from napari_lungseg.workspace.workspace import Workspace

#: nnU-Net wants the label that is not to be learnt from to be the highest.
IGNORE = 3
LABELS = {"background": 0, "right lung": 1, "left lung": 2, "ignore": IGNORE}
ENDING = ".nii.gz"


@dataclass(frozen=True)
class ExportReport:
    """What came of an export.

    Attributes
    ----------
    folder : Path
        The data set.
    written : dict
        Name of the image by the name of its case in the data set.
    left_out : list of (str, str)
        Name of the image, and why it is not in the data set.
    """

    folder: Path
    written: dict[str, str]
    left_out: list[tuple[str, str]]

    @property
    def text(self) -> str:
        """For the person."""
        saved = say_n("Saved {count} case in {folder}.", "Saved {count} cases in {folder}.", len(self.written), folder=self.folder)
        return say("{saved} Left out: {reasons}.", saved=saved, reasons=self.reasons) if self.left_out else saved

    @property
    def reasons(self) -> str:
        """What was left out and why, in one line."""
        return say_all((say("{name} ({reason})", name=name, reason=reason) for name, reason in self.left_out), SEMICOLON)


def export_nnunet(
    workspace: Workspace,
    out: str | Path,
    *,
    images: Mapping[str, Volume] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Write all reviewed slices of a workspace as an nnU-Net raw data set.

    Each case with a reviewed slice becomes ``imagesTr/CASE_0000.nii.gz`` and ``labelsTr/CASE.nii.gz`` on the image's own grid;
    slices that nobody has reviewed are *ignore*. CASE comes from the image's content and so does not name the patient.
    ``dataset.json`` is written last: a folder without it is an export that was broken off.

    Parameters
    ----------
    workspace : Workspace
        What to export.
    out : path
        A folder that is empty or not there.
    images : mapping, optional
        Images that are at hand, by their content; the others are read from their files.
    progress : callable, optional
        Called with the numbers of cases done and of all.

    Returns
    -------
    ExportReport
        Names the cases that were left out, and why.

    Raises
    ------
    InputError
        When the folder cannot be used, or there is nothing to export.
    """
    folder = given_path(out).absolute()
    try:
        if folder.is_dir() and not all(entry.is_dir() for entry in folder.rglob("*")):
            raise InputError(say("{folder} is not empty; choose a new folder for the data set.", folder=folder))
        for part in ("imagesTr", "labelsTr"):
            make_folder(folder / part)
    except OSError as error:
        raise InputError(
            say(
                "The folder {folder} cannot be used ({reason}); choose another one for the data set.",
                folder=folder,
                reason=error.strerror,
            )
        ) from error
    report = ExportReport(folder, {}, [])
    cases = [summary.case for summary in workspace.cases()]
    for done, case in enumerate(cases):
        if progress is not None:
            progress(done, len(cases))
        name = case_key(case.content)
        try:
            labels = _labels(workspace, case)
            image = image_of(case, images or {})
            # In this order, as nnU-Net takes every image for a case.
            write(image.with_array(labels.reshape(image.shape)), folder / "labelsTr" / f"{name}{ENDING}")
            write(image, folder / "imagesTr" / f"{name}_0000{ENDING}")
        except InputError as error:
            reason = str(error)
            report.left_out.append((case.name, reason.rstrip(".") if reason.endswith(".") else reason))
        else:
            report.written[name] = case.name
    if not report.written:
        raise InputError(
            say("There is nothing to export: {reasons}; review some slices first.", reasons=report.reasons or say("the workspace is empty"))
        )
    description = {
        "channel_names": {"0": "CT"},
        "labels": LABELS,
        "numTraining": len(report.written),
        "file_ending": ENDING,
    }
    write_whole(folder / "dataset.json", json.dumps(description, indent=2) + "\n")
    if progress is not None:
        progress(len(cases), len(cases))
    return report


def _labels(workspace: Workspace, case: Case) -> Array:
    """Labels of the reviewed slices, all others as ignore."""
    saved = workspace.load(case)
    reviewed = [index for index, known in workspace.states(case).items() if known.state == "reviewed"]
    if saved is None or not reviewed:
        raise InputError(say("no slice was reviewed"))
    dense = case.planes(saved.labels)[reviewed]
    if dense.max() >= IGNORE:
        raise InputError(say("it has a label {label} beside the right and the left lung", label=dense.max()))
    names = saved.source.names if saved.source is not None else {}
    others = [name for label, name in names.items() if name not in LABELS and (dense == label).any()]
    if "lungs" in others:
        raise InputError(say("its lungs are not told apart into right and left; let Segment do that"))
    if others:
        raise InputError(say("it has {others}, not lungs", others=say_all(others, AND)))
    labels = np.full(case.shape, IGNORE, np.uint8)
    case.planes(labels)[reviewed] = dense
    return labels


def _images(path: Path) -> Iterator[Volume]:
    """The image of a path, or each of several; with gaps between slices filled in, as otherwise nobody could have opened it."""
    try:
        yield read(path, fill_gaps=True)
    except SeriesChoiceError as error:
        for choice in error.choices:
            yield read(path, series=choice.key, fill_gaps=True)


def image_of(case: Case, images: Mapping[str, Volume]) -> Volume:
    """The image of a case, as a volume of three axes: one of ``images`` (by content), else from its file.

    Raises
    ------
    InputError
        When the file is not known, gone, or holds another image now.
    """
    image = images.get(case.image)
    if image is None:
        if case.path is None:
            raise InputError(say("its file is not known; open the image first"))
        image = next((one for one in _images(case.path) if content_hash(one.array) == case.image), None)
        if image is None:
            raise InputError(say("{path} holds another image now", path=case.path))
    array = np.asarray(image.array)
    return replace(image, array=array[None] if array.ndim == 2 else array)
