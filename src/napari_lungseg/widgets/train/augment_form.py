"""Show the augmentation as a form: each part with a switch and its range, as described at the settings' fields."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QGridLayout, QWidget

from napari_lungseg.setting import Setting, settings_of
from napari_lungseg.training.augmentation import AugmentSettings, IntensitySettings, SpatialSettings
from napari_lungseg.widgets.language import tr

_GROUPS = {"spatial": SpatialSettings, "intensity": IntensitySettings, "": AugmentSettings}
_SETTINGS = {name: about for group in _GROUPS.values() for name, about in settings_of(group).items()}


def _parts() -> dict[str, list[str]]:
    """Names of the settings that share a row, by its label."""
    found: dict[str, list[str]] = {}
    for name, about in _SETTINGS.items():
        if name != "strength":
            found.setdefault(about.label, []).append(name)
    return found


PARTS = _parts()


class AugmentForm(QWidget):
    """Show a row for each part, below the strength of all."""

    #: Something was changed by hand.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.strength = _spin(_SETTINGS["strength"])
        self.switches: dict[str, QCheckBox] = {}
        self.numbers: dict[str, QDoubleSpinBox] = {"strength": self.strength}
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(3)
        title = QCheckBox(tr("Augmentation"))
        self.whole = title
        title.setToolTip(tr("Without it, the model sees the slices as they are."))
        layout.addWidget(title, 0, 0)
        layout.addWidget(self.strength, 0, 1, 1, 2)
        for row, (label, names) in enumerate(PARTS.items(), 1):
            switch = self.switches[label] = QCheckBox(tr(label))
            switch.setToolTip(" ".join(tr(_SETTINGS[name].text) for name in names))
            layout.addWidget(switch, row, 0)
            for column, name in enumerate(names, 1):
                number = self.numbers[name] = _spin(_SETTINGS[name])
                if len(names) > 1:
                    number.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)  # there is no room for them
                layout.addWidget(number, row, column, 1, 1 if len(names) > 1 else 2)
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
        """Show settings without emitting ``changed``."""
        self.blockSignals(True)
        self.whole.setChecked(settings.strength > 0)
        values = {**vars(settings), **vars(settings.spatial), **vars(settings.intensity)}
        for name, number in self.numbers.items():
            # What is off shows what it would be.
            number.setValue(_scale(_SETTINGS[name]) * (values[name] or _SETTINGS[name].default))
        for label, names in PARTS.items():
            on = all(values[name] > 0 for name in names)
            self.switches[label].setChecked(on)
            for name in names:
                self.numbers[name].setEnabled(on)
        self._enable(self.whole.isChecked())
        self.blockSignals(False)

    def settings(self) -> AugmentSettings:
        """Return what is set."""
        if not self.whole.isChecked():
            return AugmentSettings.off()
        values = {"strength": self._value("strength")}
        for label, names in PARTS.items():
            on = self.switches[label].isChecked()
            values |= {name: self._value(name) if on else 0.0 for name in names}
        own = {group: {name: values[name] for name in settings_of(kind)} for group, kind in _GROUPS.items()}
        spatial, intensity = SpatialSettings(**own["spatial"]), IntensitySettings(**own["intensity"])
        return AugmentSettings(spatial=spatial, intensity=intensity, **own[""])

    def _value(self, name: str) -> float:
        return self.numbers[name].value() / _scale(_SETTINGS[name])

    def _enable(self, on: bool) -> None:
        self.strength.setEnabled(on)
        for label, names in PARTS.items():
            switch = self.switches[label]
            switch.setEnabled(on)
            for name in names:
                self.numbers[name].setEnabled(on and switch.isChecked())


def _scale(about: Setting) -> float:
    return 100.0 if about.unit == "%" else 1.0


def _spin(about: Setting) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    # Of numbers with small steps, a tenth counts.
    fine = about.step < 1
    box.setDecimals(1 if fine else 0)
    box.setRange(0.1 if fine else 1.0, about.shown_to if about.at_most is None else _scale(about) * about.at_most)
    box.setSingleStep(about.step)
    box.setMinimumWidth(60)  # else two of them are wider than the dock
    box.setAlignment(Qt.AlignmentFlag.AlignRight)
    box.setPrefix("± " if about.either_way else "")
    box.setSuffix(about.unit if about.unit == "°" else f" {tr(about.unit)}")
    box.setToolTip(tr(about.text))
    return box
