"""Waiting for what must happen, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QTimer

from napari_lungseg.widgets import tasks
from napari_lungseg.widgets.saving.session import Session

#: Milliseconds after which something that should happen soon has not happened; generous, for slow and busy machines.
SOON = 120_000


def settle(qtbot: Any) -> None:
    """Let all that is on its way happen: workers end, and what they and the window have posted is handled.

    What comes after this was begun by nobody. Each turn posts a timer behind what waits then, and what that posts is handled by the next.
    """
    qtbot.waitUntil(lambda: tasks.idle(), timeout=SOON)
    turn(qtbot)


def end_work() -> None:
    """Wait until no thread or job works any more; nothing that it still posts is handled."""
    end = time.monotonic() + SOON / 1000
    while tasks.running():
        assert time.monotonic() < end, "Something still works in the background."
        time.sleep(0.002)


def turn(qtbot: Any) -> None:
    """Let what is posted be handled, without waiting for workers."""
    for _ in range(3):
        timer = QTimer()
        timer.setSingleShot(True)
        with qtbot.waitSignal(timer.timeout, timeout=SOON):
            timer.start(0)


def when_saved(qtbot: Any, session: Session, condition: Callable[[], bool]) -> None:
    """Wait until a condition on the journal holds; it is looked at now, and whenever something was saved."""
    news = [None]

    def note(_: Any, indices: Any) -> None:
        news.append(indices)

    session.saved.connect(note)
    qtbot.waitUntil(lambda: bool(news) and (news.clear() or condition()), timeout=SOON)
    session.saved.disconnect(note)
