"""The form of the Segment module: what can be chosen, and nothing of what happens then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from magicgui.widgets import ComboBox, PushButton, Slider, SpinBox, create_widget
from magicgui.widgets.bases import ValueWidget
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_lungseg.mask import MaskSettings
from napari_lungseg.setting import settings_of
from napari_lungseg.translation import mark
from napari_lungseg.volume import Unit
from napari_lungseg.widgets.forms import (
    MODULE_WIDTH,
    clock,
    emphasise,
    fill,
    folded,
    form,
    make_button,
    replace_choices,
    scrolled,
    shorten,
    wrapped,
)
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.segment.reading import Look
from napari_lungseg.widgets.texts import plain_label, show_status

FIRST_STEPS = (
    mark("1. Drop a CT into the window (a file, or a DICOM folder), or open the sample."),
    mark("2. Press Segment: the lungs appear slice by slice."),
    mark("3. Correct and review them. Every change is saved by itself."),
)


class Controls(QWidget):
    """Every control of the Segment module.

    Parameters
    ----------
    images : callable
        Gives the layers that can be chosen.
    """

    def __init__(self, images: Callable[[Any], list[Any]]) -> None:
        super().__init__()
        self.image = ComboBox(label=tr("Image"), choices=images, tooltip=tr("The layer to segment; follows the layer that is selected."))
        self.model = ComboBox(label=tr("Model"), choices=[], tooltip=tr("The network, from the library of models."))
        self.device = ComboBox(
            label=tr("Device"), choices=[(tr("auto"), "auto")], tooltip=tr("Where the network runs; auto takes a GPU if there is one.")
        )
        self.slices = ComboBox(
            label=tr("Slices"),
            choices=[(tr("Whole volume"), "volume"), (tr("This slice"), "slice"), (tr("Range"), "range")],
            tooltip=tr("The displayed slice comes first."),
        )
        self.first = SpinBox(value=0, min=0, max=0, tooltip=tr("First slice, as the slider under the image counts."))
        self.last = SpinBox(value=0, min=0, max=0, tooltip=tr("Last slice; it is segmented too."))
        self.run = PushButton(text=tr("Segment"), tooltip=tr("Segment the image; the layers fill while you look."))
        described = settings_of(MaskSettings)
        threshold = described.pop("threshold")
        self.threshold = Slider(label=tr(threshold.label), value=round(100 * threshold.default), min=1, max=99, tooltip=tr(threshold.text))
        self.threshold.native.setToolTip(tr(threshold.text))  # on the number beside it too
        self.steps: dict[str, ValueWidget] = {}
        for name, about in described.items():
            options = {"tooltip": tr(about.text)}
            made = create_widget(value=about.default, annotation=about.kind, name=name, label=tr(about.label), options=options)
            self.steps[name] = cast("ValueWidget[Any]", made)
        self.unit = ComboBox(label=tr("Intensities"), choices=_units(None), tooltip=tr("What the numbers of the image mean."))
        self.axis = ComboBox(label=tr("Slices along"), choices=_axes(None), tooltip=tr("The axis from feet to head."))
        self.probability = ComboBox(
            label=tr("Probability as"),
            choices=[(tr("label layer"), "label layer"), (tr("image layer"), "image layer")],
            tooltip=tr("What the next run shows the probability in."),
        )
        self.first_steps = QWidget()
        self.open_sample = make_button(tr("Open the sample CT"), tr("A public chest CT of 30 slices that comes with the plugin."))
        self.progress = QProgressBar()
        self.status = plain_label()
        self._lay_out()

    def mask_settings(self) -> MaskSettings:
        """Threshold and post-processing."""
        return MaskSettings(threshold=self.threshold.value / 100, **{name: widget.value for name, widget in self.steps.items()})

    def show_settings(self, settings: MaskSettings) -> None:
        """Show threshold and post-processing without emitting ``changed``."""
        values = {self.threshold: round(100 * settings.threshold)} | {step: getattr(settings, name) for name, step in self.steps.items()}
        for control, value in values.items():
            with control.changed.blocked():
                control.value = value
        self.steps["smallest_ml"].enabled = settings.keep_lungs

    def chosen_unit(self) -> Unit | None:
        """Unit set by hand; None to tell it from the numbers."""
        return None if self.unit.value == "auto" else self.unit.value

    def chosen_axis(self) -> int | None:
        """Axis set by hand; None to tell it from the geometry."""
        return None if self.axis.value == "auto" else self.axis.value

    def chosen_slices(self) -> tuple[int, int] | str:
        """First and last slice, or "volume" or "slice"."""
        if self.slices.value != "range":
            return self.slices.value
        return min(self.first.value, self.last.value), max(self.first.value, self.last.value)

    def tell(self, text: str) -> None:
        """Show a line of status."""
        show_status(self.status, text)

    def show_look(self, look: Look | None) -> None:
        """Show what was told of the image: its unit, its axis, and how many slices there are."""
        replace_choices(self.unit, _units(look.unit if look else None), self.unit.value)
        replace_choices(self.axis, _axes(look), self.axis.value)
        self.slices.enabled = self.axis.enabled = look is None or len(look.shape) == 3
        if look is None:
            return
        axis = self.chosen_axis()
        last = look.shape[look.axis if axis is None else axis] - 1 if len(look.shape) == 3 else 0
        if self.last.max != last:
            self.first.max = self.last.max = last
            self.first.value, self.last.value = 0, last

    def show_progress(self, done: int, total: int, seconds: float) -> None:
        """Show how many slices are done and how long the rest will take."""
        # Qt would draw the bar at once, and not with all else.
        self.progress.setUpdatesEnabled(False)
        self.progress.setMaximum(total)
        self.progress.setValue(done)
        text = tr("{done} of {total} slices", done=done, total=total)
        self.progress.setFormat(text + (tr(" · {time} left", time=clock(seconds)) if done < total else ""))
        self.progress.setUpdatesEnabled(True)

    def show_running(self, running: bool) -> None:
        """Turn the button to Cancel and back."""
        self.run.text = tr("Cancel") if running else tr("Segment")
        self.progress.setVisible(running)
        if running:
            # Not the bar that moves by itself: it would draw the whole window, with its canvas, forty times a second.
            self.progress.setRange(0, 1)
            self.progress.setValue(0)
            self.progress.setFormat("")

    def _lay_out(self) -> None:
        keep, smallest = self.steps["keep_lungs"], self.steps["smallest_ml"]
        keep.changed.connect(lambda wanted: setattr(smallest, "enabled", wanted))
        for combo in (self.image, self.model, self.device):
            shorten(combo)
        emphasise(self.run.native)
        self.status.setWordWrap(True)
        self.status.setMinimumWidth(1)  # a long path does not widen the dock either
        self.tell("")
        self.progress.setVisible(False)
        steps = QVBoxLayout(self.first_steps)
        steps.setContentsMargins(0, 8, 0, 8)
        for part in (*(wrapped(tr(step)) for step in FIRST_STEPS), self.open_sample):
            steps.addWidget(part)
        note = QLabel(tr("For research, not for diagnosis."))
        note.setEnabled(False)

        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(8, 4, 8, 4)
        layout.setSpacing(6)
        layout.addWidget(form(self.image, self.model, self.device, self.slices))
        span = QWidget()
        between = QHBoxLayout(span)
        between.setContentsMargins(0, 0, 0, 0)
        for part in (QLabel(tr("From")), self.first.native, QLabel(tr("to")), self.last.native):
            between.addWidget(part, stretch=not isinstance(part, QLabel))
        span.setVisible(False)
        self.slices.changed.connect(lambda value: span.setVisible(value == "range"))
        for part in (span, self.run.native, self.progress, self.status, self.first_steps):
            layout.addWidget(part)
        layout.addSpacing(4)
        layout.addWidget(form(self.threshold))
        layout.addWidget(folded(tr("Post-processing"), form(*self.steps.values())))
        layout.addWidget(folded(tr("More"), form(self.unit, self.axis, self.probability)))
        layout.addWidget(note)
        layout.addStretch()
        fill(self, scrolled(inner))
        self.setMinimumWidth(MODULE_WIDTH)


def _units(told: Unit | None) -> list[tuple[str, str]]:
    return [(_automatic(tr(told) if told else None), "auto"), ("HU", "HU"), (tr("arbitrary"), "arbitrary")]


def _axes(look: Look | None) -> list[tuple[str, str | int]]:
    names = [tr("axis {number}", number=axis) for axis in range(3)]
    return [(_automatic(names[look.axis] if look else None), "auto"), *zip(names, range(3))]


def _automatic(told: str | None) -> str:
    return tr("automatic ({told})", told=told) if told else tr("automatic")
