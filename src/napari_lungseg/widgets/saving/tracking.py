"""The masks of one viewer on their way to the workspace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QApplication

from napari_lungseg.steps import Box
from napari_lungseg.widgets.documents import documents_of
from napari_lungseg.widgets.mask_layer import MaskLayer, TimeIndex
from napari_lungseg.widgets.saving.autosave import Autosave
from napari_lungseg.widgets.saving.states import SliceStates
from napari_lungseg.widgets.saving.track import Track
from napari_lungseg.widgets.saving.waiting import Note
from napari_lungseg.widgets.view import voxel_shape
from napari_lungseg.workspace import Case, Workspace

if TYPE_CHECKING:
    import napari.viewer


class Tracking(QObject):
    """Hears what changes in the documents of a viewer, and gives it to the autosave.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose masks are saved.

    Attributes
    ----------
    workspace : Workspace or None
        Where they are saved.
    watched : dict
        Masks that are heard, with what ends that.
    restoring : dict
        Cases of the masks that are being restored.
    """

    #: Slices are on disk: the track, and their indices.
    saved = Signal(object, list)
    #: Something of a mask is to be saved: its track.
    begun = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.workspace: Workspace | None = None
        self.watched: dict[MaskLayer, Callable[[], None]] = {}
        self.restoring: dict[tuple[MaskLayer, TimeIndex], Case] = {}
        self._viewer = viewer
        self._tracks: dict[tuple[MaskLayer, TimeIndex], Track] = {}
        self._states: dict[Track, SliceStates] = {}
        self._autosave: Autosave
        self.saved.connect(self._read_states)
        viewer.layers.events.removed.connect(self._removed)
        documents_of(viewer).begun.connect(self._watch)

    def save_by(self, autosave: Autosave) -> None:
        """Give what changes from now on to this autosave, which is still opening its workspace."""
        self.workspace, self._autosave = None, autosave
        autosave.saved.connect(self.saved)
        autosave.unseen.connect(self._unseen)

    def save_again(self, others: Iterable[Track]) -> None:
        """Save all masks, and others of which something still waited, in another workspace."""
        tracks = self.tracks
        for track in tracks + [track for track in others if track not in tracks]:
            track.case = None
            self._autosave.watch(track)
            self._autosave.put(track, range(track.slices), "another workspace")
            if track in tracks:
                self._states[track].tell_again()
            else:
                self._autosave.forget(track)

    def close(self) -> None:
        """Hear of nothing any more."""
        documents_of(self._viewer).begun.disconnect(self._watch, missing_ok=True)
        self._viewer.layers.events.removed.disconnect(self._removed)
        while self.watched:
            self.watched.popitem()[1]()

    def known(self, result: MaskLayer | None, time_index: TimeIndex) -> Track | None:
        """The track of a mask, if something of it was to be saved."""
        return None if result is None else self._tracks.get((result, time_index))

    def pending(self, track: Track) -> bool:
        """Whether something of a track waits to be saved."""
        return self._autosave.pending(track)

    def give_image(self, result: MaskLayer, tracks: Iterable[Track], image: Any) -> None:
        """Give a mask whose image was removed another layer of the same image."""
        self.watched.pop(result)()
        for track in tracks:
            track.layer = image
        documents_of(self._viewer).give_image(result, image)

    def track(self, result: MaskLayer, time_index: tuple[int, ...]) -> Track:
        """The track of one volume of a result."""
        key = result, time_index
        before = self._tracks.get(key)
        if before is not None and before.document is result.document(time_index):
            return before
        track = self._tracks[key] = Track.of(result, time_index)
        if before is not None:
            self._forget(before)
        if (result, time_index) in self.restoring:
            track.belong(self.restoring[result, time_index])
        self._autosave.watch(track)
        self._states[track] = SliceStates(track, self.note, lambda: self.workspace)
        return track

    def states(self, track: Track) -> SliceStates:
        """How far the work on the slices of a track has come."""
        return self._states[track]

    def _read_states(self, track: Track, _: list[int]) -> None:
        if track in self._states:
            self._states[track].read()

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
        for other in [other for other in self.watched if other.lungs is None]:
            self._forget_mask(other)
        if result.lungs is None or result.lungs not in self._viewer.layers or result in self.watched:
            return
        image, changed, replaced = result.image, partial(self._changed, result), partial(self._image_replaced, result)
        result.changed.connect(changed)
        image.events.data.connect(replaced)

        def end() -> None:
            result.changed.disconnect(changed)
            image.events.data.disconnect(replaced)

        self.watched[result] = end

    def _forget_mask(self, result: MaskLayer) -> None:
        if result in self.watched:
            self.watched.pop(result)()
        for key, track in list(self._tracks.items()):
            if track.result is result:
                self._forget(track)
                del self._tracks[key]

    def _changed(self, result: MaskLayer, box: Box, cause: str) -> None:
        assert result.lungs is not None
        if cause == "restored":
            return  # from the workspace
        for time_index in time_points_in(box):
            # A mask that was begun empty is no work yet, so that a time series is kept only where there is some.
            if cause != "import" or (result, time_index) in self._tracks or result.lungs.data[time_index].any():
                track = self.track(result, time_index)
                self._autosave.put(track, track.touched(box), cause)
                self.begun.emit(track)

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
        documents_of(self._viewer).begun.emit(result)

    def _unseen(self, track: Track) -> None:
        # A stroke that is on its way will be told of when it ends.
        if QApplication.mouseButtons() == Qt.MouseButton.NoButton and track.document is track.result.documents.get(track.time_index):
            track.result.sync()

    def _removed(self, event: Any) -> None:
        layer = event.value
        # Nothing of a case that was put away stays in memory; what still waits to be saved is with the autosave.
        for result in [result for result in self.watched if layer == result.lungs]:
            self._forget_mask(result)


def time_points_in(box: Box) -> list[tuple[int, ...]]:
    """Time points that a box in a layer's axes reaches; the empty one where there are none."""
    points: list[tuple[int, ...]] = [()]
    for part in box[: max(0, len(box) - 3)]:
        points = [(*point, index) for point in points for index in range(part.start, part.stop)]
    return points
