"""One viewer's work and where it is kept: masks are watched, saved, and found again when their image is opened."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from qtpy.QtCore import QEvent, QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication, QWidget

from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.napari_compat import unwrapped
from napari_lungseg.widgets.notices import show_info, show_warning
from napari_lungseg.widgets.preferences import user_name, workspace_folder
from napari_lungseg.widgets.saving.autosave import SAVED_BY_ITSELF, Autosave
from napari_lungseg.widgets.saving.closing import ask_unsaved
from napari_lungseg.widgets.saving.recognition import Offer
from napari_lungseg.widgets.saving.restoring import Recognition
from napari_lungseg.widgets.saving.target import SaveTarget
from napari_lungseg.widgets.saving.tracking import Tracking
from napari_lungseg.widgets.saving.waiting import Status
from napari_lungseg.workspace import Case, Workspace

if TYPE_CHECKING:
    import napari.viewer

#: Seconds without an answer of the disk after which the person is told.
SILENCE_S = 5.0
#: Seconds that closing the window may take for what still waits to be saved.
WAIT_S = 5.0

_sessions: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


class Session(QObject):
    """The workspace of one viewer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are watched.
    """

    #: How saving stands.
    told = Signal(object)
    #: A workspace was opened, or None if that failed.
    opened = Signal(object)
    #: Slices are on disk: the target, and their indices.
    saved = Signal(object, list)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.status = Status(True, tr("Opening the workspace …"))
        self.tracking = Tracking(viewer)
        self.tracking.saved.connect(self.saved)
        self.recognition = Recognition(viewer, self.tracking)
        # napari's own bookkeeping is not to be kept alive by this.
        self._window: ReferenceType[QWidget] | None = None
        self._silence = QTimer(self)
        self._silence.setInterval(1000)
        self._silence.timeout.connect(self._check_silence)
        QApplication.instance().aboutToQuit.connect(self.close)
        self._open(workspace_folder())
        self._silence.start()

    @property
    def workspace(self) -> Workspace | None:
        """Where the work is kept; None while it is being opened, or if that failed."""
        return self.tracking.workspace

    @property
    def tracks(self) -> list[SaveTarget]:
        """Where each mask that is tracked is saved."""
        return self.tracking.targets

    @property
    def offers(self) -> list[Offer]:
        """Work that was found for images and not yet shown."""
        return self.recognition.offers

    @property
    def unfinished(self) -> list[Case]:
        """Cases that a session left which ended unexpectedly."""
        return self.recognition.unfinished

    # ---- the workspace

    def _open(self, folder: Path) -> None:
        self._autosave = Autosave(folder, user_name())
        self._autosave.opened.connect(self._opened)
        self._autosave.told.connect(self._tell)
        self._autosave.noticed.connect(show_warning)
        self.tracking.save_by(self._autosave)
        self._autosave.start()

    def choose(self, folder: Path) -> None:
        """Keep the work in another workspace from now on; all that is in the window goes there too."""
        # All goes to the new one, so that there is no need to wait for an old disk that does not answer.
        before = self._autosave
        before.close(timeout_s=1.0)
        before.blockSignals(True)
        self.recognition.forget()
        self._open(folder)
        self.tracking.save_again(before.unsaved)

    def close(self) -> bool:
        """Save what waits and let go of the viewer; tells whether all is on disk."""
        _sessions.pop(unwrapped(self.viewer), None)
        self._silence.stop()
        self.recognition.close()
        saved = self._autosave.close()
        self.tracking.close()
        return saved

    def follow(self, widget: QWidget) -> None:
        """End with the window that a widget is in, and not before all is saved or the person knows better."""
        with suppress(RuntimeError):  # the widget may be gone already
            if self._window is not None:
                return
            window = widget.window()
            window.installEventFilter(self)
            window.destroyed.connect(self.close)
            self._window = ref(window)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Keep the window open while there is something that is not saved."""
        if event.type() == QEvent.Type.Close and not self._autosave.flush(WAIT_S) and not self._save_elsewhere():
            event.ignore()
            return True
        return bool(super().eventFilter(watched, event))

    def _save_elsewhere(self) -> bool:
        """Ask what is to become of work that cannot be saved; tells whether the window may close."""
        answer = ask_unsaved(self._parent(), self.status.text)
        if isinstance(answer, Path):
            self.choose(answer)
            return self._autosave.flush(WAIT_S)
        return answer

    def _parent(self) -> QWidget | None:
        return None if self._window is None else self._window()

    def _opened(self, workspace: Workspace | str, unfinished: list[Case]) -> None:
        if isinstance(workspace, str):
            self._tell(Status(False, workspace))
            return
        self.tracking.workspace = workspace
        if workspace.why_read_only:
            self._tell(Status(False, tr("{why} What you change in this window is not saved.", why=workspace.why_read_only)))
        else:
            self._tell(Status(True, tr(SAVED_BY_ITSELF)))
        if workspace.told:
            show_warning(tr(workspace.told))
        self.opened.emit(workspace)
        self.recognition.begin(unfinished)

    def _tell(self, status: Status) -> None:
        before, self.status = self.status, status
        if not status.safe and (before.safe or before.text != status.text):
            show_warning(status.text)
        elif status.safe and not before.safe:
            show_info(status.text)
        self.told.emit(status)

    def _check_silence(self) -> None:
        if self.workspace is not None and not self._autosave.alive:
            self._tell(Status(False, tr("Saving has stopped; your work is in memory. Choose the workspace again, and look into the log.")))
            return
        image, reading = self._autosave.images.longest
        if reading > SILENCE_S:
            self._tell(Status(False, tr("{image} is still being read; what you change there is in memory until then.", image=image)))
        silent = self._autosave.silent_s
        if silent > SILENCE_S:
            text = tr(
                "Nothing was saved for {seconds:.0f} s: the workspace's disk does not answer. Your work is in memory; "
                "choose another workspace.",
                seconds=silent,
            )
            # Told once; then only the seconds go on.
            if self.status.safe:
                show_warning(text)
            self.status = Status(False, text)
            self.told.emit(self.status)


def session_of(viewer: napari.viewer.Viewer, widget: QWidget | None = None) -> Session:
    """The session of a viewer, begun if there is none; ``widget`` is one of its modules, by which it finds its window."""
    session = _sessions.get(unwrapped(viewer))
    if session is None:
        session = _sessions[unwrapped(viewer)] = Session(viewer)
    if widget is not None:
        # A widget is docked only after it was made.
        QTimer.singleShot(0, partial(session.follow, widget))
    return session
