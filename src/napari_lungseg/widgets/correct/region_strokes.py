"""Strokes that say what a mask lacks or has too much: the region round each is found, shown, and taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QPushButton

from napari_lungseg.edit.stroke import FoundRegion
from napari_lungseg.edit.tool import restricted
from napari_lungseg.errors import InputError
from napari_lungseg.translation import mark, say
from napari_lungseg.widgets.correct.pen import Point
from napari_lungseg.widgets.correct.proposal import ADDED, REMOVED, Proposal
from napari_lungseg.widgets.correct.region_form import RegionForm
from napari_lungseg.widgets.correct.region_question import Drawn, Question, anything, ask, body_spacing, change, in_layer, place
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.mask_layer import MaskLayer
from napari_lungseg.widgets.tasks import Request, Task
from napari_lungseg.widgets.view import OUTSIDE, displayed_slice, displayed_time_index, is_outside

if TYPE_CHECKING:
    import napari.viewer

#: What undo calls it.
ADD, REMOVE = mark("add region"), mark("remove region")


class RegionStrokes(QObject):
    """A mode of the mouse beside napari's own, on the mask that is held.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where strokes are drawn.
    button : QPushButton
        Turns the mode on and off.
    form : RegionForm
        Size, take and drop.
    """

    #: A region is shown (True), taken or dropped (False).
    proposed = Signal(bool)

    def __init__(self, viewer: napari.viewer.Viewer, button: QPushButton, form: RegionForm) -> None:
        super().__init__(form)
        self._viewer, self._button, self._form = viewer, button, form
        self._result: MaskLayer | None = None
        self._lungs: Labels | None = None
        self._proposal: Proposal | None = None
        self._drawn: Drawn | None = None
        self._question: Question | None = None
        self._region: FoundRegion | None = None
        self._task = Task(self, say("Finding the region"))
        self._task.yielded.connect(self._show)
        self._task.failed.connect(self._not_found)
        button.clicked.connect(self._pressed)
        form.resized.connect(self._resize)
        form.take.clicked.connect(self.take)
        form.drop.clicked.connect(self.drop)

    @property
    def on(self) -> bool:
        """Whether strokes find regions."""
        return self._proposal is not None

    def hold(self, result: MaskLayer | None) -> None:
        """Work on another mask; what was proposed for the one before is dropped."""
        self.drop()
        self._turn_off()
        self._result = result
        self._button.setEnabled(result is not None)

    # ---- the mode

    def leave(self) -> None:
        """End the mode, after what is shown was taken: it was seen, and can be undone."""
        self.take()
        self._turn_off()

    def _pressed(self) -> None:
        if self.on:
            self.leave()
        else:
            self._turn_on()

    def _turn_on(self) -> None:
        result = self._result
        if result is None or result.lungs is None:
            return
        lungs = self._lungs = result.lungs
        self._viewer.layers.selection.active = lungs
        lungs.mode = "pan_zoom"
        self._proposal = Proposal(self._viewer, lungs)
        lungs.mouse_pan = False
        lungs.cursor = "cross"
        lungs.events.mode.connect(self.leave)
        self._viewer.layers.events.removed.connect(self._removed)
        lungs.mouse_drag_callbacks.append(self._draw)
        lungs.mouse_wheel_callbacks.append(self._turn_wheel)
        for key, slot in (("Enter", self.take), ("Escape", self._escape)):
            lungs.bind_key(key, lambda _, slot=slot: slot(), overwrite=True)
        self._form.setVisible(True)
        self._form.show_found(False)
        self._button.setChecked(True)
        # So that the first stroke waits for no engine.
        self._task.ask("region", anything())

    def _turn_off(self) -> None:
        if self._proposal is None or self._lungs is None:
            return
        lungs, proposal = self._lungs, self._proposal
        self._lungs = self._proposal = None
        lungs.events.mode.disconnect(self.leave)
        self._viewer.layers.events.removed.disconnect(self._removed)
        lungs.mouse_drag_callbacks.remove(self._draw)
        lungs.mouse_wheel_callbacks.remove(self._turn_wheel)
        for key in ("Enter", "Escape"):
            lungs.bind_key(key, None)
        if lungs.mode == "pan_zoom":
            lungs.mouse_pan = True
            lungs.cursor = "standard"
        proposal.close()
        self._form.setVisible(False)
        self._button.setChecked(False)

    def _removed(self, event: Any) -> None:
        if self._proposal is not None and event.value == self._proposal.layer:
            self._turn_off()

    def _escape(self) -> None:
        if self._drawn is None:
            self._turn_off()
        else:
            self.drop()

    # ---- drawing

    def _draw(self, lungs: Labels, event: Any) -> Iterator[None]:
        if event.button not in (1, 2) or event.modifiers:
            return
        event.handled = True
        where = displayed_slice(self._viewer, lungs)
        if where is None:
            self._form.tell(tr("The canvas shows the volume in 3-D; show slices to draw on one."))
            return
        if is_outside(self._viewer, lungs):
            self._form.tell(tr(OUTSIDE, name=lungs.name))
            return
        waiting = self._drawn if self._region is None else None
        self.take()
        time_index, adding = displayed_time_index(self._viewer, lungs), event.button == 1
        drawn = Drawn(adding, time_index, where, lungs.data.shape[-3:], body_spacing(lungs, time_index))
        if waiting is not None and (waiting.adding, waiting.time_index) == (adding, time_index):
            # The region of the stroke before was not seen yet: both are answered together.
            drawn.parts.extend(waiting.parts)
        self._drawn = drawn
        last = _voxel(lungs, event)
        self._mark(drawn, last, last)
        yield
        while event.type == "mouse_move":
            event.handled = True
            place = _voxel(lungs, event)
            self._mark(drawn, last, place)
            last = place
            yield
        if drawn is self._drawn:
            self._ask(drawn)

    def _mark(self, drawn: Drawn, start: Point, end: Point) -> None:
        met = drawn.go_on(start, end)
        if met is not None and self._proposal is not None:
            self._proposal.add(*in_layer(drawn.time_index, *met), ADDED if drawn.adding else REMOVED)

    # ---- the region

    def _ask(self, drawn: Drawn) -> None:
        assert self._result is not None
        try:
            self._question = ask(self._result, drawn)
        except InputError as error:
            self._not_found(tr(str(error)))
            return
        self._form.tell(tr("Finding the region …"))
        self._task.run(_request, self._question)

    def _show(self, region: FoundRegion) -> None:
        if self._drawn is None:
            return
        if self._region is None:
            self._form.show_found(True)
        self._region = region
        self._resize()
        self.proposed.emit(True)

    def _resize(self, _: float = 0.0) -> None:
        if self._region is not None and self._proposal is not None and self._drawn is not None and self._question is not None:
            box, shown = in_layer(self._drawn.time_index, place(self._question, self._region), self._region.at(self._form.value))
            self._proposal.show(box, shown, ADDED if self._drawn.adding else REMOVED)

    def _turn_wheel(self, _: Labels, event: Any) -> None:
        if self._region is not None and "Shift" in event.modifiers:
            event.handled = True
            self._form.resize_by(1 if sum(event.delta) > 0 else -1)

    def take(self) -> None:
        """Change the mask as it is proposed; one step to undo."""
        drawn, question, region, result = self._drawn, self._question, self._region, self._result
        size = self._form.value
        self.drop()
        if drawn is None or question is None or region is None or result is None or not result.has_lungs(self._viewer):
            return
        made = change(result, drawn.time_index, question, region, size)
        document = result.document(drawn.time_index)
        if made is not None and result.allowed is not None:
            made = restricted(made, partial(result.allowed, document))
        if made is not None:
            result.edit(document, made.box, made.before, made.after, ADD if drawn.adding else REMOVE, lambda: None)

    def drop(self) -> None:
        """Leave the mask as it is."""
        self._task.forget()
        self._drawn = self._question = self._region = None
        if self._proposal is not None:
            self._proposal.clear()
        self._form.show_found(False)
        self.proposed.emit(False)

    def _not_found(self, text: str) -> None:
        self.drop()
        self._form.tell(text)


def _voxel(lungs: Labels, event: Any) -> Point:
    """Index in the layer's volume, or between two, where the mouse is."""
    return np.asarray(lungs.world_to_data(event.position), float)[-3:]


def _request(question: Question) -> Request:
    """Read the part of the image, which may be lazy, and ask the engine."""
    return Request("region", (replace(question.stroke, image=np.asarray(question.image.array[question.box])),))
