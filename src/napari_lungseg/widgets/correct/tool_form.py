"""The part of the Correct module's form in which a tool is chosen, set and applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any, cast

from magicgui.widgets import CheckBox, ComboBox, PushButton, create_widget
from magicgui.widgets.bases import ValueWidget
from qtpy.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from napari_lungseg.edit.tool import SCOPES, Parameter, Scope, Tool
from napari_lungseg.edit.tools import TOOLS
from napari_lungseg.widgets.forms import emphasise, form, replace_choices, shorten
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.texts import plain_label, show_status

#: Begins the value of an entry that is only a heading.
HEADING = "heading:"


class ToolForm(QWidget):
    """Controls of the tools.

    Parameters
    ----------
    layers : mapping
        By the names of the parameters that are layers: what gives the layers that can be chosen.
    """

    def __init__(self, layers: Mapping[str, Callable[[Any], list[Any]]]) -> None:
        super().__init__()
        self._layers = layers
        self._pages: dict[str, tuple[QWidget, dict[str, ValueWidget]]] = {}
        self._parameters = QVBoxLayout()
        self._what = plain_label()
        self.tool = ComboBox(
            label=tr("Tool"), choices=_choices(), value=next(iter(TOOLS)), tooltip=tr("What is done to the mask; below is how.")
        )
        self.where = ComboBox(label=tr("Where"), choices=_scopes(SCOPES.values()), tooltip=tr("The slice on the canvas, or all of them."))
        self.apply = PushButton(text=tr("Apply"), tooltip=tr("Change the mask; undo takes it back."))
        self.progress = QProgressBar()
        self.status = plain_label()
        self._lay_out()
        self.tool.changed.connect(self._show_tool)
        self._show_tool()

    @property
    def chosen(self) -> Tool:
        """The tool that Apply runs."""
        return TOOLS[self.tool.value]

    def parameters(self) -> dict[str, ValueWidget]:
        """Controls of what it asks for."""
        return self._page(self.tool.value)[1]

    def values(self) -> Mapping[str, Any]:
        """What they are set to."""
        return {name: control.value for name, control in self.parameters().items()}

    def reset_layers(self) -> None:
        """Offer the layers that there are now."""
        for _, controls in self._pages.values():
            for name in self._layers.keys() & controls.keys():
                cast("ComboBox", controls[name]).reset_choices()

    def tell(self, text: str) -> None:
        """Show a line of status."""
        show_status(self.status, text)

    def show_running(self, running: bool) -> None:
        """Turn the button to Cancel and back."""
        self.apply.text = tr("Cancel") if running else tr("Apply")
        self.tool.enabled = not running
        self.progress.setVisible(running)
        if running:
            # No numbers yet: the bar only moves.
            self.show_progress(0, 0)

    def show_progress(self, done: int, total: int) -> None:
        """Show how far a tool is; a total of 0: nobody knows."""
        self.progress.setRange(0, total)
        self.progress.setValue(done)

    def _show_tool(self, _: Any = None) -> None:
        tool, shown = self.chosen, self._page(self.tool.value)[0]
        for page, _controls in self._pages.values():
            page.setVisible(page is shown)
        self._what.setText(tr(tool.tooltip))
        kept = self.where.value if self.where.value in tool.scopes else tool.scopes[0]
        replace_choices(self.where, _scopes(tool.scopes), kept)
        self.where.enabled = len(tool.scopes) > 1

    def _page(self, name: str) -> tuple[QWidget, dict[str, ValueWidget]]:
        if name not in self._pages:
            controls = {key: self._control(key, parameter) for key, parameter in TOOLS[name].parameters.items()}
            page = form(*controls.values())
            self._parameters.addWidget(page)
            self._pages[name] = page, controls
        return self._pages[name]

    def _control(self, key: str, parameter: Parameter) -> ValueWidget:
        made: Any
        label, tooltip = tr(parameter.label), tr(parameter.tooltip)
        if key in self._layers:
            made = ComboBox(label=label, choices=self._layers[key], tooltip=tooltip)
            shorten(made)
        elif isinstance(parameter.value, bool):
            made = CheckBox(text=label, value=parameter.value, tooltip=tooltip)
        else:
            options = dict(parameter.options)
            if "choices" in options:
                options["choices"] = [(tr(choice), choice) for choice in options["choices"]]
            made = create_widget(value=parameter.value, label=label, options={**options, "tooltip": tooltip})
        return cast("ValueWidget[Any]", made)

    def _lay_out(self) -> None:
        for combo in (self.tool, self.where):
            shorten(combo)
        items = self.tool.native.model()
        for row, choice in enumerate(self.tool.choices):
            items.item(row).setEnabled(not str(choice).startswith(HEADING))
        emphasise(self.apply.native)
        self._parameters.setContentsMargins(0, 0, 0, 0)
        for text in (self._what, self.status):
            text.setWordWrap(True)
            text.setMinimumWidth(1)  # a long name does not widen the dock
        self._what.setEnabled(False)
        self.tell("")
        self.progress.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(form(self.tool))
        layout.addWidget(self._what)
        layout.addLayout(self._parameters)
        layout.addWidget(form(self.where))
        for part in (self.apply.native, self.progress, self.status):
            layout.addWidget(part)


def _choices() -> list[tuple[str, str]]:
    choices = []
    for group, names in groupby(TOOLS, key=lambda name: TOOLS[name].group):
        choices += [(tr(group), HEADING + group), *((f"  {tr(TOOLS[name].label)}", name) for name in names)]
    return choices


def _scopes(scopes: Iterable[Scope]) -> list[tuple[str, Scope]]:
    return [(tr(text), scope) for text, scope in SCOPES.items() if scope in scopes]
