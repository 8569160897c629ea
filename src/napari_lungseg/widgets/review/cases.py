"""The scans of a folder, one case after the other."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QListWidget, QListWidgetItem, QVBoxLayout, QWidget
from superqt.utils import qdebounced

from napari_lungseg.formats import scans_in
from napari_lungseg.translation import mark, say
from napari_lungseg.widgets.forms import make_button
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.lookup import result_of
from napari_lungseg.widgets.notices import show_error
from napari_lungseg.widgets.saving.session import Session
from napari_lungseg.widgets.tasks import Task
from napari_lungseg.widgets.texts import plain_label
from napari_lungseg.workspace import CaseSummary

#: Milliseconds after something was saved until the list is brought up to date.
REFRESH_MS = 500
NO_FOLDER = mark(
    "Open a folder of scans to go through them: the next one opens by itself when all slices are reviewed. "
    "Of a folder of masks that segment --summary made, the scans that need a look come first."
)


class Cases(QWidget):
    """The list of a folder's scans, and how far each has come.

    Parameters
    ----------
    session : Session
        Whose workspace knows that.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.list = QListWidget()
        self.list.setMaximumHeight(130)
        self.choose = make_button(tr("Open a folder …"), tr("Go through the scans of a folder, one after the other."))
        self._hint = plain_label(tr(NO_FOLDER))
        self._hint.setWordWrap(True)
        self._session = session
        self._paths: list[Path] = []
        self._reasons: list[str] = []
        self._open: Path | None = None
        self._known: dict[Path | None, CaseSummary] = {}
        self._going_on = False
        self._reading, self._listing = Task(self, say("Reading the workspace")), Task(self, say("Listing the scans"))
        self._reading.returned.connect(self._arrived)
        self._reading.failed.connect(self._not_read)
        self._listing.returned.connect(self._listed)
        self._listing.failed.connect(show_error)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self._hint, self.list, self.choose):
            layout.addWidget(widget)
        self.list.setVisible(False)
        self._read_later = qdebounced(self._read, timeout=REFRESH_MS, parent=self)
        session.saved.connect(self._saved)
        self.choose.clicked.connect(self._choose)
        self.list.itemActivated.connect(lambda item: self.go(self.list.row(item)))

    def _saved(self) -> None:
        if self._paths:
            self._read_later()

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("A folder of scans"))
        if folder:
            self.open_folder(Path(folder))

    def open_folder(self, folder: Path) -> None:
        """List the scans of a folder and open the first that is not reviewed."""
        self._listing.what = say("Listing the scans in {folder}", folder=folder)
        self._listing.run(_list, folder)

    def _listed(self, scans: list[tuple[Path, str]]) -> None:
        self._paths, self._reasons, self._open = [path for path, _ in scans], [why for _, why in scans], None
        self.next()

    def next(self) -> None:
        """Open the first scan after this one that is not wholly reviewed, if there is one."""
        if self._paths:
            self._going_on = True
            self._read()

    def _read(self) -> None:
        """Ask the workspace how far the cases have come."""
        workspace = self._session.workspace
        if workspace is None:
            self._arrived([])
        else:
            self._reading.run(workspace.cases)

    def _not_read(self, text: str) -> None:
        going_on, self._going_on = self._going_on, False
        if going_on:
            show_error(text)

    def _arrived(self, summaries: list[CaseSummary]) -> None:
        going_on, self._going_on = self._going_on, False
        self._known = {summary.case.path: summary for summary in summaries}
        start = self._paths.index(self._open) + 1 if self._open in self._paths else 0
        order = [*range(start, len(self._paths)), *range(start)]
        waiting = (index for index in order if not _done(self._known.get(self._paths[index])) and self._paths[index] != self._open)
        if going_on and (index := next(waiting, None)) is not None:
            self.go(index)
        else:
            self._show()

    def go(self, index: int) -> None:
        """Put the open case away, which is saved, and open another one."""
        self._put_away()
        self._open = self._paths[index]
        self._session.recognition.go_on(self._open)
        self._show()

    def _put_away(self) -> None:
        layers = self._session.viewer.layers
        for image in [layer for layer in layers if layer.source.path and Path(layer.source.path) == self._open]:
            result = result_of(image)
            parts = [] if result is None else [result.lungs, result.probability]
            for layer in (*parts, image):
                if layer in layers:
                    layers.remove(layer)

    def _show(self) -> None:
        self._hint.setVisible(not self._paths)
        self.list.setVisible(bool(self._paths))
        self.list.clear()
        for path, why in zip(self._paths, self._reasons, strict=True):
            summary = self._known.get(path)
            far = tr("not begun")
            if summary is not None:
                far = tr("{done} of {total} reviewed", done=summary.reviewed, total=summary.case.slices)
            tick = "✓ " if _done(summary) else ""
            item = QListWidgetItem(f"{tick}{path.name}: {far}" + (f" · {tr(why)}" if why else ""))
            self.list.addItem(item)
            if path == self._open:
                self.list.setCurrentItem(item)


def _list(folder: Path) -> list[tuple[Path, str]]:
    """The scans of a folder, each with why it needs a look, if that is known."""
    from napari_lungseg.cases import read_cases  # it brings along what draws pictures

    return read_cases(folder) or [(path, "") for path in scans_in(folder)]


def _done(summary: CaseSummary | None) -> bool:
    return summary is not None and summary.reviewed + summary.rejected == summary.case.slices
