"""Slices with masks on them, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QWidget
from skimage.segmentation import find_boundaries

from napari_lungseg.mesh import COLOURS
from napari_lungseg.training.samples import IGNORE

#: Of classes 1, 2, ..., as of labels on the canvas.
FILLS = tuple(colour for _, colour in sorted(COLOURS.items()))
OPACITY = 0.45
OUTLINE = "#ffe14d"
#: How bright pixels that nobody has judged are shown.
SHADE = 0.45
#: Tallest row of pictures, in pixels of the screen; a caption's height.
TALLEST, CAPTION = 190, 18


class Picture(NamedTuple):
    """A slice to show: its caption, greys, labels, and labels of which only the outline is drawn."""

    caption: str
    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    outline: npt.NDArray[np.uint8] | None = None


def coloured(picture: Picture) -> npt.NDArray[np.uint8]:
    """A grey slice with its labels in colour.

    Parameters
    ----------
    picture : Picture
        Of (H, W) arrays; labels are 0 background, 1 .. n the classes, 255 not judged.

    Returns
    -------
    (H, W, 3) array of uint8
    """
    image, labels = picture.image, picture.labels
    shown = np.repeat(image[..., None].astype(np.float32), 3, axis=2)
    shown[labels == IGNORE] *= SHADE
    for value in np.unique(labels[(labels > 0) & (labels < IGNORE)]):
        inside = labels == value
        shown[inside] = (1 - OPACITY) * shown[inside] + OPACITY * _rgb(FILLS[(int(value) - 1) % len(FILLS)])
    if picture.outline is not None:
        judged = np.where(picture.outline == IGNORE, 0, picture.outline)
        shown[find_boundaries(judged, mode="inner")] = _rgb(OUTLINE)
    return shown.round().astype(np.uint8)


class Pictures(QWidget):
    """A row of pictures, each with a caption, as large as the dock lets it.

    Parameters
    ----------
    columns : int
        How many stand beside each other; more go below.
    """

    def __init__(self, columns: int = 2) -> None:
        super().__init__()
        self._columns = columns
        self._pictures: list[tuple[str, QImage]] = []
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    @property
    def captions(self) -> list[str]:
        """What stands above the pictures."""
        return [caption for caption, _ in self._pictures]

    def show_pictures(self, pictures: Sequence[Picture]) -> None:
        """Show other ones: caption, slice and labels of each."""
        self._pictures = [(picture.caption, _image(coloured(picture))) for picture in pictures]
        self._fit()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """As high as its rows need."""
        rows = -(-len(self._pictures) // self._columns)
        return QSize(200, rows * (self._row_height() + CAPTION))

    def resizeEvent(self, event: object) -> None:  # noqa: N802
        """Keep the pictures' shape."""
        self._fit()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw them."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        width, height = self.width() // self._columns, self._row_height()
        for number, (caption, image) in enumerate(self._pictures):
            left, top = number % self._columns * width, number // self._columns * (height + CAPTION)
            painter.setPen(self.palette().text().color())
            text = painter.fontMetrics().elidedText(caption, Qt.TextElideMode.ElideRight, width - 4)
            painter.drawText(QRect(left, top, width - 2, CAPTION), Qt.AlignmentFlag.AlignCenter, text)
            size = image.size().scaled(width - 4, height - 2, Qt.AspectRatioMode.KeepAspectRatio)
            painter.drawImage(QRect(left + (width - size.width()) // 2, top + CAPTION, size.width(), size.height()), image)

    def _row_height(self) -> int:
        width = max(1, self.width() // self._columns - 4)
        return min(TALLEST, max((width * image.height() // max(1, image.width()) for _, image in self._pictures), default=0) + 2)

    def _fit(self) -> None:
        height = self.sizeHint().height()
        if height != self.height():
            self.setFixedHeight(height)


def _rgb(name: str) -> npt.NDArray[np.float32]:
    return np.array(QColor(name).getRgb()[:3], np.float32)


def _image(rgb: npt.NDArray[np.uint8]) -> QImage:
    rgb = np.ascontiguousarray(rgb)
    # Copied, as Qt does not keep the array alive.
    return QImage(rgb.data, rgb.shape[1], rgb.shape[0], rgb.strides[0], QImage.Format.Format_RGB888).copy()
