"""What is lost when napari is killed while a person paints.

    python benchmarks/crash.py [--kills 50] [--seed 0] [--workspace DIR]

Each round starts a real napari with the dock (under Xvfb where there is no display), restores what the journal holds, paints with mouse
events, and is killed by SIGKILL at a random moment. Then the journal is opened and every stroke that ended more than one second
before the kill is looked for. Prints one line a round, and the count of lost strokes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

#: Seconds after the end of a stroke within which it must be in the journal.
PROMISE_S = 1.0
#: Labels of the strokes, one after the other; 0 to 2 are the model's.
FIRST, LAST = 3, 250
READY = "ready"


def paint() -> None:
    """The process that is killed: paints strokes and reports each when it has ended."""
    import napari
    from qtpy.QtCore import QPoint, Qt, QTimer
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication, QWidget

    from napari_lungseg.widgets.saving.session import session_of

    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(1200, 760)
    viewer.open_sample("napari-lungseg", "chest-ct")
    _, dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
    session, image = session_of(viewer), viewer.layers[0]
    random_ = random.Random(int(os.environ["CRASH_SEED"]))
    state: dict[str, Any] = {"stroke": 0, "waited": 0}

    def canvas() -> QWidget:
        window = next(widget for widget in QApplication.topLevelWidgets() if widget.inherits("QMainWindow"))
        return max(
            (widget for widget in window.findChildren(QWidget) if "Canvas" in type(widget).__name__),
            key=lambda widget: widget.width() * widget.height(),
        )

    def begin() -> None:
        state["waited"] += 1
        if session.workspace is None or (not session.offers and os.environ["CRASH_EXPECT"] == "1"):
            if state["waited"] > 300:
                print(json.dumps({"failed": "nothing was offered"}), flush=True)
                return
            QTimer.singleShot(100, begin)
            return
        if session.offers:
            session.recognition.accept(session.offers[0])
            wait()
        else:
            dock.open("Segment").idle.connect(lambda _: wait())
            dock.open("Segment").controls.run.native.click()

    def wait() -> None:
        name = f"{image.name} lungs"
        if name not in viewer.layers:
            QTimer.singleShot(50, wait)
            return
        lungs = viewer.layers[name]
        viewer.layers.selection.active = lungs
        lungs.mode = "paint"
        print(json.dumps({READY: int(np.count_nonzero(lungs.data >= FIRST))}), flush=True)
        QTimer.singleShot(50, stroke)

    def stroke() -> None:
        lungs = viewer.layers[f"{image.name} lungs"]
        label = FIRST + state["stroke"] % (LAST - FIRST)
        index = random_.randrange(image.data.shape[0])
        viewer.dims.set_current_step(0, index)
        lungs.selected_label = label
        before = lungs.data.copy()
        target = canvas()
        middle = target.rect().center()
        at = middle + QPoint(random_.randrange(-150, 150), random_.randrange(-150, 150))
        QTest.mouseMove(target, at)
        QTest.mousePress(target, Qt.MouseButton.LeftButton, pos=at)
        for _ in range(4):
            at += QPoint(random_.randrange(-12, 12), random_.randrange(-12, 12))
            QTest.mouseMove(target, at)
            QApplication.processEvents()
        QTest.mouseRelease(target, Qt.MouseButton.LeftButton, pos=at)
        ended = time.time()
        changed = np.argwhere(lungs.data != before)
        if len(changed):
            some = changed[:: max(1, len(changed) // 8)].tolist()
            print(json.dumps({"stroke": state["stroke"], "label": label, "at": some, "ended": ended, "voxels": len(changed)}), flush=True)
            state["stroke"] += 1
        QTimer.singleShot(random_.randrange(30, 250), stroke)

    QTimer.singleShot(500, begin)
    napari.run()


def one_round(workspace: Path, seed: int, seconds: float, expect: bool) -> dict[str, int]:
    """Start, paint, kill, look."""
    from napari_lungseg.workspace import Workspace

    environment = os.environ | {"NAPARI_LUNGSEG_WORKSPACE": str(workspace), "CRASH_SEED": str(seed), "CRASH_EXPECT": str(int(expect))}
    child = subprocess.Popen(
        [sys.executable, __file__, "--paint"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    told: list[dict[str, Any]] = []
    ready = threading.Event()

    def listen() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("{"):
                told.append(json.loads(line))
                ready.set()

    listener = threading.Thread(target=listen)
    listener.start()
    if not ready.wait(180) or READY not in told[0]:
        child.kill()
        raise SystemExit(f"The window did not get ready: {told}")
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    killed = time.time()
    child.wait()
    listener.join()
    strokes = told[1:]
    due = [stroke for stroke in strokes if stroke["ended"] < killed - PROMISE_S]
    with Workspace(workspace) as opened:
        (summary,) = opened.cases()
        saved = opened.load(summary.case)
    lost = 0
    for stroke in due:
        later = {other["label"] for other in strokes if other["stroke"] >= stroke["stroke"]}
        lost += any(int(saved.labels[tuple(place)]) not in later for place in stroke["at"])
    return {"restored": told[0][READY], "strokes": len(strokes), "due": len(due), "lost": lost}


def main() -> None:
    """Kill again and again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--paint", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.paint:
        paint()
        return
    from napari_lungseg.widgets.demo import virtual_display

    moments = random.Random(options.seed)
    with ExitStack() as stack:
        folder = options.workspace or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not os.environ.get("DISPLAY"):
            stack.enter_context(virtual_display())
        totals = {"strokes": 0, "due": 0, "lost": 0}
        for number in range(options.kills):
            found = one_round(folder, options.seed * 1000 + number, moments.uniform(0.5, 6.0), expect=number > 0)
            for name in totals:
                totals[name] += found[name]
            print(
                f"{number + 1:3d}: {found['restored']} voxels of strokes restored at the start, {found['strokes']} strokes, "
                f"{found['due']} ended more than {PROMISE_S:g} s before the kill, {found['lost']} of them lost",
                flush=True,
            )
    print(f"\n{options.kills} kills, {totals['strokes']} strokes, {totals['due']} that had to be there, lost: {totals['lost']}")
    raise SystemExit(1 if totals["lost"] else 0)


if __name__ == "__main__":
    main()
