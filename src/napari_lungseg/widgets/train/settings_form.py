"""Show the training settings as a form: a control for each field of the dataclass, whose defaults, texts and ranges hold."""

from __future__ import annotations

from typing import Any, Literal, cast

from magicgui.widgets import CheckBox, create_widget
from magicgui.widgets.bases import ValueWidget
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_lungseg.setting import Setting, settings_of
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.widgets.forms import folded, form
from napari_lungseg.widgets.language import tr

_LARGEST = 1_000_000


class SettingsForm(QWidget):
    """Show controls of all settings but the augmentation."""

    #: Something was changed by hand.
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._settings = settings_of(TrainSettings)
        self.controls: dict[str, ValueWidget] = {name: _control(about) for name, about in self._settings.items()}
        self.show_settings(TrainSettings.fine_tuning())
        for control in self.controls.values():
            control.changed.connect(lambda _: self.changed.emit())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        first, more = ([self.controls[name] for name, about in self._settings.items() if about.folded == part] for part in (False, True))
        layout.addWidget(form(*first))
        layout.addWidget(folded(tr("More settings"), form(*more)))

    def show_settings(self, settings: TrainSettings) -> None:
        """Show settings without emitting ``changed``."""
        for name, control in self.controls.items():
            value = getattr(settings, name)
            with control.changed.blocked():
                control.value = 0 if value is None else value

    def values(self) -> dict[str, Any]:
        """Return what is set, by the names of the settings."""
        found = {name: control.value for name, control in self.controls.items()}
        return {name: None if self._settings[name].none and not value else value for name, value in found.items()}


def _control(about: Setting) -> ValueWidget:
    label, tooltip = tr(about.label), tr(about.text)
    if about.none:
        tooltip += " " + tr("0: {meaning}.", meaning=tr(about.none))
    made: Any
    if about.kind is bool:
        made = CheckBox(text=label, tooltip=tooltip)
    elif about.choices:
        made = create_widget(annotation=Literal[about.choices], label=label, options={"tooltip": tooltip})
    else:
        # None is shown as 0.
        low = 0 if about.none or about.at_least is None else about.at_least
        limits = {"min": low, "max": _LARGEST if about.at_most is None else about.at_most, "step": about.kind(about.step)}
        made = create_widget(annotation=about.kind, label=label, options={**limits, "tooltip": tooltip})
    return cast("ValueWidget[Any]", made)
