"""The Segment module: lungs of an image layer, by one button."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from qtpy.QtCore import Signal
from superqt.utils import qdebounced

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.steps import Step
from napari_lungseg.translation import say
from napari_lungseg.volume import Array
from napari_lungseg.widgets.causes import told_step
from napari_lungseg.widgets.forms import fill_module
from napari_lungseg.widgets.language import tr, tr_n
from napari_lungseg.widgets.lookup import is_image, result_of
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.model_choice import ModelChoice
from napari_lungseg.widgets.notices import show_error, show_warning
from napari_lungseg.widgets.panel import Panel
from napari_lungseg.widgets.preferences import preferences
from napari_lungseg.widgets.remask import MaskRequest
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.widgets.segment.controls import Controls
from napari_lungseg.widgets.segment.reading import Look, SegmentJob, look
from napari_lungseg.widgets.segment.segment_run import SegmentRun, is_running
from napari_lungseg.widgets.tasks import Task
from napari_lungseg.widgets.view import displayed_slice, displayed_time_index, displayed_voxel
from napari_lungseg.widgets.worker import Failure

if TYPE_CHECKING:
    import napari.viewer

#: Milliseconds for which the threshold must rest before the whole mask is made anew.
REST_MS = 200


@dataclass
class ThresholdDrag:
    """The threshold on its way: what it changes, and the labels on the slice that follows it."""

    result: MaskLayer
    document: MaskDocument
    step: Step
    label: tuple[tuple[Any, ...], Array] | None = None


class SegmentWidget(Panel):
    """Segment the lungs of an image layer and make its mask anew when threshold or post-processing change.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given by napari.
    """

    #: Nothing is running any more. The text says what went wrong, and is empty if nothing did.
    idle = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.controls = Controls(self._images)
        self._run: SegmentRun | None = None
        self._look: Look | None = None
        self._began = 0.0
        self._drag: ThresholdDrag | None = None
        self._heard: MaskLayer | None = None
        self._looking = Task(self, say("Reading the image"))
        self._looking.returned.connect(self._looked)
        self._looking.failed.connect(self.controls.tell)
        self._remask_later = qdebounced(self._remask, timeout=REST_MS, parent=self)
        fill_module(self, self.controls)
        # From now on all masks are saved, whatever module they are changed in.
        session_of(viewer, self).recognition.fresh.connect(self._segment_case)
        self._connect()
        self._follow()
        self._image_changed()
        self._model = ModelChoice(self.controls.model, self.controls.device, self)
        self._model.failed.connect(self.controls.tell)

    def _connect(self) -> None:
        controls = self.controls
        controls.image.changed.connect(self._image_changed)
        controls.run.changed.connect(self._pressed)
        controls.open_sample.clicked.connect(lambda: self.viewer.open_sample("napari-lungseg", "chest-ct"))
        controls.threshold.changed.connect(self._threshold_changed)
        controls.axis.changed.connect(lambda: controls.show_look(self._look))
        for step in controls.steps.values():
            step.changed.connect(self._remask_later)
        self.listen_to_layers(self._layers_changed, self._listen)
        self.listen(self.viewer.layers.selection.events.active, self._follow)
        self.listen(self.viewer.dims.events.current_step, self._time_changed)

    # ---- which image

    def _images(self, _: Any = None) -> list[Layer]:
        return [layer for layer in self.viewer.layers if is_image(layer)]

    def _layers_changed(self) -> None:
        before = self.controls.image.value
        self.controls.image.reset_choices()
        if self.controls.image.value is before:
            return
        self._image_changed()

    def _follow(self) -> None:
        active = self.viewer.layers.selection.active
        if active is not None and is_image(active) and active in self.controls.image.choices:
            self.controls.image.value = active

    def _image_changed(self) -> None:
        layer = self.controls.image.value
        self._listen()
        self._look = None
        self.controls.show_look(None)
        self.controls.run.enabled = layer is not None or self._run is not None
        self.controls.first_steps.setVisible(layer is None)
        if layer is None:
            self._looking.forget()
            self.controls.tell("")
            return
        self.controls.tell("")
        self._looking.what = say("Reading {name}", name=layer.name)
        self._looking.run(look, layer, displayed_time_index(self.viewer, layer))

    def _looked(self, look: Look) -> None:
        self._look = look
        self.controls.show_look(look)

    # ---- running

    def _segment_case(self, layer: Layer) -> None:
        """Segment the next case of a folder, which was opened by itself."""
        if self._run is None and layer in self.controls.image.choices:
            self.controls.image.value = layer
            self._pressed()

    def _pressed(self) -> None:
        if self._run is not None:
            self._run.stop(tr("Cancelled."))
            return
        layer = self.controls.image.value
        if layer is None:
            return
        if is_running(layer):
            show_warning(tr("{name} is being segmented already.", name=layer.name))
            return
        controls = self.controls
        if (result := result_of(layer)) is not None:
            result.remasker.forget()
        job = SegmentJob(
            layer=layer,
            time_index=displayed_time_index(self.viewer, layer),
            unit=controls.chosen_unit(),
            model=self._model.chosen,
            device=controls.device.value,
            axis=controls.chosen_axis(),
            slices=controls.chosen_slices(),
            displayed=displayed_voxel(self.viewer, layer),
            blind_share=preferences().blind.percent / 100,
        )
        run = SegmentRun(self.viewer, job, controls.threshold.value / 100, as_image=controls.probability.value == "image layer")
        run.told.connect(self.controls.tell)
        run.noticed.connect(show_warning)
        run.progressed.connect(controls.show_progress)
        run.ended.connect(self._ended)
        self._run, self._began = run, time.perf_counter()
        controls.show_running(True)
        run.start()

    def _ended(self, reason: str | Failure | None) -> None:
        run, self._run = self._run, None
        assert run is not None
        self.controls.show_running(False)
        self.controls.run.enabled = self.controls.image.value is not None
        why = reason.text if isinstance(reason, Failure) else reason or ""
        if isinstance(reason, Failure):
            show_error(why)
        self.controls.tell(why)
        if run.result is None or run.document is None or not run.done or run.undone or not run.result.complete(self.viewer):
            self.idle.emit(why)
            return
        took = time.perf_counter() - self._began
        text = why or tr_n("{count} slice in {seconds:.0f} s.", "{count} slices in {seconds:.0f} s.", run.done, seconds=took)
        self._listen()
        self._make_mask(run.result, run.document, run.step, partial(self._mask_made, run.document, text=text, why=why))
        if run.new_layers:
            # While the mask is made: napari takes a while to draw its brush for the first time.
            run.result.offer_painting(self.viewer)

    # ---- the mask

    def _document(self) -> MaskDocument | None:
        """What has been predicted for the image and time point on the canvas, if its layers are there."""
        layer = self.controls.image.value
        result = result_of(layer) if layer is not None else None
        if layer is None or result is None or not result.complete(self.viewer):
            return None
        return result.predicted(displayed_time_index(self.viewer, layer))

    def _threshold_changed(self) -> None:
        threshold = self.controls.threshold.value / 100
        if self._run is not None:
            self._run.threshold = threshold
        layer, document = self.controls.image.value, self._document()
        if document is None:
            return
        if self._drag is None or self._drag.document is not document:
            result = result_of(layer)
            assert result is not None
            self._drag = ThresholdDrag(result, document, document.begin("threshold"))
        self._preview(self._drag, threshold)
        self._remask_later()

    def _preview(self, drag: ThresholdDrag, threshold: float) -> None:
        where = displayed_slice(self.viewer, drag.result.image)
        if where is None:
            return
        if drag.label is None or drag.label[0] != where:
            drag.label = where, drag.document.label_if_above(where)
        drag.document.preview(where, threshold, drag.label[1], drag.step)
        drag.result.refresh()

    def _remask(self) -> None:
        document = self._document()
        # The end of a run makes the mask with whatever is set then.
        if document is None or is_running(self.controls.image.value):
            return
        result = result_of(self.controls.image.value)
        assert result is not None
        if self._drag is None or self._drag.document is not document:
            self._drag = ThresholdDrag(result, document, document.begin("post-processing"))
        self._make_mask(result, document, self._drag.step, partial(self._mask_made, document))

    def _make_mask(self, result: MaskLayer, document: MaskDocument, step: Step | None, done: Callable[[int | Failure], None]) -> None:
        where = displayed_slice(self.viewer, result.image)
        first = where[0] if where and isinstance(where[0], int) else 0
        self.controls.tell(tr("Making the mask …"))
        result.remasker.request(MaskRequest(document, self.controls.mask_settings(), first, step, done))

    def _listen(self, _: Any = None) -> None:
        """Hear of what is undone in the mask of the chosen image."""
        layer = self.controls.image.value
        result = result_of(layer) if layer is not None else None
        if result is self._heard:
            if result is not None:
                self._show_settings()
            return
        if self._heard is not None:
            self._heard.stepped.disconnect(self._stepped)
        self._heard = result
        if result is not None:
            result.stepped.connect(self._stepped)
            self._show_settings()

    def _show_settings(self, _: Any = None) -> None:
        """Show how the displayed mask was made; of a time point that has none, leave what is set."""
        layer = self.controls.image.value
        if self._heard is None or layer is None:
            return
        document = self._heard.documents.get(displayed_time_index(self.viewer, layer))
        if document is not None and (document.predicted or not document.time_index):
            self.controls.show_settings(document.making.settings)

    def _time_changed(self) -> None:
        layer = self.controls.image.value
        if layer is not None and layer.ndim > 3 and self._run is None and self._drag is None:
            self._show_settings()

    def _stepped(self, step: Step, forward: bool) -> None:
        assert self._heard is not None
        if self._drag is not None and self._drag.step is step:
            self._remask_later.cancel()
            self._drag = None
            # The mask it was to lead to was never made whole.
            self._heard.corrections.forget_undone()
        self._show_settings()
        self.controls.tell(told_step(step, forward))

    def _mask_made(self, document: MaskDocument, made: int | Failure, text: str = "", why: str = "") -> None:
        self._drag = None
        if isinstance(made, Failure):
            show_error(made.text)
            text = why = made.text
        elif made == 0:
            text = tr(
                "No {classes} found at a threshold of {percent} %.",
                classes=document.making.classes.listed,
                percent=self.controls.threshold.value,
            )
        self.controls.tell(text)
        self.idle.emit(why)

    def let_go(self) -> None:
        """End what is running with the window or the dock."""
        if self._heard is not None:
            self._heard.stepped.disconnect(self._stepped)
        if self._run is not None:
            self._run.ended.disconnect()
            self._run.stop("closed")
