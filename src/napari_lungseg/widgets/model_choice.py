"""The boxes for model and device, which several modules have, and how they hear of new models."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

from magicgui.widgets import ComboBox
from psygnal import Signal
from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as QtSignal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_lungseg.architecture import DEFAULT_MODEL
from napari_lungseg.engine.process import shared_engine
from napari_lungseg.library import list_models
from napari_lungseg.translation import say
from napari_lungseg.widgets.forms import replace_choices
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.napari_compat import import_pandas
from napari_lungseg.widgets.preferences import cluster_address, preferences
from napari_lungseg.widgets.tasks import Task

#: Value of the entry that asks for a model's folder.
FOLDER = "folder"


class _Library:
    """The models of this process."""

    #: There is a model of this name now, to be offered first; "" where one has gone.
    changed = Signal(str)


LIBRARY = _Library()


class ModelChoice(QObject):
    """Fills a module's boxes for model and device, the cluster of the preferences among those, and keeps them right.

    Parameters
    ----------
    model, device : ComboBox
        The boxes.
    parent : QWidget
        The module.
    others : list of (str, str)
        What can be chosen besides models of the library: text and value.
    """

    #: Another model is chosen.
    changed = QtSignal(str)
    #: Why the library could not be listed.
    failed = QtSignal(str)

    def __init__(self, model: ComboBox, device: ComboBox, parent: QWidget, others: list[tuple[str, str]] | None = None) -> None:
        super().__init__(parent)
        self._model, self._device, self._parent = model, device, parent
        self._others = others or []
        self._devices: tuple[str, ...] = ("auto",)
        self._names: list[str] = []
        self._folders: list[str] = []
        self._chosen = DEFAULT_MODEL
        self._wanted = ""
        model.changed.connect(self._choose)
        LIBRARY.changed.connect(self._list)
        # Not a method of self: those are disconnected before they could hear of the end.
        parent.destroyed.connect(partial(_release, self))
        self._listing = Task(self, say("Listing models and devices"))
        self._listing.yielded.connect(self._list_models)
        self._listing.returned.connect(self._list_devices)
        self._listing.failed.connect(self.failed)
        preferences().cluster.events.address.connect(self._show_devices)
        self._list("")

    @property
    def chosen(self) -> str:
        """Name or folder of the model, or the value of one of the others."""
        return self._chosen

    def _list(self, wanted: str) -> None:
        self._wanted = wanted or self._wanted
        self._listing.run(_choices)

    def _list_models(self, names: list[str]) -> None:
        self._names = names
        wanted, self._wanted = self._wanted or self._chosen, ""
        self._take(wanted)

    def _list_devices(self, devices: tuple[str, ...]) -> None:
        self._devices = devices
        self._show_devices()

    def _show_devices(self, _: Any = None) -> None:
        devices = [*self._devices, *filter(None, [cluster_address()])]
        chosen = self._device.value if self._device.value in devices else devices[0]
        replace_choices(self._device, [(shown_device(device), device) for device in devices], chosen)

    def _choose(self, value: str) -> None:
        if value == FOLDER:
            folder = QFileDialog.getExistingDirectory(self._parent, tr("A model's folder (with card.json and weights.safetensors)"))
            if folder and folder not in self._folders:
                self._folders.insert(0, folder)
            value = folder or self._chosen
        self._take(value)

    def _take(self, value: str) -> None:
        """Show what can be chosen, and choose."""
        known = [*self._folders, *self._names]
        if value not in (*known, *(other for _, other in self._others)):
            value = DEFAULT_MODEL
        names = [Path(choice).name for choice in known]
        # The box tells choices apart by what it shows.
        labelled: list[tuple[str, Any]] = [
            (name if names.count(name) == 1 else choice, choice) for name, choice in zip(names, known, strict=True)
        ]
        replace_choices(self._model, [*labelled, *self._others, (tr("Choose a folder …"), FOLDER)], value)
        if value != self._chosen:
            self._chosen = value
            self.changed.emit(value)


def shown_device(device: str) -> str:
    """A device as the box calls it."""
    scheme, separator, host = device.partition("://")
    if separator:
        return tr("cluster {host}", host=host)
    return tr("auto") if scheme == "auto" else device


def _choices() -> Generator[list[str], None, tuple[str, ...]]:
    """Names of the models, at once; then the devices, once the engine has started."""
    yield [entry.name for entry in list_models()]
    engine = shared_engine()
    engine.start()
    import_pandas()  # meanwhile, so that nobody who presses a button waits for it
    return engine.devices()


def _release(choice: ModelChoice, *_: Any) -> None:
    LIBRARY.changed.disconnect(choice._list)
    preferences().cluster.events.address.disconnect(choice._show_devices)
