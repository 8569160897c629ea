"""One segmentation in the background, from the button to the finished mask."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari.layers import Layer
from qtpy.QtCore import QObject, Signal
from superqt.utils import qthrottled

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.predicted import ModelLoaded, PredictedSlice
from napari_lungseg.steps import Step
from napari_lungseg.translation import say
from napari_lungseg.volume import Volume
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.lookup import result_for
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.segment.reading import DrawnSlices, SegmentJob, Stage, request_prediction
from napari_lungseg.widgets.tasks import Task
from napari_lungseg.widgets.view import is_shown, voxel_shape
from napari_lungseg.widgets.worker import Failure
from napari_lungseg.workspace import Source

if TYPE_CHECKING:
    import napari.viewer

#: Runs that may not be over; two at once on one image would write over each other.
_runs: WeakSet[SegmentRun] = WeakSet()
#: Shortest time, in milliseconds, between two refreshes of the canvas.
REFRESH_MS = 100
#: Shortest time, in seconds, between two reports of progress.
PROGRESS_S = 0.5


class SegmentRun(QObject):
    """Predict one volume and write it into its layers slice by slice.

    The engine only computes. Everything that arrives is written here, on the GUI thread, so that nothing more is
    written once the run is over.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the layers are.
    job : SegmentJob
        What to segment.
    threshold : float
        Fraction above which a voxel is shown as lung until the mask is made; may be set at any time.
    as_image : bool
        Show the probability as an image layer rather than a label layer.
    """

    #: What is being done.
    told = Signal(str)
    #: Something the person should notice.
    noticed = Signal(str)
    #: Slices done, slices in all, seconds left.
    progressed = Signal(int, int, float)
    #: The end: None, or why it ended early. ``document`` holds what has been predicted, if anything.
    ended = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer, job: SegmentJob, threshold: float, *, as_image: bool) -> None:
        super().__init__()
        self.job = job
        self.threshold = threshold
        self.result: MaskLayer | None = None
        self.document: MaskDocument | None = None
        self.step: Step | None = None
        self.new_layers = False
        self.over = False
        self.undone = False
        self.done = 0
        self._viewer = viewer
        self._as_image = as_image
        self._began = self._told = 0.0
        self._volume: Volume | None = None
        self._blind: frozenset[int] = frozenset()
        self._task = Task(self, say("The segmentation"))
        self._task.yielded.connect(self._arrived)
        self._task.returned.connect(self._finished)
        self._task.failed.connect(self._failed)
        self._refresh = qthrottled(self._show, timeout=REFRESH_MS, parent=self)

    def start(self) -> None:
        """Begin."""
        _runs.add(self)
        self._viewer.layers.events.removed.connect(self._check_layers)
        self._task.run(request_prediction, self.job)

    def stop(self, reason: str) -> None:
        """End now and keep what is done; what the worker still computes is dropped."""
        if self.over:
            return
        self._task.cancel()
        self._end(reason)

    def _arrived(self, item: Any) -> None:
        if self.over:
            return
        if isinstance(item, Stage):
            self.told.emit(item.text)
        elif isinstance(item, Volume):
            self._volume = item
        elif isinstance(item, DrawnSlices):
            self._blind = item.slices
        elif isinstance(item, ModelLoaded):
            self._prepare(item)
        elif isinstance(item, PredictedSlice):
            self._write(item)
        else:
            self.noticed.emit(tr(item.text))

    def _prepare(self, model: ModelLoaded) -> None:
        assert self._volume is not None
        layer = self.job.layer
        self.result = result_for(self._viewer, layer, voxel_shape(layer))
        self.new_layers = not self.result.complete(self._viewer)
        again = self.result.has_lungs(self._viewer)
        self.result.show(self._viewer, model.classes)
        self.document = self.result.document(self.job.time_index)
        self.document.place(self._volume)
        if again:
            self.step = self.document.begin("segment again")
        elif self._blind:
            self.document.withhold(self._blind)
            self.noticed.emit(
                tr(
                    "To be read blind, without the model's mask: {count} of {total} slices; see Review.",
                    count=len(self._blind),
                    total=self.document.slices,
                )
            )
        self.document.make_by(Source(model.name, model.weights_sha256), model.classes)
        self.result.show_probability(self._viewer, as_image=self._as_image)
        self.result.stepped.connect(self._stepped)
        self.told.emit(tr("Segmenting …"))
        self._began = time.perf_counter()

    def _write(self, item: PredictedSlice) -> None:
        assert self.document is not None
        where = (slice(None),) * item.axis + (item.index,) if self.document.labels.ndim == 3 else ()
        self.document.put_predicted(where, item, self.threshold, self.step)
        self.done = item.done
        now = time.perf_counter()
        if now - self._told >= PROGRESS_S or item.done == item.total:
            self._told = now
            self.progressed.emit(item.done, item.total, (now - self._began) / item.done * (item.total - item.done))
        if is_shown(self._viewer, self.job.layer, item.axis, item.index):
            self._refresh()

    def _show(self) -> None:
        if self.result is None or self.over:
            return
        began = time.perf_counter()
        self.result.refresh()
        # A slow canvas (3-D, large slices) gets fewer refreshes, not a slow window.
        self._refresh.setTimeout(max(REFRESH_MS, int(5000 * (time.perf_counter() - began))))

    def _check_layers(self) -> None:
        if self.result is not None and not self.result.complete(self._viewer):
            self.stop(tr("A layer of the segmentation was removed."))
        elif self.result is None and self.job.layer not in self._viewer.layers:
            self.stop(tr("The image was removed."))

    def _stepped(self, step: Step, _: bool) -> None:
        if step is self.step:
            self.undone = True
            self.stop(tr("Undone."))

    def _finished(self) -> None:
        if not self.over:
            self._end(None)

    def _failed(self, text: str) -> None:
        if not self.over:
            self._end(Failure(text))

    def _end(self, reason: str | Failure | None) -> None:
        self.over = True
        self._refresh.cancel()
        self._viewer.layers.events.removed.disconnect(self._check_layers)
        if self.result is not None:
            self.result.stepped.disconnect(self._stepped)
        if reason is not None and self.step is None and self.document is not None:
            # What the model says of the others is not known.
            self.document.reveal()
        self.ended.emit(reason)


def is_running(layer: Layer) -> bool:
    """Whether a layer is being segmented, by this window or another."""
    return any(run.job.layer == layer and not run.over for run in _runs)
