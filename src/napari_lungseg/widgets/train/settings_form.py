"""The form of the training settings: a control for each field of the dataclass, whose defaults and checks hold."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType
from typing import Any, cast, get_args, get_type_hints

from magicgui.widgets import CheckBox, create_widget
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.widgets.forms import folded, form


@dataclass(frozen=True)
class Row:
    """How a setting is shown: its label, what it does, and the step of its spin box."""

    label: str
    tooltip: str
    step: float = 1.0


MAIN = {
    "minutes": Row("Minutes at most", "The run comes to its end with this time; 0 for no limit."),
    "epochs": Row("Epochs at most", "After each, the model is scored on the slices that were put aside."),
    "steps_per_epoch": Row("Batches an epoch", "How often the model learns in an epoch."),
    "patience": Row("Patience (epochs)", "End early when nothing got better for so many epochs; 0 for never."),
    "batch_size": Row("Batch size", "Views learnt from at once. It shrinks by itself where the memory runs out."),
    "view_px": Row("View (pixels)", "Side of a view, at the model's own pixel size. Smaller is quicker, and sees less.", 32),
    "pixel_mm": Row("Pixel (mm)", "Pixel size of the new model; 0 for that of the model it starts from.", 0.05),
    "learning_rate": Row("Learning rate", "The highest. Lower forgets less and learns more slowly.", 0.00005),
    "loss": Row("Loss", "What the training makes small."),
    "optimizer": Row("Optimizer", "How it goes about it."),
    "schedule": Row("Schedule", "How the rate falls to the end."),
    "validation_share": Row("Share put aside", "Part of the cases, or of one case's slices, that is watched and not learnt from.", 0.05),
    "keep_old": Row("Keep what it knows", "The new model is accepted only if it is no worse on the old model's own cases."),
    "replay": Row("Replay", "Share of views of the old model's own cases, against forgetting.", 0.05),
    "distillation": Row("Taught by the old", "Share of views of slices that nobody has judged, in which the old model teaches.", 0.005),
}
MORE = {
    "encoder_rate": Row("Encoder's rate", "Part of the learning rate that the first layers get; 0 freezes them.", 0.1),
    "coarse_share": Row("Coarse first", "Part of the run at half the resolution, which is quicker; for new models.", 0.1),
    "warm_up": Row("Warm-up", "Part of the run over which the rate rises.", 0.01),
    "momentum": Row("Momentum", "Of the optimizer sgd.", 0.01),
    "weight_decay": Row("Weight decay", "Pulls the weights to zero.", 0.001),
    "clip_norm": Row("Longest gradient", "Longer ones are cut.", 0.5),
    "average": Row("Weight average", "Decay of the running average of the weights, which is what is kept; 0 for none.", 0.001),
    "empty_share": Row("Empty slices", "Share of views of slices without any label.", 0.05),
    "foreground_share": Row("Centred on labels", "Share of views that are centred on a label, where a slice is larger than a view.", 0.05),
    "seed": Row("Seed", "The same seed gives the same run on the CPU."),
}
#: Fields that may be None, for which the form shows 0.
_OPTIONAL = frozenset(name for name, kind in get_type_hints(TrainSettings).items() if NoneType in get_args(kind))
_LARGEST = 1_000_000


class SettingsForm(QWidget):
    """Controls of all settings but the augmentation."""

    #: Something was changed by hand.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        kinds = get_type_hints(TrainSettings)
        self.controls: dict[str, ValueWidget] = {name: _control(name, row, kinds[name]) for name, row in (MAIN | MORE).items()}
        self.show_settings(TrainSettings.fine_tuning())
        for control in self.controls.values():
            control.changed.connect(lambda _: self.changed.emit())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(form(*(self.controls[name] for name in MAIN)))
        layout.addWidget(folded("More settings", form(*(self.controls[name] for name in MORE))))

    def show_settings(self, settings: TrainSettings) -> None:
        """Show settings; nobody hears of it."""
        for name, control in self.controls.items():
            value = getattr(settings, name)
            with control.changed.blocked():
                control.value = 0 if value is None else value

    def values(self) -> dict[str, Any]:
        """What is set, by the names of the settings."""
        found = {name: control.value for name, control in self.controls.items()}
        return {name: None if name in _OPTIONAL and not value else value for name, value in found.items()}


def _control(name: str, row: Row, kind: Any) -> ValueWidget:
    made: Any
    if kind is bool:
        made = CheckBox(text=row.label, tooltip=row.tooltip)
    elif kind in (int, float) or name in _OPTIONAL:
        plain = next(one for one in (get_args(kind) or (kind,)) if one is not NoneType)
        options = {"min": 0, "max": _LARGEST, "step": int(row.step) if plain is int else row.step, "tooltip": row.tooltip}
        made = create_widget(annotation=plain, label=row.label, options=options)
    else:
        made = create_widget(annotation=kind, label=row.label, options={"tooltip": row.tooltip})
    return cast("ValueWidget[Any]", made)
