"""What all modules of the dock have in common: they listen to a viewer for as long as they live."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_lungseg.widgets.documents import documents_of

if TYPE_CHECKING:
    import napari.viewer


class Panel(QWidget):
    """A module, or a part of one.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given by napari.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self._heard_signals: list[tuple[Any, Callable[..., Any]]] = []
        # Not a method of self: those are disconnected before they could hear of the end.
        self.destroyed.connect(partial(_release, self))

    def listen(self, signal: Any, slot: Callable[..., Any]) -> None:
        """Connect a signal that outlives the panel."""
        signal.connect(slot)
        self._heard_signals.append((signal, slot))

    def listen_to_layers(self, changed: Callable[..., Any], begun: Callable[..., Any] | None = None) -> None:
        """Hear when layers come, go, move or get another name, and when a mask is begun; the latter by ``begun`` where it is given."""
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            self.listen(event, changed)
        self.listen(documents_of(self.viewer).begun, begun or changed)

    def let_go(self) -> None:
        """Let go of what else the panel holds, once the window or the dock is closed."""


def _release(panel: Panel, *_: Any) -> None:
    for signal, slot in panel._heard_signals:
        signal.disconnect(slot)
    panel.let_go()
