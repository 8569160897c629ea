"""One viewer's work and where it is kept: masks are watched, saved, and found again when their image is opened."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from napari.layers import Layer
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox, QWidget

from napari_lungseg.steps import Box
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.background import create_worker
from napari_lungseg.widgets.layers import volume_from_layer
from napari_lungseg.widgets.lookup import is_image, result_for, result_of, viewer_key
from napari_lungseg.widgets.results import RESULTS, Result
from napari_lungseg.widgets.saving.autosave import Autosave, Note, Status, Track
from napari_lungseg.widgets.saving.preferences import user_name, workspace_folder
from napari_lungseg.widgets.view import displayed_step, voxel_shape
from napari_lungseg.widgets.worker import Failed, sentence
from napari_lungseg.workspace import Case, CaseSummary, Saved, Workspace, content_hash, damaged

if TYPE_CHECKING:
    import napari.viewer

#: Seconds without an answer of the disk after which the person is told.
SILENCE_S = 5.0
#: Seconds that closing the window may take for what still waits to be saved.
WAIT_S = 5.0

_sessions: dict[int, Session] = {}


@dataclass(frozen=True, eq=False)
class Offer:
    """Work on an image that was found in the workspace.

    Attributes
    ----------
    layer : Image
        The image.
    step : tuple of int
        Which volume of it.
    volume : Volume
        Its geometry.
    case : Case
        Under what the work is kept.
    """

    layer: Layer
    step: tuple[int, ...]
    volume: Volume
    case: Case
    summary: CaseSummary

    @property
    def text(self) -> str:
        """What was found, for the person."""
        at = f" of {self.summary.changed.astimezone():%d %b %Y, %H:%M}" if self.summary.changed else ""
        far = f"slices: {self.summary.corrected} corrected, {self.summary.reviewed} reviewed"
        return f"The workspace has your work on {self.layer.name}{at} ({far})."


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
    #: Work that was found for images, as a list of offers, has changed.
    offers_changed = Signal()
    #: An image was opened to go on with that the workspace does not know.
    fresh = Signal(object)
    #: Slices are on disk: the track, and their indices.
    saved = Signal(object, list)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.workspace: Workspace | None = None
        self.status = Status(True, "Opening the workspace …")
        self.offers: list[Offer] = []
        self.unfinished: list[Case] = []
        self._resuming: list[Layer] = []
        # napari's own bookkeeping is not to be kept alive by this.
        self._window: ReferenceType[QWidget] | None = None
        self._watched: dict[int, tuple[Result, Callable[[Box, str], None]]] = {}
        self._tracks: dict[tuple[int, tuple[int, ...]], Track] = {}
        #: Cases of masks that came back, as :attr:`_tracks`.
        self._found: dict[tuple[int, tuple[int, ...]], Case] = {}
        self._silence = QTimer(self)
        self._silence.setInterval(1000)
        self._silence.timeout.connect(self._check_silence)
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        RESULTS.begun.connect(self._watch)
        QApplication.instance().aboutToQuit.connect(self.close)
        self._open(workspace_folder())
        self._silence.start()

    # ---- the workspace

    def _open(self, folder: Path) -> None:
        self._autosave = Autosave(folder, user_name())
        self._autosave.opened.connect(self._opened)
        self._autosave.told.connect(self._tell)
        self._autosave.saved.connect(self.saved)
        self._autosave.unseen.connect(self._unseen)
        self._autosave.start()

    def choose(self, folder: Path) -> None:
        """Keep the work in another workspace from now on; all that is in the window goes there too."""
        # All goes to the new one, so that there is no need to wait for an old disk that does not answer.
        self._autosave.close(timeout_s=1.0)
        self.workspace = None
        tracks = list(self._tracks.values())
        self._open(folder)
        for track in tracks:
            track.case = None
            self._autosave.watch(track)
            self._autosave.put(track, range(track.slices), "another workspace")

    def close(self) -> bool:
        """Save what waits and let go of the viewer; tells whether all is on disk."""
        _sessions.pop(viewer_key(self.viewer), None)
        self._silence.stop()
        RESULTS.begun.disconnect(self._watch, missing_ok=True)
        for name, callback in (("inserted", self._inserted), ("removed", self._removed)):
            getattr(self.viewer.layers.events, name).disconnect(callback)
        return self._autosave.close()

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
        if event.type() == QEvent.Type.Close and not self._autosave.flush(WAIT_S) and not self._ask():
            event.ignore()
            return True
        return bool(super().eventFilter(watched, event))

    def _ask(self) -> bool:
        """Ask what is to become of work that cannot be saved; tells whether the window may close."""
        box = QMessageBox(self._parent())
        box.setIcon(QMessageBox.Icon.Warning)
        box.setWindowTitle("Not saved")
        box.setText("Some of your corrections are not on disk.")
        box.setInformativeText(self.status.text)
        elsewhere = box.addButton("Save in another folder …", QMessageBox.ButtonRole.AcceptRole)
        leave = box.addButton("Close without saving", QMessageBox.ButtonRole.DestructiveRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(elsewhere)
        box.exec()
        if box.clickedButton() is leave:
            return True
        if box.clickedButton() is not elsewhere:
            return False
        folder = QFileDialog.getExistingDirectory(self._parent(), "A folder to save the work in")
        if not folder:
            return False
        self.choose(Path(folder))
        return self._autosave.flush(WAIT_S)

    def _parent(self) -> QWidget | None:
        return None if self._window is None else self._window()

    def _opened(self, workspace: Workspace | str) -> None:
        if isinstance(workspace, str):
            self._tell(Status(False, workspace))
            return
        self.workspace = workspace
        if workspace.why_read_only:
            self._tell(Status(False, f"{workspace.why_read_only} What you change in this window is not saved."))
        else:
            self._tell(Status(True, "Every change is saved by itself."))
        if workspace.told:
            show_warning(workspace.told)
        self.unfinished = [case for case in workspace.unfinished() if case.path is not None]
        self.offers_changed.emit()
        self.opened.emit(workspace)
        for layer in self.viewer.layers:
            self._recognise(layer)

    def _tell(self, status: Status) -> None:
        before, self.status = self.status, status
        if not status.safe and (before.safe or before.text != status.text):
            show_warning(status.text)
        elif status.safe and not before.safe:
            show_info(status.text)
        self.told.emit(status)

    def _check_silence(self) -> None:
        if self.workspace is not None and not self._autosave.alive:
            self._tell(Status(False, "Saving has stopped; your work is in memory. Choose the workspace again, and look into the log."))
            return
        silent = self._autosave.silent_s
        if silent > SILENCE_S:
            text = (
                f"Nothing was saved for {silent:.0f} s: the workspace's disk does not answer. "
                "Your work is in memory; choose another workspace."
            )
            # Told once; then only the seconds go on.
            if self.status.safe:
                show_warning(text)
            self.status = Status(False, text)
            self.told.emit(self.status)

    # ---- what is saved

    def track(self, result: Result, step: tuple[int, ...]) -> Track:
        """The track of one volume of a result."""
        key = id(result), step
        track = self._tracks.get(key)
        if track is None or track.corrections is not result.corrections:
            if track is not None:
                self._autosave.forget(track)
            track = self._tracks[key] = Track.of(result, step)
            if (case := self._found.get(key)) is not None:
                track.belong(case)
            self._autosave.watch(track)
        return track

    def note(self, track: Track, note: Note) -> None:
        """Write something about a case down, in the background."""
        self._autosave.note(track, note)

    @property
    def tracks(self) -> list[Track]:
        """All masks that are watched."""
        return list(self._tracks.values())

    def _watch(self, result: Result) -> None:
        if result.lungs is not None and result.lungs in self.viewer.layers and id(result) not in self._watched:
            told = partial(self._changed, result)
            self._watched[id(result)] = result, told
            result.changed.connect(told)

    def _changed(self, result: Result, box: Box, cause: str) -> None:
        for step in steps_in(box):
            track = self.track(result, step)
            self._autosave.put(track, track.touched(box), cause)

    def _unseen(self, track: Track) -> None:
        # A stroke that is on its way will be told of when it ends.
        if QApplication.mouseButtons() == Qt.MouseButton.NoButton and track.lungs is track.result.lungs:
            track.result.sync()

    def _removed(self, event: Any) -> None:
        layer = event.value
        # Nothing of a case that was put away stays in memory; what still waits to be saved is with the autosave.
        for number, (result, told) in list(self._watched.items()):
            if layer == result.lungs:
                result.changed.disconnect(told)
                del self._watched[number]
        for key, track in list(self._tracks.items()):
            if layer == track.lungs:
                self._autosave.forget(track)
                del self._tracks[key]
                self._found.pop(key, None)
        self.offers = [offer for offer in self.offers if offer.layer != layer]
        self.offers_changed.emit()

    # ---- what is found again

    def _inserted(self, event: Any) -> None:
        self._recognise(event.value)

    def _recognise(self, layer: Layer) -> None:
        if self.workspace is None or not is_image(layer) or result_of(layer) is not None:
            return
        worker = create_worker(_recognise, self.workspace, layer, displayed_step(self.viewer, layer))
        worker.returned.connect(self._recognised)
        worker.start()

    def _recognised(self, recognised: tuple[Layer, Offer | Failed | None]) -> None:
        layer, offer = recognised
        resume = layer in self._resuming
        self._resuming = [other for other in self._resuming if other != layer]
        if layer not in self.viewer.layers or result_of(layer) is not None:
            return
        if isinstance(offer, Offer):
            self.unfinished = [case for case in self.unfinished if case != offer.case]
            self.offers.append(offer)
            if resume:
                self.accept(offer)
            self.offers_changed.emit()
        elif resume:
            self.fresh.emit(layer)

    def go_on(self, path: Path) -> None:
        """Open an image, with the work on it if there is any."""
        self.unfinished = [case for case in self.unfinished if case.path != path]
        self.offers_changed.emit()
        try:
            layers = self.viewer.open(str(path), plugin="napari-lungseg")
        except Exception as error:
            show_error(sentence(error))
            return
        for layer in layers:
            self._resuming.append(layer)
            self._recognise(layer)

    def pass_over(self) -> None:
        """Leave the work of the last session where it is."""
        self.unfinished = []
        self.offers_changed.emit()

    def accept(self, offer: Offer) -> None:
        """Show the work that was found."""
        assert self.workspace is not None
        worker = create_worker(_load, self.workspace, offer)
        worker.returned.connect(self._loaded)
        worker.start()

    def decline(self, offer: Offer) -> None:
        """Leave it in the workspace."""
        self.offers.remove(offer)
        self.offers_changed.emit()

    def _loaded(self, loaded: tuple[Offer, Saved] | Failed) -> None:
        if isinstance(loaded, Failed):
            show_error(loaded.text)
            return
        offer, saved = loaded
        if offer not in self.offers:
            return
        self.decline(offer)
        if offer.layer not in self.viewer.layers:
            return
        result = result_for(offer.layer, voxel_shape(offer.layer))
        self._found[id(result), offer.step] = offer.case
        result.restore(self.viewer, offer.step, offer.volume, saved)
        if saved.damage:
            show_warning(f"Not all of {offer.case.name} is as it was saved: {damaged(saved.damage)}.")


def session_of(viewer: napari.viewer.Viewer, widget: QWidget | None = None) -> Session:
    """The session of a viewer, begun if there is none; ``widget`` is one of its modules, by which it finds its window."""
    session = _sessions.get(viewer_key(viewer))
    if session is None:
        session = _sessions[viewer_key(viewer)] = Session(viewer)
    if widget is not None:
        # A widget is docked only after it was made.
        QTimer.singleShot(0, partial(session.follow, widget))
    return session


def steps_in(box: Box) -> list[tuple[int, ...]]:
    """Time steps that a box in a layer's axes reaches; the empty one where there are none."""
    steps: list[tuple[int, ...]] = [()]
    for part in box[: max(0, len(box) - 3)]:
        steps = [(*step, index) for step in steps for index in range(part.start, part.stop)]
    return steps


def _recognise(workspace: Workspace, layer: Layer, step: tuple[int, ...]) -> tuple[Layer, Offer | Failed | None]:
    try:
        volume = volume_from_layer(layer, step)
        case = workspace.find(content_hash(volume.array))
        summary = next((known for known in workspace.cases() if case is not None and known.case.id == case.id and known.saved), None)
        return layer, None if summary is None else Offer(layer, step, volume, summary.case, summary)
    except Exception as error:
        return layer, Failed(sentence(error))


def _load(workspace: Workspace, offer: Offer) -> tuple[Offer, Saved] | Failed:
    try:
        saved = workspace.load(offer.case)
        assert saved is not None
        return offer, saved
    except Exception as error:
        return Failed(sentence(error))
