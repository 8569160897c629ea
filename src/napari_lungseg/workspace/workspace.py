"""The annotator's folder: every state of every mask, and who did what when."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from napari_lungseg.blind import UNREAD
from napari_lungseg.content import pack
from napari_lungseg.errors import InputError
from napari_lungseg.home import user_data
from napari_lungseg.volume import Affine, Array, Unit
from napari_lungseg.workspace import connection, damage, failures, progress, rows, stored
from napari_lungseg.workspace.acceptance import Accepted, accepted_in
from napari_lungseg.workspace.failures import DamagedError, WorkspaceError
from napari_lungseg.workspace.journal import Journal
from napari_lungseg.workspace.prune import prune
from napari_lungseg.workspace.records import (
    STATES,
    Blind,
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
from napari_lungseg.workspace.stored import CaseRow, EventRow, RevisionRow

#: Environment variable that overrides the per-user folder.
FOLDER_VARIABLE = "NAPARI_LUNGSEG_WORKSPACE"
#: Seconds for which the rows are checked when a workspace is opened, those that were worked on last first.
_CHECK_S = 1.0
#: Seconds that closing may take for what need not be kept; the next time goes on with it.
_PRUNE_S = 1.0


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
    for_reading : bool
        Only read it, as another person's: nothing in the folder is changed, and who works there is not kept from writing.

    Attributes
    ----------
    folder : Path
        Where it lies.
    user : str
        Who works.

    Raises
    ------
    WorkspaceError
        When the folder cannot be found or made, or its journal is of a later version or another program's; for reading, where there is
        no journal. A folder that is open in another window or cannot be written raises nothing: it is opened read-only.
    """

    def __init__(self, folder: str | Path, *, user: str | None = None, for_reading: bool = False) -> None:
        try:
            self.folder = Path(folder).expanduser().absolute()
        except RuntimeError as error:
            raise WorkspaceError(
                f"The folder {folder} cannot be used, as nobody's home is known here; choose another one for the workspace,"
                f" or name one in the environment variable {FOLDER_VARIABLE}."
            ) from error
        self.user = user or _login()
        self._journal = Journal(self.folder, self.user, for_reading=for_reading)
        self._told = self._journal.told or self._check()

    def _check(self) -> str:
        """Tell what is damaged of what was saved last."""
        until = time.monotonic() + _CHECK_S
        with suppress(WorkspaceError), self._journal.reading() as db:  # which is told when something is read
            try:
                if self.read_only:
                    connection.check(db)
                found = damage.damaged(damage.check(db, lambda: time.monotonic() < until))
            except DamagedError:
                found = "parts of the file"
            if found:
                return f"The journal in {self.folder} is damaged: {found}. All else is as it was. {failures.rescue(self.folder)}"
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Delete earlier states of slices that nobody needs, end the session and let others write; never raises."""
        until = time.monotonic() + _PRUNE_S
        with suppress(WorkspaceError):
            while self._journal.session_id is not None and not self.read_only and time.monotonic() < until:
                with self._journal.writing() as entry:
                    more = prune(entry.db, entry.session_id)
                if not more:
                    break
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
        """What was found damaged while opening, what is used in its place and how to get at the rest, or ""."""
        return self._told

    # ---- cases

    def add_case(
        self,
        content: str,
        *,
        name: str,
        path: str | Path | None,
        shape: tuple[int, ...],
        affine: Affine,
        axis: int,
        unit: Unit,
        dtype: npt.DTypeLike | None = None,
    ) -> Case:
        """Make an image known, or take up its new place and name if it is.

        Parameters
        ----------
        content : str
            What :func:`content_hash` says of its voxels, and what tells a second mask of one image from the first.
        name, path, shape, affine, axis, unit, dtype
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
        } | ({} if dtype is None else {"dtype": np.dtype(dtype).newbyteorder("<").str})
        known = self.find(content)
        if known is not None and place == {
            "name": known.name,
            "path": None if known.path is None else str(known.path),
            "affine": known.affine.tolist(),
            "unit": known.unit,
        } | ({"dtype": known.dtype} if "dtype" in place else {}):
            return known
        with self._journal.writing() as entry:
            if known is None:
                sizes, text = [int(size) for size in shape], json.dumps(place)
                number = stored.insert(entry.db, CaseRow, content, json.dumps(sizes), int(axis), text)
                # Each of the two can be told from the other, should one be damaged.
                entry.event("added", {**place, "content": content, "shape": sizes, "axis": int(axis)}, number)
            else:
                entry.event("moved", place, rows.case_id(entry.db, known))
        case = self.find(content)
        assert case is not None
        return case

    def find(self, content: str) -> Case | None:
        """The case of an image's content, if it is known."""
        with self._journal.reading() as db:
            row = rows.find(db, content)
            return None if row is None else rows.case_of(db, row)

    def cases(self) -> list[CaseSummary]:
        """All cases with how far the work on them has come, in the order in which they were added."""
        with self._journal.reading() as db:
            return progress.summaries(db)

    def unfinished(self) -> list[Case]:
        """Cases that were changed in the session before this one, if that did not end as it should; else none.

        A session that goes on in another window, which holds the lock, has not ended.
        """
        if self.holder is not None:
            return []
        with self._journal.reading() as db:
            before = db.execute("SELECT max(id) FROM sessions WHERE id IS NOT ?", (self._journal.session_id,)).fetchone()
            if db.execute("SELECT 1 FROM events WHERE session_id = ? AND kind = 'ended'", before).fetchone():
                return []
            found = db.execute(
                "SELECT DISTINCT case_id FROM events WHERE session_id = ? AND kind IN ('saved', 'state') ORDER BY case_id", before
            ).fetchall()
            known = [rows.case_row(db, number) for (number,) in found]
            return [rows.case_of(db, row) for row in known if row is not None]

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
        """The mask as it was saved last; None if it never was, or nothing of it is left.

        Where the last state of a slice is damaged, the newest one that is sound is taken, and ``damage`` tells so.

        Raises
        ------
        WorkspaceError
            When the journal cannot be read.
        """
        with self._journal.reading() as db:
            case = rows.known(db, case)
            slices, percents = list(damage.masks(db, case)), list(damage.percents(db, case))
            if not slices:
                return None
            found = [one.damage for one in (*slices, *percents) if one.damage is not None]
            found += [*damage.of_entries(db, case), *damage.missing(db, case)]
            source = rows.last_source(db, case.id)
            blind = frozenset(index for index, known in progress.states(db, case).items() if known.blind == UNREAD)
        widest = max((one.planes[0].dtype for one in slices if one.planes), key=lambda dtype: dtype.itemsize, default=np.dtype(np.uint8))
        labels, origin = np.zeros(case.shape, widest.newbyteorder("=")), np.zeros(case.shape, np.uint8)
        percent = np.zeros(case.shape, np.uint8)
        for one in slices:
            if one.planes:
                case.planes(labels)[one.index], case.planes(origin)[one.index] = one.planes
        for one in percents:
            if one.planes:
                (case.planes(percent)[one.index],) = one.planes
        return Saved(labels, origin, percent if any(one.planes for one in percents) else None, source, tuple(found), blind)

    def revisions(self, case: Case, index: int) -> list[Revision]:
        """The states of a slice that are kept, the first one first; "damaged" is a part of the cause of those that cannot be read."""
        query = "SELECT id, event_id FROM revisions WHERE case_id = ? AND slice = ? ORDER BY id"
        with self._journal.reading() as db:
            number = rows.case_id(db, case)
            found = []
            for revision, event in db.execute(query, (number, int(index))).fetchall():
                row = stored.fetch(db, RevisionRow, revision)
                sound = row is not None and (row.case_id, row.slice, row.event_id) == (number, index, event)
                at, user, cause = rows.who(db, event)
                found.append(Revision(revision, at, user, cause if sound else f"{cause}, damaged", row.by_person if row and sound else 0))
        return found

    def slice_at(self, revision_id: int) -> Labelled:
        """A slice as one of its revisions has it.

        Raises
        ------
        WorkspaceError
            When there is no such revision, or it cannot be read.
        """
        with self._journal.reading() as db:
            row = stored.fetch(db, RevisionRow, revision_id)
            if row is None:
                raise WorkspaceError(f"The workspace {self.folder} has no revision {revision_id}; ask for the slice's revisions again.")
            known = rows.case_row(db, row.case_id)
            planes = () if known is None else damage.planes_of(row, rows.case_of(db, known))
            if not planes:
                raise WorkspaceError(f"Revision {revision_id} in the workspace {self.folder} is damaged; take another one.")
            labels, origin = planes
            return Labelled(labels.astype(labels.dtype.newbyteorder("=")), origin.copy())

    # ---- review

    def set_state(self, case: Case, index: int, state: State, *, note: str = "", seconds: float = 0.0, blind: Blind | None = None) -> None:
        """Say how far the work on a slice has come.

        Parameters
        ----------
        case : Case
            Of this workspace.
        index : int
            Which slice.
        state : {"unseen", "flagged", "corrected", "reviewed", "rejected"}
            "reviewed" means that a person stands for every voxel of it, "rejected" that it is of no use.
        note : str
            For whoever comes next.
        seconds : float
            Time spent on the slice since the last such call.
        blind : "unread", BlindReading or None
            As in :class:`SliceState`.

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
            # As a flag for earlier versions, which know no other word for it.
            said = {"state": "flagged", "rejected": True} if state == "rejected" else {"state": state}
            read = {} if blind is None else {"blind": blind if blind == UNREAD else blind._asdict()}
            entry.event("state", {**said, "note": note, "seconds": float(seconds), **read}, number, int(index))

    def states(self, case: Case) -> dict[int, SliceState]:
        """States of the slices that were saved or given one; all others are "unseen".

        Where the last mask of a reviewed slice is damaged, so that an older one stands in for it, the slice is "corrected".
        """
        with self._journal.reading() as db:
            return progress.states(db, rows.known(db, case))

    def accepted(self, case: Case) -> dict[int, Accepted]:
        """What of the reviewed slices was accepted as the model had left it, as far as their revisions tell."""
        with self._journal.reading() as db:
            case = rows.known(db, case)
            reviewed = [index for index, known in progress.states(db, case).items() if known.state == "reviewed"]
            found = {index: accepted_in(db, case.id, case, index) for index in reviewed}
        return {index: known for index, known in found.items() if known is not None}

    def record(self, case: Case | None = None) -> list[Event]:
        """All that was done, in order; of one case or, by default, of all with the beginnings and ends of sessions."""
        with self._journal.reading() as db:
            only, values = ("", ()) if case is None else ("WHERE case_id = ?", (rows.case_id(db, case),))
            numbers = db.execute(f"SELECT id FROM events {only} ORDER BY id", values).fetchall()
            contents = {known.id: known.content for known in rows.cases(db)}
            events: list[Event] = []
            for (number,) in numbers:
                row = stored.fetch(db, EventRow, number)
                if row is None:
                    at = events[-1].at if events else rows.moment(db, number)
                    events.append(Event(at, rows.UNKNOWN, "damaged", None if case is None else case.content, {"entry": number}))
                    continue
                details = {name: value for name, value in row.details.items() if name not in rows.CHECKS}
                index = {} if row.slice is None else {"slice": row.slice}
                content = contents.get(row.case_id) if row.case_id is not None else None
                events.append(Event(row.at, rows.user_of(db, row.session_id), row.kind, content, details | index))
        return events


def _login() -> str:
    """Name of the person, or their number: in a container a user need not have a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # the last one on Windows, where there are no numbers
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "user"
