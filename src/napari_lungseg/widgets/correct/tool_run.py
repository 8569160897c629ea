"""A tool at work on a whole volume, in the engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_lungseg.annotation import MaskDocument
from napari_lungseg.edit.tool import Allowed, Change, Tool, Work, restricted
from napari_lungseg.edit.tools import TOOLS
from napari_lungseg.volume import Array
from napari_lungseg.widgets.tasks import Request, Task
from napari_lungseg.widgets.worker import Failure


class ToolRun(QObject):
    """One tool on one volume.

    Parameters
    ----------
    tool : Tool
        Which.
    work : Work
        On what; the labels may be painted meanwhile.
    document : MaskDocument
        Of the mask.
    allowed : callable or None
        Where edits may be.
    """

    #: Steps done, steps in all.
    progressed = Signal(int, int)
    #: What the tool makes of the labels: a Change, None for nothing, or Failure. Not sent once it was cancelled.
    ended = Signal(object)

    def __init__(self, tool: Tool, work: Work, document: MaskDocument, allowed: Allowed | None) -> None:
        super().__init__()
        self.tool, self.document = tool, document
        self._work, self._allowed = work, allowed
        self._task, self._limiting = Task(self, tool.label), Task(self, tool.label)
        self._task.yielded.connect(lambda progress: self.progressed.emit(*progress))
        self._task.returned.connect(self._returned)
        self._limiting.returned.connect(self.ended)
        for task in (self._task, self._limiting):
            task.failed.connect(lambda text: self.ended.emit(Failure(text)))

    def start(self) -> None:
        """Begin."""
        self._task.run(_request, self.tool, self._work)

    def cancel(self) -> None:
        """End now; what is still computed is dropped."""
        self._task.cancel()
        self._limiting.cancel()

    def _returned(self, made: Change | None) -> None:
        if made is None or self._allowed is None:
            self.ended.emit(made)
        else:
            self._limiting.run(restricted, made, self._allowed)


def _request(tool: Tool, work: Work) -> Request:
    """Read what is lazy, and ask the engine."""
    name = next(name for name, known in TOOLS.items() if known is tool)
    return Request("tool", (name, replace(work, image=_read(work.image), other=_read(work.other))))


def _read(array: Array | None) -> Array | None:
    return None if array is None else np.asarray(array)
