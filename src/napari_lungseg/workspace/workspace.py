"""The annotator's folder: every state of every mask, and who did what when."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from napari_lungseg.errors import InputError
from napari_lungseg.home import user_data
from napari_lungseg.volume import Affine, Array, Unit
from napari_lungseg.workspace import rows
from napari_lungseg.workspace.content import pack, unpack
from napari_lungseg.workspace.journal import Journal
from napari_lungseg.workspace.records import (
    STATES,
    Case,
    CaseSummary,
    Event,
    Labelled,
    Revision,
    Saved,
    SliceState,
    Source,
    State,
)
from napari_lungseg.workspace.trouble import WorkspaceError

#: Environment variable that overrides the per-user folder.
FOLDER_VARIABLE = "NAPARI_LUNGSEG_WORKSPACE"


def default_folder() -> Path:
    """The user's own workspace, which is used where none is chosen; overridden by ``NAPARI_LUNGSEG_WORKSPACE``."""
    return Path(os.environ.get(FOLDER_VARIABLE) or user_data() / "workspace")


class Workspace:
    """A folder in which masks are kept, slice by slice, in every state they were saved in.

    Reading works from any thread and waits for no write. So does writing, one transaction at a time: what a method
    has written is on disk when it returns; otherwise it raises and nothing of it was written, and it can be called again.

    Parameters
    ----------
    folder : path
        Opened or begun.
    user : str, optional
        Who works; by default the name this person is logged in with, or "user" and a number where they have none.

    Attributes
    ----------
    folder : Path
        Where it lies.
    user : str
        Who works.

    Raises
    ------
    WorkspaceError
        When the folder cannot be found or made, or its journal is of a later version or another program's. A folder that is open
        in another window or cannot be written raises nothing: it is opened read-only.
    """

    def __init__(self, folder: str | Path, *, user: str | None = None) -> None:
        try:
            self.folder = Path(folder).expanduser().absolute()
        except RuntimeError as error:
            raise WorkspaceError(
                f"The folder {folder} cannot be used, as nobody's home is known here; choose another one for the workspace,"
                f" or name one in the environment variable {FOLDER_VARIABLE}."
            ) from error
        self.user = user or _login()
        self._journal = Journal(self.folder, self.user)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the session and let others write; never raises."""
        self._journal.close()

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written."""
        return bool(self._journal.why_read_only)

    @property
    def why_read_only(self) -> str:
        """One sentence on why nothing can be written, or ""."""
        return self._journal.why_read_only

    @property
    def holder(self) -> str | None:
        """Who has it open for writing ("user on host since ..."), if that is why it is read-only."""
        return self._journal.holder

    @property
    def told(self) -> str:
        """One sentence on what was mended while opening (a damaged journal was put aside), or ""."""
        return self._journal.told

    # ---- cases

    def add_case(
        self, content: str, *, name: str, path: str | Path | None, shape: tuple[int, ...], affine: Affine, axis: int, unit: Unit
    ) -> Case:
        """Make an image known, or take up its new place and name if it is.

        Parameters
        ----------
        content : str
            What :func:`content_hash` says of its voxels.
        name, path, shape, affine, axis, unit
            As in :class:`Case`. An image that is known keeps the axis it was added with.

        Returns
        -------
        Case
            Whose ``axis`` says how slices are counted.

        Raises
        ------
        WorkspaceError
            When it cannot be written.
        """
        place = {
            "name": name,
            "path": None if path is None else str(Path(path).absolute()),
            "affine": np.asarray(affine, dtype=np.float64).tolist(),
            "unit": unit,
        }
        known = self.find(content)
        if known is not None and place == {
            "name": known.name,
            "path": None if known.path is None else str(known.path),
            "affine": known.affine.tolist(),
            "unit": known.unit,
        }:
            return known
        with self._journal.writing() as entry:
            if known is None:
                values = (content, json.dumps([int(size) for size in shape]), int(axis))
                number = entry.db.execute("INSERT INTO cases (content, shape, axis) VALUES (?, ?, ?)", values).lastrowid
                entry.event("added", place, number)
            else:
                entry.event("moved", place, rows.case_id(entry.db, known))
        case = self.find(content)
        assert case is not None
        return case

    def find(self, content: str) -> Case | None:
        """The case of an image's content, if it is known."""
        with self._journal.reading() as db:
            row = db.execute(f"{rows.CASES} WHERE c.content = ? GROUP BY c.id", (content,)).fetchone()
        return None if row is None else rows.case_of(row)

    def cases(self) -> list[CaseSummary]:
        """All cases with how far the work on them has come, in the order in which they were added."""
        with self._journal.reading() as db:
            found = db.execute(f"{rows.CASES} GROUP BY c.id ORDER BY c.id").fetchall()
            changed = dict(db.execute("SELECT case_id, max(at) FROM events WHERE case_id NOT NULL GROUP BY case_id"))
            summaries = []
            for row in found:
                (saved,) = db.execute("SELECT count(DISTINCT slice) FROM revisions WHERE case_id = ?", row[:1]).fetchone()
                states = [known.state for known in rows.states(db, row[0]).values()]
                corrected, reviewed, flagged = (states.count(state) for state in ("corrected", "reviewed", "flagged"))
                at = rows.moment(changed[row[0]])
                summaries.append(CaseSummary(rows.case_of(row), saved, corrected, reviewed, flagged, at))
        return summaries

    def unfinished(self) -> list[Case]:
        """Cases that were changed in the session before this one, if that did not end as it should; else none."""
        with self._journal.reading() as db:
            before = db.execute("SELECT max(id) FROM sessions WHERE id IS NOT ?", (self._journal.session_id,)).fetchone()
            if db.execute("SELECT 1 FROM events WHERE session_id = ? AND kind = 'ended'", before).fetchone():
                return []
            found = db.execute(
                f"{rows.CASES} WHERE c.id IN (SELECT case_id FROM events WHERE session_id = ? AND kind IN ('saved', 'state'))"
                " GROUP BY c.id ORDER BY c.id",
                before,
            ).fetchall()
        return [rows.case_of(row) for row in found]

    # ---- masks

    def save(
        self,
        case: Case,
        slices: Mapping[int, Labelled | tuple[Array, Array]],
        *,
        cause: str,
        percent: Mapping[int, Array] | None = None,
        source: Source | None = None,
        at: datetime | None = None,
    ) -> None:
        """Keep slices of a mask, in one transaction. What is as it was saved last takes no space.

        Parameters
        ----------
        case : Case
            Of this workspace.
        slices : mapping
            Labels and origin by slice index along the case's axis.
        cause : str
            What has changed them.
        percent : mapping, optional
            The model's probability (uint8) of slices in which it is new.
        source : Source, optional
            What made the mask under the corrections.
        at : datetime, optional
            When they were changed; now by default.

        Raises
        ------
        WorkspaceError
            When nothing could be written; the sentence says why and since when changes are only in memory.
        InputError
            When the arrays are no slices of this case.
        """
        # Before the transaction, which is short so.
        packed = [rows.pack_slice(case, index, *planes) for index, planes in sorted(slices.items())]
        percents = [
            (int(index), pack(rows.plane_of(case, index, plane).astype(np.uint8, copy=False)))
            for index, plane in sorted((percent or {}).items())
        ]
        with self._journal.writing(at) as entry:
            number = rows.case_id(entry.db, case)
            if source is not None and source != rows.last_source(entry.db, number):
                entry.event("made", {**vars(source), "settings": dict(source.settings)}, number)
            rows.add_slices(entry, number, cause, packed, percents)

    def load(self, case: Case) -> Saved | None:
        """The mask as it was saved last; None if it never was.

        Raises
        ------
        WorkspaceError
            When the journal cannot be read.
        """
        latest = "WHERE id IN (SELECT max(id) FROM {0} WHERE case_id = ? GROUP BY slice)"
        with self._journal.reading() as db:
            number = (rows.case_id(db, case),)
            slices = db.execute(f"SELECT slice, dtype, labels, origin FROM revisions {latest.format('revisions')}", number).fetchall()
            percents = db.execute(f"SELECT slice, percent FROM percents {latest.format('percents')}", number).fetchall()
            source = rows.last_source(db, *number)
            if not slices:
                return None
            widest = max((np.dtype(row[1]) for row in slices), key=lambda dtype: dtype.itemsize)
            labels, origin = np.zeros(case.shape, widest.newbyteorder("=")), np.zeros(case.shape, np.uint8)
            percent = np.zeros(case.shape, np.uint8)
            for index, dtype, plane, who in slices:
                case.planes(labels)[index] = unpack(plane, dtype, case.plane_shape)
                case.planes(origin)[index] = unpack(who, np.uint8, case.plane_shape)
            for index, plane in percents:
                case.planes(percent)[index] = unpack(plane, np.uint8, case.plane_shape)
        return Saved(labels, origin, percent if percents else None, source)

    def revisions(self, case: Case, index: int) -> list[Revision]:
        """All states in which a slice was saved, the first one first."""
        with self._journal.reading() as db:
            found = db.execute(
                "SELECT r.id, e.at, s.user, e.details, r.by_person FROM revisions r JOIN events e ON e.id = r.event_id"
                " JOIN sessions s ON s.id = e.session_id WHERE r.case_id = ? AND r.slice = ? ORDER BY r.id",
                (rows.case_id(db, case), int(index)),
            ).fetchall()
        return [
            Revision(number, rows.moment(at), user, json.loads(details)["cause"], person) for number, at, user, details, person in found
        ]

    def slice_at(self, revision_id: int) -> Labelled:
        """A slice as one of its revisions has it.

        Raises
        ------
        WorkspaceError
            When there is no such revision, or it cannot be read.
        """
        with self._journal.reading() as db:
            row = db.execute("SELECT case_id, dtype, labels, origin FROM revisions WHERE id = ?", (revision_id,)).fetchone()
            if row is None:
                raise WorkspaceError(f"The workspace {self.folder} has no revision {revision_id}; ask for the slice's revisions again.")
            number, dtype, labels, origin = row
            shape = rows.case_of(db.execute(f"{rows.CASES} WHERE c.id = ? GROUP BY c.id", (number,)).fetchone()).plane_shape
            native = np.dtype(dtype).newbyteorder("=")
            return Labelled(unpack(labels, dtype, shape).astype(native), unpack(origin, np.uint8, shape).copy())

    # ---- review

    def set_state(self, case: Case, index: int, state: State, *, note: str = "", seconds: float = 0.0) -> None:
        """Say how far the work on a slice has come.

        Parameters
        ----------
        case : Case
            Of this workspace.
        index : int
            Which slice.
        state : {"unseen", "flagged", "corrected", "reviewed"}
            "reviewed" means that a person stands for every voxel of it.
        note : str
            For whoever comes next.
        seconds : float
            Time spent on the slice since the last such call.

        Raises
        ------
        WorkspaceError
            When it could not be written.
        InputError
            When there is no such state or slice.
        """
        if state not in STATES:
            raise InputError(f"A slice cannot be {state!r}; give one of {', '.join(STATES)}.")
        if not 0 <= index < case.slices:
            raise InputError(f"{case.name} has no slice {index}, only 0 to {case.slices - 1}.")
        with self._journal.writing() as entry:
            number = rows.case_id(entry.db, case)
            entry.event("state", {"state": state, "note": note, "seconds": float(seconds)}, number, int(index))

    def states(self, case: Case) -> dict[int, SliceState]:
        """States of the slices that were saved or given one; all others are "unseen"."""
        with self._journal.reading() as db:
            return rows.states(db, rows.case_id(db, case))

    def record(self, case: Case | None = None) -> list[Event]:
        """All that was done, in order; of one case or, by default, of all with the beginnings and ends of sessions."""
        with self._journal.reading() as db:
            only, values = ("", ()) if case is None else ("WHERE e.case_id = ?", (rows.case_id(db, case),))
            found = db.execute(
                "SELECT e.at, s.user, e.kind, c.content, e.slice, e.details FROM events e JOIN sessions s ON s.id = e.session_id"
                f" LEFT JOIN cases c ON c.id = e.case_id {only} ORDER BY e.id",
                values,
            ).fetchall()
        return [
            Event(rows.moment(at), user, kind, content, json.loads(details) | ({} if index is None else {"slice": index}))
            for at, user, kind, content, index, details in found
        ]


def _login() -> str:
    """Name of the person, or their number: in a container a user need not have a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # the last one on Windows, where there are no numbers
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "user"
