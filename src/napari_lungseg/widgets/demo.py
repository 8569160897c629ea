"""The demonstration: napari on the sample CT, segmented by the real button; as a window or as a picture."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_lungseg.errors import InputError

SIZE = (1366, 768)
PICTURE = Path("napari-lungseg-demo.png")

#: Libraries without which Qt ends the whole process, and the Debian packages that hold them.
LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
}


def run(screenshot: Path | None = None) -> Path | None:
    """Open napari on the sample CT, segment it, and show the middle slice with the result.

    Parameters
    ----------
    screenshot : Path, optional
        Save a picture of the window here and end, rather than leave the window open. On Linux the window is then a
        virtual one. Without a display this happens anyway, to ``napari-lungseg-demo.png`` in the current folder.

    Returns
    -------
    Path or None
        The picture, if one was saved.

    Raises
    ------
    InputError
        When the window cannot be opened, or the segmentation fails.
    """
    linux = sys.platform.startswith("linux")
    display = not linux or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if screenshot is None and not display:
        screenshot = PICTURE
    if linux:
        _check_libraries()
    if linux and screenshot is not None and (shutil.which("Xvfb") or not display):
        with virtual_display():
            return _show(screenshot)
    return _show(screenshot)


def _show(screenshot: Path | None) -> Path | None:
    try:
        import napari
        from qtpy.QtCore import QTimer
    except ImportError as error:
        raise InputError(f'napari or its Qt is not installed ({error}); run: pip install "napari-lungseg[all]".') from error

    viewer = napari.Viewer(title="napari-lungseg", show_welcome_screen=False)
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-lungseg", "chest-ct")
    _, dock = viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
    segment = dock.open("Segment")
    problems: list[str] = []

    def finished(problem: str) -> None:
        if problem:
            problems.append(problem)
        if screenshot is not None:
            # Let the window draw what has just been written.
            QTimer.singleShot(1000, save)

    def save() -> None:
        if not problems:
            viewer.screenshot(str(screenshot), canvas_only=False, flash=False)
        viewer.close()

    def start() -> None:
        viewer.reset_view()
        segment.controls.run.native.click()

    segment.idle.connect(finished)
    # The window takes its size first.
    QTimer.singleShot(1000, start)
    napari.run()
    if screenshot is None:
        return None
    if problems:
        raise InputError(problems[0])
    return screenshot.resolve()


def _check_libraries() -> None:
    missing = [package for library, package in LIBRARIES.items() if not _loads(library)]
    if missing:
        raise InputError(
            "The window needs system libraries that are missing; on Debian or Ubuntu run: sudo apt-get install " + " ".join(missing)
        )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


@contextmanager
def virtual_display() -> Iterator[None]:
    """A display that nobody sees, for as long as the context lasts."""
    xvfb = shutil.which("Xvfb")
    if xvfb is None:
        raise InputError("There is no display, and no Xvfb to make a virtual one; on Debian or Ubuntu run: sudo apt-get install xvfb")
    command = [xvfb, "-displayfd", "1", "-screen", "0", f"{SIZE[0]}x{SIZE[1]}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    before: dict[str, Any] = {name: os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    try:
        assert server.stdout is not None
        number = server.stdout.readline().strip()
        if not number:
            raise InputError("Xvfb could not start a virtual display; look at what `Xvfb :99` says.")
        os.environ.update(DISPLAY=f":{number}", QT_QPA_PLATFORM="xcb")
        os.environ.pop("WAYLAND_DISPLAY", None)
        yield
    finally:
        server.terminate()
        server.communicate()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
