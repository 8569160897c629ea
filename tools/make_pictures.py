"""Take the pictures of the window that the docs show, by doing on the sample CT what they tell: about three minutes on two cores.

    python tools/make_pictures.py docs/images [CT]

With a CT (LIDC-IDRI-1011 for the docs) the four views are taken of that, and not of the sample, whose slices are 8 mm apart. The model
cards' pictures are made by ``benchmarks/accuracy.py``. Everything happens in a display, a workspace and a library of its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from napari_lungseg.edit.stroke import Stroke, regions
from napari_lungseg.model import DEFAULT_MODEL
from napari_lungseg.sample import sample_ct, sample_lungs
from napari_lungseg.segmentation import segment
from napari_lungseg.widgets.demo import SIZE, virtual_display

#: Slices of the sample that a person is taken to have corrected, for the training.
EVERY = 3
SOON_S = 600.0
#: Width of the animation in pixels, its colours, and how long each picture stays (ms).
TOUR_PX, TOUR_COLOURS, LOOK_MS = 960, 128, 1800


class Studio:
    """A window with the dock, the hands that work it, and the camera."""

    def __init__(self, out: Path) -> None:
        import napari
        from qtpy.QtWidgets import QApplication

        self.out = out
        #: Pictures of the animation, each with the time it stays (ms).
        self.frames: list[tuple[Image.Image, int]] = []
        self.viewer = napari.Viewer(title="napari-lungseg", show_welcome_screen=False)
        self.viewer.window.resize(*SIZE)
        self.app = QApplication.instance()

    def open_dock(self) -> None:
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-lungseg", "Lung segmentation")
        self.rest(1)
        self.viewer.reset_view()

    def module(self, name: str):
        self.dock.module.value = name
        self.rest(1)
        return self.dock.open(name)

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + SOON_S
        while not condition():
            self.app.processEvents()
            time.sleep(0.005)
            if time.monotonic() > end:
                raise TimeoutError("Something that should happen does not.")

    def rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end)

    def press(self, button, signal=None) -> None:
        """Press a button, and wait for what it began, if a signal tells of its end."""
        told: list[str] = []
        if signal is not None:
            signal.connect(told.append)
        button.click()
        if signal is not None:
            self.wait(lambda: bool(told))
            if told[0]:
                raise RuntimeError(told[0])

    def take(self, name: str) -> None:
        self.rest(1)
        self.viewer.screenshot(str(self.out / f"{name}.png"), canvas_only=False, flash=False)
        print(name, flush=True)

    def keep(self, stays_ms: int = LOOK_MS) -> None:
        """Take a picture for the animation."""
        picture = Image.fromarray(self.viewer.screenshot(canvas_only=False, flash=False)).convert("RGB")
        picture.thumbnail((TOUR_PX, TOUR_PX))
        self.frames.append((picture, stays_ms))

    def animate(self, name: str) -> None:
        """Write the animation, with one palette for all its pictures, so that nothing flickers."""
        pictures, stays = zip(*self.frames, strict=True)
        together = Image.new("RGB", (TOUR_PX, sum(one.height for one in pictures)))
        for place, one in enumerate(pictures):
            together.paste(one, (0, place * one.height))
        palette = together.quantize(TOUR_COLOURS, dither=Image.Dither.NONE)
        first, *others = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in pictures]
        first.save(self.out / f"{name}.gif", save_all=True, append_images=others, duration=list(stays), loop=0, optimize=True)
        print(name, flush=True)

    def segment(self):
        """Segment the image by the button; gives its mask."""
        segment = self.module("Segment")
        self.wait(lambda: bool(segment.controls.model.value))
        self.press(segment.controls.run.native, segment.idle)
        return self.viewer.layers[f"{segment.controls.image.value.name} lungs"]


def modules(studio: Studio) -> None:
    """The sample through all modules."""
    viewer = studio.viewer
    viewer.open_sample("napari-lungseg", "chest-ct")
    studio.open_dock()
    lungs = studio.segment()
    known = np.asarray(sample_lungs().array)
    _correct(studio, lungs)
    _region(studio, lungs)
    _review(studio, lungs)
    _evaluate(studio, lungs, known)
    measure = studio.module("Measure")
    studio.press(measure.controls.run, measure.idle)
    studio.press(measure.controls.show_surfaces, measure.idle)
    studio.rest(3)
    studio.take("measure")
    viewer.dims.ndisplay = 2
    _train(studio, lungs, known)


def _correct(studio: Studio, lungs) -> None:
    viewer = studio.viewer
    correct = studio.module("Correct")
    viewer.dims.set_current_step(0, 14)
    lungs.brush_size = 11
    for label, start, end in ((1, (115, 114), (138, 127)), (0, (115, 62), (135, 75))):
        lungs.selected_label = label
        with lungs.block_history():
            for part in np.linspace(0, 1, 12):
                lungs.paint((14, *(np.array(start) * (1 - part) + np.array(end) * part)), label)
    lungs.selected_label = 2
    lungs.mode = "erase"
    correct.controls.tools.tool.value = "smooth"
    correct.controls.show_changes.value = True
    studio.rest(1)
    studio.take("correct")
    correct.controls.show_changes.value = False
    lungs.undo()
    lungs.undo()


def tour(studio: Studio) -> None:
    """An animation: open, segment, mend by one stroke, review, and all sides."""
    from napari_lungseg.widgets.views.viewing import View, viewing_of

    viewer = studio.viewer
    studio.open_dock()
    studio.keep()
    viewer.open_sample("napari-lungseg", "chest-ct")
    studio.rest(2)
    studio.keep()
    segment = studio.module("Segment")
    studio.wait(lambda: bool(segment.controls.model.value))
    over: list[str] = []
    segment.idle.connect(over.append)
    segment.controls.run.native.click()
    while not over:
        studio.rest(0.1)
        if f"{segment.controls.image.value.name} lungs" in viewer.layers:
            studio.keep(150)
    lungs = viewer.layers["chest CT lungs"]
    viewer.layers["chest CT probability"].visible = False
    studio.rest(1)
    studio.keep()
    _stroke(studio, lungs)
    studio.keep()
    studio.module("Correct").controls.strokes.take.click()
    studio.rest(1)
    studio.keep()
    studio.module("Correct").controls.modes["pan_zoom"].click()
    review = studio.module("Review")
    studio.rest(2)
    for _ in range(3):
        studio.press(review.accept)
        studio.rest(1)
        studio.keep(900)
    viewing = viewing_of(viewer, studio.dock)
    studio.press(studio.dock.views.buttons[View.FOUR_UP])
    studio.wait(lambda: viewing.view is View.FOUR_UP and not viewing.text)
    viewer.dims.point = lungs.data_to_world(np.argwhere(lungs.data == 1).mean(axis=0))
    studio.rest(2)
    studio.keep(2 * LOOK_MS)
    studio.animate("tour")


def _region(studio: Studio, lungs) -> None:
    """What one stroke finds, for its picture."""
    _stroke(studio, lungs)
    studio.take("region")
    correct = studio.module("Correct")
    correct.controls.strokes.drop.click()
    correct.controls.modes["pan_zoom"].click()


def _stroke(studio: Studio, lungs) -> None:
    """Draw one stroke into the stomach, which lung-ct takes for lung."""
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    from napari_lungseg.widgets.napari_compat import canvas_of

    viewer = studio.viewer
    correct = studio.module("Correct")
    viewer.dims.set_current_step(0, 7)
    correct.controls.region.click()
    studio.rest(1)
    canvas = canvas_of(viewer.window._qt_window).canvas.native
    camera = viewer.scene.camera

    def spot(row: float, column: float) -> QPoint:
        y, x = (np.array(lungs.data_to_world((7, row, column)))[1:] - camera.center[-2:]) * camera.zoom
        return QPoint(round(canvas.width() / 2 + x), round(canvas.height() / 2 + y))

    button, none = Qt.MouseButton.RightButton, Qt.KeyboardModifier.NoModifier
    QTest.mousePress(canvas, button, none, spot(112, 172))
    for column in range(173, 195, 3):
        QTest.mouseMove(canvas, spot(113, column))
        studio.rest(0.1)
    QTest.mouseRelease(canvas, button, none, spot(113, 194))
    studio.wait(lambda: bool(viewer.layers[f"{lungs.name} proposal"].data[6].any()))


def _review(studio: Studio, lungs) -> None:
    review = studio.module("Review")
    studio.rest(2)
    for _ in range(4):
        studio.press(review.accept)
        studio.rest(1)
    review.note.setText("consolidation?")
    studio.press(review.flag)
    studio.rest(1)
    index = studio.viewer.dims.current_step[0]
    lungs.brush_size = 7
    lungs.paint((index, 80, 100), 1)
    studio.rest(2)
    studio.take("review")
    lungs.undo()


def _evaluate(studio: Studio, lungs, known: np.ndarray) -> None:
    viewer = studio.viewer
    middle = known.shape[2] // 2
    sides = np.where(known > 0, np.where(np.arange(known.shape[2]) < middle, 1, 2), 0).astype(np.uint8)
    reference = viewer.add_labels(
        sides, name="reference", scale=lungs.scale, translate=lungs.translate, units=lungs.units, colormap=lungs.colormap, visible=False
    )
    evaluate = studio.module("Evaluate")
    evaluate.prediction.value, evaluate.reference.value = lungs, reference
    viewer.layers["chest CT probability"].visible = False
    studio.press(evaluate.run, evaluate.idle)
    viewer.layers.selection.active = lungs
    both, found, true = ((mask > 0).sum(axis=(1, 2)) for mask in ((lungs.data > 0) & (known > 0), lungs.data, known))
    viewer.dims.set_current_step(0, int(np.argmin(np.where(true, 2 * both / np.maximum(found + true, 1), 1))))
    studio.take("evaluate")
    for layer in [layer for layer in viewer.layers if layer.name.startswith(("reference", "false"))]:
        viewer.layers.remove(layer)
    viewer.layers["chest CT probability"].visible = True


def _train(studio: Studio, lungs, known: np.ndarray) -> None:
    review = studio.module("Review")
    middle = known.shape[2] // 2
    for index in sorted({*range(0, len(known), EVERY), *review.reviewing.reviewed}):
        lungs.data[index] = np.where(known[index] > 0, np.where(np.arange(known.shape[2]) < middle, 1, 2), 0)
        lungs.refresh()
        review.go(index)
        studio.rest(0.2)
        studio.press(review.accept)
    studio.rest(2)
    train = studio.module("Train")
    told: list[str] = []
    train.idle.connect(told.append)
    studio.wait(train.controls.run.isEnabled)
    studio.press(train.controls.run)
    curves = train.controls.curves
    studio.wait(lambda: len(curves.points["training loss"][0]) >= 9 or bool(told))
    studio.take("train")
    studio.wait(lambda: bool(told))
    studio.take("train-verdict")


def offer(studio: Studio) -> None:
    """The work of before, found again."""
    studio.viewer.open_sample("napari-lungseg", "chest-ct")
    studio.open_dock()
    studio.wait(lambda: bool(studio.dock.workspace.session.offers))
    studio.take("offer")


def second_reader(studio: Studio) -> None:
    """The sample's own mask as another reader's, beside the model's."""
    from superqt import QCollapsible

    from napari_lungseg.corrections import PERSON
    from napari_lungseg.workspace import Labelled, Workspace

    viewer = studio.viewer
    viewer.open_sample("napari-lungseg", "chest-ct")
    studio.open_dock()
    lungs = studio.segment()
    viewer.layers[lungs.name.replace("lungs", "probability")].visible = False
    review = studio.module("Review")
    studio.wait(lambda: review.reviewing is not None)
    for index in range(review.reviewing.document.slices):
        review.reviewing.accept(index)
    studio.wait(lambda: review.reviewing.target.case is not None)
    known, place = review.reviewing.target.case, tempfile.TemporaryDirectory()
    labels = np.asarray(sample_lungs().array)
    with place as folder:
        with Workspace(folder, user="Bob") as workspace:
            case = workspace.add_case(
                known.content, name="ct", path=None, shape=known.shape, affine=known.affine, axis=known.axis, unit=known.unit
            )
            slices = {index: Labelled(labels[index], labels[index] | np.uint8(PERSON)) for index in range(len(labels))}
            workspace.save(case, slices, cause="paint")
            for index in slices:
                workspace.set_state(case, index, "reviewed")
        review.other.compare(Path(folder))
        studio.wait(lambda: review.other.list.count() > 0)
    section = review.other
    while not isinstance(section, QCollapsible):
        section = section.parentWidget()
    section.expand()
    review.go(review.other._order[0])
    studio.rest(2)
    studio.take("second-reader")


def views(studio: Studio, path: Path | None) -> None:
    """All four views."""
    from napari_lungseg.widgets.views.viewing import View, viewing_of

    viewer = studio.viewer
    if path is None:
        viewer.open_sample("napari-lungseg", "chest-ct")
    else:
        viewer.open(str(path), plugin="napari-lungseg")
    studio.open_dock()
    lungs = studio.segment()
    viewer.layers[lungs.name.replace("lungs", "probability")].visible = False
    viewing = viewing_of(viewer, studio.dock)
    studio.press(studio.dock.views.buttons[View.FOUR_UP])
    studio.wait(lambda: viewing.view is View.FOUR_UP and not viewing.text)
    middle = np.argwhere(lungs.data == 1).mean(axis=0)
    viewer.dims.point = lungs.data_to_world(middle)
    studio.rest(2)
    studio.take("four-up")


@dataclass(frozen=True)
class Shown:
    """A stroke for the picture of regions: on which slice, from where to where, the part that is shown, and what the mask lacks before."""

    index: int
    start: tuple[int, int]
    end: tuple[int, int]
    part: tuple[slice, slice]
    adding: bool
    lacks_base: bool = False


#: Consolidation at the wall that lung-ct leaves out, bowel gas that it takes for lung, and a base that is cut off here.
STROKES = (
    Shown(20, (143, 108), (166, 104), np.s_[110:200, 60:180], adding=True),
    Shown(6, (112, 172), (113, 194), np.s_[70:180, 110:250], adding=False),
    Shown(5, (160, 52), (168, 74), np.s_[105:195, 20:140], adding=True, lacks_base=True),
)
#: Height of each part in the picture (pixels), and the colours of mask, stroke, and what is added and removed.
PART_PX, MASK_RGB, STROKE_RGB, ADDED_RGB, REMOVED_RGB = 240, (70, 150, 255), (255, 255, 255), (255, 255, 62), (232, 38, 60)


def region_strokes(out: Path) -> None:
    """What strokes find on the sample: mask and stroke, the region that is proposed, and the mask after it was taken; a row each."""
    image = sample_ct()
    found = segment(image, DEFAULT_MODEL)
    array, percent = np.asarray(image.array), np.asarray(found.probability.array)
    rows = []
    for shown in STROKES:
        mask = (np.asarray(found.labels.array) > 0).astype(np.uint8)
        if shown.lacks_base:
            planes, lines, _ = np.ogrid[tuple(slice(0, size) for size in mask.shape)]
            # Below a plane that rises towards the back, as models miss the recess.
            mask *= (planes - shown.index) * 8 >= (lines - shown.start[0] + 20) * 1.2
        drawn = np.zeros(mask.shape, bool)
        for part in np.linspace(0, 1, 60):
            row, column = (round(one + part * (other - one)) for one, other in zip(shown.start, shown.end, strict=True))
            drawn[shown.index, row - 1 : row + 1, column - 1 : column + 1] = True
        stroke = Stroke(array, mask, drawn, np.zeros(mask.shape, bool), percent, image.spacing, int(not shown.adding), (shown.index,))
        *_, region = regions(stroke)
        proposed = np.zeros(mask.shape, bool)
        proposed[region.box] = region.at()
        after = np.where(proposed, np.uint8(shown.adding), mask)
        here = (shown.index, *shown.part)
        grey = np.repeat(((np.clip(array[here], -1000, 300) + 1000) / 1300 * 255).astype(np.uint8)[..., None], 3, axis=2)
        colour = ADDED_RGB if shown.adding else REMOVED_RGB
        steps = ((mask, drawn, STROKE_RGB, 1.0), (mask, proposed, colour, 0.6), (after, drawn & False, colour, 0.0))
        rows.append(np.hstack([_drawn(grey, labels[here] > 0, over[here], rgb, part) for labels, over, rgb, part in steps]))
    width = max(row.shape[1] for row in rows)
    picture = np.vstack([np.pad(row, ((0, 6), (0, width - row.shape[1]), (0, 0))) for row in rows])
    Image.fromarray(picture).save(out / "region-strokes.png")
    print("region-strokes", flush=True)


def _drawn(grey: np.ndarray, mask: np.ndarray, over: np.ndarray, rgb: tuple[int, int, int], part: float) -> np.ndarray:
    """A part of a slice with the outline of the mask, and something in a colour over it, enlarged."""
    scale = PART_PX / grey.shape[0]
    size = (round(grey.shape[1] * scale), PART_PX)
    large = np.array(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)).astype(float)
    shapes = [np.array(Image.fromarray(one.astype(np.uint8) * 255).resize(size, Image.Resampling.BICUBIC)) > 127 for one in (mask, over)]
    large[shapes[1]] = (1 - part) * large[shapes[1]] + part * np.array(rgb)
    large[shapes[0] & ~ndimage.binary_erosion(shapes[0], iterations=2)] = MASK_RGB
    return np.pad(large.astype(np.uint8), ((0, 0), (0, 6), (0, 0)))


def main(out: Path, path: Path | None) -> None:
    region_strokes(out)
    with tempfile.TemporaryDirectory() as home:
        own = {
            "HOME": home,
            "NAPARI_CONFIG": "",
            "NAPARI_LUNGSEG_WORKSPACE": f"{home}/workspace",
            "NAPARI_LUNGSEG_MODELS": f"{home}/models",
        }
        os.environ.update(own | {f"XDG_{kind}_HOME": home for kind in ("DATA", "CONFIG", "CACHE")})
        with virtual_display():
            from napari_lungseg.widgets.language import use_language

            use_language("en")
            for work in (modules, offer, second_reader, lambda studio: views(studio, path), tour):
                studio = Studio(out)
                work(studio)
                studio.viewer.close()
                studio.rest(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute() if len(sys.argv) > 2 else None)
