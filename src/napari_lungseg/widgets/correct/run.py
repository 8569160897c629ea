"""A tool at work on a whole volume, off the GUI thread."""

from __future__ import annotations

import time
from dataclasses import replace

from qtpy.QtCore import QObject, Signal

from napari_lungseg.widgets.background import create_worker
from napari_lungseg.widgets.correct.tool import Allowed, Change, Tool, Work, carry_out
from napari_lungseg.widgets.worker import Failed, sentence

#: Seconds between two reports of progress.
REPORT_S = 0.05


class _CancelledError(Exception):
    """The person does not want the result any more."""


class ToolRun(QObject):
    """One tool on one volume.

    Parameters
    ----------
    tool : Tool
        Which.
    work : Work
        On what; the labels may be painted meanwhile.
    step : tuple of int
        Index of the volume along the layer's time axes.
    allowed : callable or None
        Where edits may be.
    """

    #: Steps done, steps in all.
    progressed = Signal(int, int)
    #: What the tool makes of the labels: a Change, None for nothing, or Failed. Not sent once it was cancelled.
    ended = Signal(object)

    def __init__(self, tool: Tool, work: Work, step: tuple[int, ...], allowed: Allowed | None) -> None:
        super().__init__()
        self.tool = tool
        self._work, self._step, self._allowed = replace(work, progress=self._report), step, allowed
        self._cancelled = False
        self._reported = 0.0

    def start(self) -> None:
        """Begin."""
        worker = create_worker(self._carry_out)
        worker.returned.connect(self._returned)
        worker.start()

    def cancel(self) -> None:
        """End now; what is still computed is dropped."""
        self._cancelled = True

    def _carry_out(self) -> Change | Failed | None:
        try:
            return carry_out(self.tool, self._work, self._step, self._allowed)
        except _CancelledError:
            return None
        except Exception as error:
            return Failed(sentence(error, self.tool.label))

    def _report(self, done: int, total: int) -> None:
        if self._cancelled:
            raise _CancelledError
        if time.monotonic() - self._reported > REPORT_S:
            self._reported = time.monotonic()
            self.progressed.emit(done, total)

    def _returned(self, made: Change | Failed | None) -> None:
        if not self._cancelled:
            self.ended.emit(made)
