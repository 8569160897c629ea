"""One viewer's work and where it is kept: masks are watched, saved, and found again when their image is opened."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, ref

from napari.layers import Layer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox, QWidget

from napari_lungseg.steps import Box
from napari_lungseg.widgets.documents import documents_of
from napari_lungseg.widgets.lookup import is_image, result_for, result_of
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.napari_compat import unwrapped
from napari_lungseg.widgets.notices import show_error, show_info, show_warning
from napari_lungseg.widgets.saving.autosave import SAVED_BY_ITSELF, Autosave, Note, Status
from napari_lungseg.widgets.saving.preferences import user_name, workspace_folder
from napari_lungseg.widgets.saving.recognition import Found, Offer, Search
from napari_lungseg.widgets.saving.states import SliceStates
from napari_lungseg.widgets.saving.track import Track
from napari_lungseg.widgets.tasks import run_once
from napari_lungseg.widgets.texts import plain_box
from napari_lungseg.widgets.view import displayed_step, voxel_shape
from napari_lungseg.widgets.worker import Failed, sentence
from napari_lungseg.workspace import Case, Saved, Workspace, damaged

if TYPE_CHECKING:
    import napari.viewer

#: Seconds without an answer of the disk after which the person is told.
SILENCE_S = 5.0
#: Seconds that closing the window may take for what still waits to be saved.
WAIT_S = 5.0

_sessions: dict[int, Session] = {}


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
        self._searches: list[Search] = []
        self._resuming = False
        # napari's own bookkeeping is not to be kept alive by this.
        self._window: ReferenceType[QWidget] | None = None
        #: Results with the ends of what this hears of them.
        self._watched: dict[MaskLayer, Callable[[], None]] = {}
        self._tracks: dict[tuple[MaskLayer, tuple[int, ...]], Track] = {}
        self._states: dict[Track, SliceStates] = {}
        #: Cases of masks that are coming back, as :attr:`_tracks`.
        self._found: dict[tuple[MaskLayer, tuple[int, ...]], Case] = {}
        self._silence = QTimer(self)
        self._silence.setInterval(1000)
        self._silence.timeout.connect(self._check_silence)
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        documents_of(viewer).begun.connect(self._watch)
        QApplication.instance().aboutToQuit.connect(self.close)
        self._open(workspace_folder())
        self._silence.start()

    # ---- the workspace

    def _open(self, folder: Path) -> None:
        self._autosave = Autosave(folder, user_name())
        self._autosave.opened.connect(self._opened)
        self._autosave.told.connect(self._tell)
        self._autosave.noticed.connect(show_warning)
        self._autosave.saved.connect(self.saved)
        self._autosave.unseen.connect(self._unseen)
        self._autosave.start()

    def choose(self, folder: Path) -> None:
        """Keep the work in another workspace from now on; all that is in the window goes there too."""
        # All goes to the new one, so that there is no need to wait for an old disk that does not answer.
        before = self._autosave
        before.close(timeout_s=1.0)
        before.blockSignals(True)
        self.workspace = None
        self._stop_searches()
        self.offers, self.unfinished = [], []
        self.offers_changed.emit()
        self._open(folder)
        tracks = self.tracks
        for track in tracks + [track for track in before.unsaved if track not in tracks]:
            track.case = None
            self._autosave.watch(track)
            self._autosave.put(track, range(track.slices), "another workspace")
            if track in tracks:
                self._states[track].tell_again()
            else:
                self._autosave.forget(track)

    def close(self) -> bool:
        """Save what waits and let go of the viewer; tells whether all is on disk."""
        _sessions.pop(id(unwrapped(self.viewer)), None)
        self._silence.stop()
        self._stop_searches()
        documents_of(self.viewer).begun.disconnect(self._watch, missing_ok=True)
        for name, callback in (("inserted", self._inserted), ("removed", self._removed)):
            getattr(self.viewer.layers.events, name).disconnect(callback)
        saved = self._autosave.close()
        while self._watched:
            self._watched.popitem()[1]()
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
        if event.type() == QEvent.Type.Close and not self._autosave.flush(WAIT_S) and not self._ask():
            event.ignore()
            return True
        return bool(super().eventFilter(watched, event))

    def _ask(self) -> bool:
        """Ask what is to become of work that cannot be saved; tells whether the window may close."""
        box = plain_box(QMessageBox(self._parent()))
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

    def _opened(self, workspace: Workspace | str, unfinished: list[Case]) -> None:
        if isinstance(workspace, str):
            self._tell(Status(False, workspace))
            return
        self.workspace = workspace
        if workspace.why_read_only:
            self._tell(Status(False, f"{workspace.why_read_only} What you change in this window is not saved."))
        else:
            self._tell(Status(True, SAVED_BY_ITSELF))
        if workspace.told:
            show_warning(workspace.told)
        self.unfinished = [case for case in unfinished if case.path is not None]
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
        image, reading = self._autosave.reading_s
        if reading > SILENCE_S:
            self._tell(Status(False, f"{image} is still being read; what you change there is in memory until then."))
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

    def track(self, result: MaskLayer, step: tuple[int, ...]) -> Track:
        """The track of one volume of a result."""
        key = result, step
        before = self._tracks.get(key)
        if before is not None and before.document is result.document(step):
            return before
        track = self._tracks[key] = Track.of(result, step)
        if before is not None:
            self._forget(before)
        if key in self._found:
            track.belong(self._found[key])
        self._autosave.watch(track)
        self._states[track] = SliceStates(self, track)
        return track

    def states(self, track: Track) -> SliceStates:
        """How far the work on the slices of a track has come."""
        return self._states[track]

    def _forget(self, track: Track) -> None:
        self._autosave.forget(track)
        self._states.pop(track).end()

    def note(self, track: Track, note: Note) -> None:
        """Write something about a case down, in the background."""
        self._autosave.note(track, note)

    @property
    def tracks(self) -> list[Track]:
        """All masks that are watched."""
        return list(self._tracks.values())

    def _watch(self, result: MaskLayer) -> None:
        """Hear of a result; of one that has lost its mask to another no longer."""
        for other in [other for other in self._watched if other.lungs is None]:
            self._unwatch(other)
        if result.lungs is None or result.lungs not in self.viewer.layers or result in self._watched:
            return
        image, changed, replaced = result.image, partial(self._changed, result), partial(self._image_replaced, result)
        result.changed.connect(changed)
        image.events.data.connect(replaced)

        def end() -> None:
            result.changed.disconnect(changed)
            image.events.data.disconnect(replaced)

        self._watched[result] = end

    def _unwatch(self, result: MaskLayer) -> None:
        if result in self._watched:
            self._watched.pop(result)()
        for key, track in list(self._tracks.items()):
            if track.result is result:
                self._forget(track)
                del self._tracks[key]

    def _changed(self, result: MaskLayer, box: Box, cause: str) -> None:
        assert result.lungs is not None
        if cause == "restored":
            return  # from the workspace
        for step in steps_in(box):
            # A mask that was begun empty is no work yet, so that a time series is kept only where there is some.
            if cause != "import" or (result, step) in self._tracks or result.lungs.data[step].any():
                track = self.track(result, step)
                self._autosave.put(track, track.touched(box), cause)
                # What was offered for it would be mixed with what is begun now.
                self._withdraw([offer for offer in self.offers if offer.layer == track.layer and offer.step == step])

    def _image_replaced(self, result: MaskLayer, _: Any = None) -> None:
        """Keep a mask under what its image shows now; what it was before stays under the old one."""
        if result.lungs is None or voxel_shape(result.image) != result.shape:
            return
        for key, track in list(self._tracks.items()):
            if track.result is not result:
                continue
            if self._autosave.pending(track):
                track.freeze()
            self._forget(track)
            del self._tracks[key]
            track = self.track(result, track.time_index)
            self._autosave.put(track, range(track.slices), "image replaced")
        documents_of(self.viewer).begun.emit(result)

    def _unseen(self, track: Track) -> None:
        # A stroke that is on its way will be told of when it ends.
        if QApplication.mouseButtons() == Qt.MouseButton.NoButton and track.document is track.result.documents.get(track.time_index):
            track.result.sync()

    def _removed(self, event: Any) -> None:
        layer = event.value
        # Nothing of a case that was put away stays in memory; what still waits to be saved is with the autosave.
        for result in [result for result in self._watched if layer == result.lungs]:
            self._unwatch(result)
        self._stop_searches(layer)
        self._withdraw([offer for offer in self.offers if offer.layer == layer])

    # ---- what is found again

    def _inserted(self, event: Any) -> None:
        self._recognise(event.value)

    def _recognise(self, layer: Layer) -> None:
        if self.workspace is None or not is_image(layer) or (layer.ndim <= 3 and result_of(layer) is not None):
            return
        orphans = {track.volume.shape for track in self.tracks if track.result.image not in self.viewer.layers}
        search = Search(self.workspace, layer, displayed_step(self.viewer, layer), orphans, resume=self._resuming)
        self._searches.append(search)
        run_once(self, f"Looking for saved work on {layer.name}", search.run, done=self._recognised, failed=show_warning)

    def _stop_searches(self, layer: Layer | None = None) -> None:
        """End the searches for an image, or all."""
        for search in [search for search in self._searches if layer is None or search.layer == layer]:
            search.cancelled = True
            self._searches.remove(search)

    def _recognised(self, searched: tuple[Search, list[Found] | Failed]) -> None:
        search, found = searched
        if search not in self._searches:
            return
        self._searches.remove(search)
        if isinstance(found, Failed):
            show_warning(found.text)
            found = []
        if self._give_back(search.layer, found):
            return
        offers = []
        for one in found:
            if (offer := self._offer(search.layer, one)) is not None:
                offers.append(offer)
                self.offers.append(offer)
        self.unfinished = [case for case in self.unfinished if case not in [offer.case for offer in offers]]
        self.offers_changed.emit()
        if search.resume:
            for offer in offers:
                self.accept(offer)
            if not offers:
                self.fresh.emit(search.layer)

    def _give_back(self, layer: Layer, found: list[Found]) -> bool:
        """Give an image back to the mask that stayed here when it was removed; tells whether there is one."""
        contents = {one.step: one.content for one in found}
        for result in self._watched:
            tracks = [track for track in self.tracks if track.result is result]
            if (
                tracks
                and result.image not in self.viewer.layers
                and result_of(layer) is None
                and all(track.content is not None and track.content == contents.get(track.time_index) for track in tracks)
            ):
                self._watched.pop(result)()
                for track in tracks:
                    track.layer = layer
                documents_of(self.viewer).give_image(result, layer)
                return True
        return False

    def _offer(self, layer: Layer, found: Found) -> Offer | None:
        """What can be offered for a volume: a case that is in no other layer, where no work has begun."""
        result = result_of(layer)
        track = None if result is None else self._tracks.get((result, found.step))
        if track is not None and (track.case is not None or self._autosave.pending(track)):
            return None
        shown = [track.case for track in self.tracks] + [offer.case for offer in self.offers]
        free = [summary for summary in found.known if summary.case not in shown]
        return Offer(layer, found.step, found.volume, free[0].case, free[0], len(free) - 1) if free else None

    def go_on(self, path: Path) -> None:
        """Open an image, with the work on it if there is any."""
        self.unfinished = [case for case in self.unfinished if case.path != path]
        self.offers_changed.emit()
        self._resuming = True
        try:
            self.viewer.open(str(path), plugin="napari-lungseg")
        except Exception as error:
            show_error(sentence(error, f"Opening {path.name}"))
        finally:
            self._resuming = False

    def pass_over(self) -> None:
        """Leave the work of the last session where it is."""
        self.unfinished = []
        self.offers_changed.emit()

    def accept(self, offer: Offer) -> None:
        """Show the work that was found."""
        assert self.workspace is not None
        run_once(self, f"Loading the work on {offer.layer.name}", _load, self.workspace, offer, done=self._loaded, failed=show_error)

    def decline(self, offer: Offer) -> None:
        """Leave it in the workspace."""
        self._withdraw([offer])

    def _withdraw(self, offers: list[Offer]) -> None:
        if offers:
            self.offers = [offer for offer in self.offers if offer not in offers]
            self.offers_changed.emit()

    def _loaded(self, loaded: tuple[Offer, Saved | Failed]) -> None:
        offer, saved = loaded
        if offer not in self.offers:
            return
        self.decline(offer)
        if isinstance(saved, Failed):
            show_error(saved.text)
            return
        result = result_for(self.viewer, offer.layer, voxel_shape(offer.layer))
        self._found[result, offer.step] = offer.case
        result.restore(self.viewer, offer.step, offer.volume, saved)
        del self._found[result, offer.step]
        # Whoever shows the volume may have begun its track already.
        track = self.track(result, offer.step)
        track.belong(offer.case)
        self.saved.emit(track, [])
        if saved.damage:
            show_warning(f"Not all of {offer.case.name} is as it was saved: {damaged(saved.damage)}.")


def session_of(viewer: napari.viewer.Viewer, widget: QWidget | None = None) -> Session:
    """The session of a viewer, begun if there is none; ``widget`` is one of its modules, by which it finds its window."""
    session = _sessions.get(id(unwrapped(viewer)))
    if session is None:
        session = _sessions[id(unwrapped(viewer))] = Session(viewer)
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


def _load(workspace: Workspace, offer: Offer) -> tuple[Offer, Saved | Failed]:
    try:
        saved = workspace.load(offer.case)
        assert saved is not None
    except Exception as error:
        return offer, Failed(sentence(error, f"Loading the work on {offer.layer.name}"))
    return offer, saved
