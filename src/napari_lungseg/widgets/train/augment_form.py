"""The form of the augmentation: each part with a switch and its range, as fields of the settings' dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QGridLayout, QWidget

from napari_lungseg.training.augmentation import RANGES, AugmentSettings, IntensitySettings, SpatialSettings


@dataclass(frozen=True)
class Part:
    """One kind of augmentation: the group it belongs to, its fields, and how they are shown."""

    group: str
    label: str
    tooltip: str
    fields: tuple[str, ...]


PARTS = (
    Part("spatial", "Rotation", "Turned within this range to either side.", ("rotation_deg",)),
    Part("spatial", "Any rotation", "How often turned through the full circle: patients on their side or belly.", ("any_rotation",)),
    Part("spatial", "Translation", "Moved within this range.", ("translation_mm",)),
    Part("spatial", "Scale", "Enlarged or made smaller by up to about this.", ("log_scale",)),
    Part("spatial", "Stretch", "One axis stretched against the other by up to about this.", ("log_aspect",)),
    Part("spatial", "Flip", "How often left and right are exchanged.", ("flip",)),
    Part("spatial", "Elastic", "How often bent, and how far.", ("elastic", "elastic_mm")),
    Part(
        "intensity",
        "Sharpness",
        "How often softer or sharper, and by how much.",
        ("kernel", "kernel_px"),
    ),
    Part("intensity", "Noise", "How often grainy, and up to how much.", ("noise", "noise_hu")),
    Part("intensity", "Low resolution", "How often coarser, and how many times.", ("low_resolution", "low_resolution_times")),
    Part("intensity", "Brightness", "How often brighter or darker, and up to how much.", ("brightness", "brightness_hu")),
    Part("intensity", "Contrast", "How often with more or less contrast, and up to about how much.", ("contrast", "log_contrast")),
    Part("intensity", "Gamma", "How often the curve of greys is bent, and up to about how much.", ("gamma", "log_gamma")),
    Part("intensity", "Window", "How often seen through a random window, with 256 greys.", ("eight_bit",)),
    Part("intensity", "New greys", "How often every density gets a random new grey.", ("recolour",)),
    Part("", "Disease", "How often disease is drawn into the lung: consolidation, masses, fluid, air.", ("disease",)),
    Part("", "Gas outside", "How often gas is drawn outside the lung.", ("gas",)),
    Part("", "Arms", "How often arms lie beside the body.", ("arms",)),
    Part("", "Table", "How often a table is drawn.", ("table",)),
    Part("", "Cut off", "How often the field of view is a circle.", ("cut_off",)),
)
#: What a number is measured in, by its field; shares are in percent.
SUFFIXES = {
    "rotation_deg": "°",
    "translation_mm": " mm",
    "elastic_mm": " mm",
    "kernel_px": " px",
    "noise_hu": " HU",
    "low_resolution_times": " times",
    "brightness_hu": " HU",
}
#: Numbers of which a tenth counts.
FINE = ("kernel_px", "low_resolution_times")
#: Ranges in percent, which end at 100 as shares do.
_PERCENT = ("log_scale", "log_aspect", "log_contrast", "log_gamma")
LARGEST = {"rotation_deg": 180.0} | dict.fromkeys(_PERCENT, 100.0) | dict.fromkeys(FINE, 20.0)


class AugmentForm(QWidget):
    """A row for each part, below the strength of all."""

    #: Something was changed by hand.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.strength = _spin("strength")
        self.strength.setToolTip("Multiplies all of the below, but for the flip.")
        self.switches: dict[str, QCheckBox] = {}
        self.numbers: dict[str, QDoubleSpinBox] = {"strength": self.strength}
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(3)
        title = QCheckBox("Augmentation")
        self.whole = title
        title.setToolTip("Without it, the model sees the slices as they are.")
        layout.addWidget(title, 0, 0)
        layout.addWidget(self.strength, 0, 1, 1, 2)
        for row, part in enumerate(PARTS, 1):
            switch = self.switches[part.label] = QCheckBox(part.label)
            switch.setToolTip(part.tooltip)
            layout.addWidget(switch, row, 0)
            for column, name in enumerate(part.fields, 1):
                number = self.numbers[name] = _spin(name)
                number.setToolTip(part.tooltip)
                if len(part.fields) > 1:
                    number.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)  # there is no room for them
                layout.addWidget(number, row, column, 1, 1 if len(part.fields) > 1 else 2)
                switch.toggled.connect(number.setEnabled)
        layout.setColumnStretch(1, 1)
        layout.setColumnStretch(2, 1)
        self.show_settings(AugmentSettings())
        for box in (self.whole, *self.switches.values()):
            box.toggled.connect(lambda _: self.changed.emit())
        for number in self.numbers.values():
            number.valueChanged.connect(lambda _: self.changed.emit())
        self.whole.toggled.connect(self._enable)

    def show_settings(self, settings: AugmentSettings) -> None:
        """Show settings; nobody hears of it."""
        self.blockSignals(True)
        self.whole.setChecked(settings.strength > 0)
        values = {"strength": settings.strength, **vars(settings), **vars(settings.spatial), **vars(settings.intensity)}
        for name, number in self.numbers.items():
            # What is off shows what it would be.
            number.setValue(_shown(name, values[name] or _DEFAULTS[name]))
        for part in PARTS:
            on = all(values[name] > 0 for name in part.fields)
            self.switches[part.label].setChecked(on)
            for name in part.fields:
                self.numbers[name].setEnabled(on)
        self._enable(self.whole.isChecked())
        self.blockSignals(False)

    def settings(self) -> AugmentSettings:
        """What is set."""
        if not self.whole.isChecked():
            return AugmentSettings.off()
        found: dict[str, dict[str, Any]] = {"": {"strength": self.strength.value() / 100}, "spatial": {}, "intensity": {}}
        for part in PARTS:
            on = self.switches[part.label].isChecked()
            found[part.group] |= {name: _meant(name, self.numbers[name].value()) if on else 0.0 for name in part.fields}
        spatial, intensity = SpatialSettings(**found["spatial"]), IntensitySettings(**found["intensity"])
        return AugmentSettings(spatial=spatial, intensity=intensity, **found[""])

    def _enable(self, on: bool) -> None:
        self.strength.setEnabled(on)
        for part in PARTS:
            switch = self.switches[part.label]
            switch.setEnabled(on)
            for name in part.fields:
                self.numbers[name].setEnabled(on and switch.isChecked())


_DEFAULTS: dict[str, Any] = {**vars(AugmentSettings()), **vars(SpatialSettings()), **vars(IntensitySettings())}


def _spin(name: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setDecimals(1 if name in FINE else 0)
    box.setRange(0.1 if name in FINE else 1.0, LARGEST.get(name, 1000.0 if name in RANGES else 100.0))
    box.setSingleStep(0.5 if name in FINE else 5.0)
    box.setMinimumWidth(60)  # else two of them are wider than the dock
    box.setAlignment(Qt.AlignmentFlag.AlignRight)
    box.setPrefix("± " if name in RANGES and name not in ("strength", "noise_hu", "elastic_mm", *FINE) else "")
    box.setSuffix(SUFFIXES.get(name, " %"))
    return box


def _shown(name: str, value: float) -> float:
    return value if name in SUFFIXES else 100.0 * value


def _meant(name: str, value: float) -> float:
    return value if name in SUFFIXES else value / 100.0
