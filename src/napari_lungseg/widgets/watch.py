"""Being told that a mask has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.layers import Labels

from napari_lungseg.widgets.lookup import result_holding

if TYPE_CHECKING:
    import napari.viewer


class MaskWatch:
    """Tells, once, that a mask is not any more what it was when the watch began.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the mask is.
    mask : Labels
        Which.
    changed : callable
        Called at the first change.
    """

    def __init__(self, viewer: napari.viewer.Viewer, mask: Labels, changed: Callable[[], None]) -> None:
        self._tell = changed
        self._mask, self._result = mask, result_holding(viewer, mask)
        if self._result is not None:
            self._result.changed.connect(self._changed)
        mask.events.paint.connect(self._changed)
        mask.events.data.connect(self._changed)
        self._over = False

    def end(self) -> None:
        """Hear of nothing any more."""
        if self._over:
            return
        self._over = True
        if self._result is not None:
            self._result.changed.disconnect(self._changed)
        self._mask.events.paint.disconnect(self._changed)
        self._mask.events.data.disconnect(self._changed)

    def _changed(self, *_: Any) -> None:
        self.end()
        self._tell()
