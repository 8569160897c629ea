"""Earlier states of a slice: to look at, and to bring back."""

from __future__ import annotations

from qtpy.QtWidgets import QListWidget, QVBoxLayout, QWidget

from napari_lungseg.translation import mark, say
from napari_lungseg.widgets.causes import shown_cause
from napari_lungseg.widgets.forms import make_button
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.notices import show_error
from napari_lungseg.widgets.review.reviewing import Reviewing
from napari_lungseg.widgets.saving.session import Session
from napari_lungseg.widgets.saving.target import SaveTarget
from napari_lungseg.widgets.tasks import Task
from napari_lungseg.widgets.texts import plain_label
from napari_lungseg.workspace import Labelled, Revision

BLIND = mark("Shown once the slice is read: they hold the model's mask.")
NONE_YET = mark("None yet: a state is kept whenever the slice changes.")


class Past(QWidget):
    """The list of a slice's states in the workspace, the latest first.

    Parameters
    ----------
    session : Session
        Whose workspace it is.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.list = QListWidget()
        self.list.setMaximumHeight(110)
        self.bring_back = make_button(tr("Bring this state back"), tr("The slice becomes what it was; undo takes that back."))
        self._none = plain_label(tr(NONE_YET))
        self._none.setWordWrap(True)
        self._session = session
        self._reviewing: Reviewing | None = None
        self._index = 0
        self._revisions: list[Revision] = []
        self._reading, self._fetching = Task(self, say("Reading the earlier states")), Task(self, say("Bringing the state back"))
        self._reading.returned.connect(self._arrived)
        self._reading.failed.connect(lambda text: self._show([], text))
        self._fetching.returned.connect(self._fetched)
        self._fetching.failed.connect(show_error)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self._none, self.list, self.bring_back):
            layout.addWidget(widget)
        self.bring_back.clicked.connect(self._bring_back)
        self.list.currentRowChanged.connect(lambda row: self.bring_back.setEnabled(row >= 0))
        session.saved.connect(self._saved)
        self._show([], tr(NONE_YET))

    def show_slice(self, reviewing: Reviewing | None, index: int) -> None:
        """List the states of a slice; of none where nothing is reviewed."""
        if (reviewing, index) != (self._reviewing, self._index):
            self._reviewing, self._index = reviewing, index
            self._fetching.forget()
            self._show([], tr(NONE_YET))
            self._read()

    def _saved(self, target: SaveTarget, indices: list[int]) -> None:
        if self._reviewing is not None and target is self._reviewing.target and self._index in indices:
            self._read()

    def _read(self) -> None:
        workspace, case = self._session.workspace, None if self._reviewing is None else self._reviewing.target.case
        if self._reviewing is not None and self._index in self._reviewing.document.blind:
            # Its states hold the model's mask.
            self._reading.forget()
            self._show([], tr(BLIND))
            return
        if workspace is not None and case is not None:
            self._reading.run(workspace.revisions, case, self._index)
        else:
            self._reading.forget()

    def _arrived(self, found: list[Revision]) -> None:
        self._show(found[::-1], tr(NONE_YET))

    def _show(self, revisions: list[Revision], otherwise: str) -> None:
        row = self.list.currentRow()
        chosen = self._revisions[row].id if row >= 0 else None
        self._revisions = revisions
        self.list.clear()
        for revision in revisions:
            self.list.addItem(
                f"{revision.at.astimezone().strftime(tr('%d %b %H:%M:%S'))}  {shown_cause(revision.cause)}  ({revision.user})"
            )
        for widget in (self.list, self.bring_back):
            widget.setVisible(bool(revisions))
        self._none.setText(otherwise)
        self._none.setVisible(not revisions)
        self.bring_back.setEnabled(False)
        # A state that was chosen stays so when another one is added.
        self.list.setCurrentRow(next((row for row, revision in enumerate(revisions) if revision.id == chosen), -1))

    def _bring_back(self) -> None:
        workspace, row = self._session.workspace, self.list.currentRow()
        if workspace is not None and row >= 0:
            self._fetching.run(workspace.slice_at, self._revisions[row].id)

    def _fetched(self, found: Labelled) -> None:
        if self._reviewing is not None:
            document, result = self._reviewing.document, self._reviewing.result
            box = document.box(self._index)
            before = document.labels[box].copy()
            after = found.labels.astype(before.dtype).reshape(before.shape)
            result.edit(document, box, before, after, "brought back", lambda: None)
