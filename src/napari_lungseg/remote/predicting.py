"""Predict on a worker of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from napari_lungseg.model import load_model
from napari_lungseg.predict import PredictSettings, predict
from napari_lungseg.predicted import Notice, PredictedSlice, Working
from napari_lungseg.remote.errand import PART, End, Errand
from napari_lungseg.remote.model_files import ModelFiles
from napari_lungseg.remote.worker_side import Actor, Background
from napari_lungseg.translation import say
from napari_lungseg.volume import Volume

Item: TypeAlias = "PredictedSlice | Notice | Working"

#: Slices that a worker computes ahead.
AHEAD = 16


def predict_remotely(
    scheduler: str,
    volume: Volume,
    model: ModelFiles,
    settings: PredictSettings,
    check: Callable[[], None],
    needed: tuple[int, Sequence[int]] | None = None,
) -> Generator[Item | None]:
    """Predict a volume on a worker of a cluster.

    Parameters
    ----------
    scheduler : str
        Its address, ``tcp://host:8786`` or ``tls://host:8786``.
    volume : Volume
        The image, in memory.
    model, settings
        As for :func:`~napari_lungseg.predict.predict`; the worker takes its best device.
    check : callable
        Called many times a second; what it raises ends the work, here and on the worker.
    needed : tuple of int and sequence of int, optional
        Axis and indices of the slices that are sent, from :func:`~napari_lungseg.predict.slices_needed`; by default all are.

    Returns
    -------
    generator
        Yields None once the worker has all that it needs, then as :func:`~napari_lungseg.predict.predict`.

    Raises
    ------
    InputError
        When the cluster cannot be used, or is lost.
    """
    return _PredictErrand(scheduler, volume, model, settings, needed or (0, range(len(volume.array)))).carried_out(check)


class _Prediction(Actor):
    """One prediction on a worker."""

    async def take_volume(self, shape: tuple[int, ...], dtype: str) -> None:
        self._array = np.zeros(shape, np.dtype(dtype))

    async def take_part(self, axis: int, indices: Sequence[int], part: Any) -> None:
        self._array[_places(axis, indices)] = part

    async def begin(self, affine: Any, unit: Any, spacing_known: bool, oriented: bool, settings: PredictSettings) -> None:
        volume, folder = Volume(self._array, affine, unit, spacing_known, oriented), self.model
        assert folder is not None

        def work(told: Background) -> None:
            with closing(predict(volume, load_model(folder), settings)) as items:
                for item in items:
                    told.put(item)

        no_memory = say("The memory of the cluster's worker does not suffice for this image; choose another device.")
        self.background = Background(work, AHEAD, no_memory)

    async def next(self) -> list[Item | End]:
        return (await self.found())[0]


class _PredictErrand(Errand):
    """One prediction as the asking side sees it."""

    actor = _Prediction

    def __init__(
        self, scheduler: str, volume: Volume, model: ModelFiles, settings: PredictSettings, needed: tuple[int, Sequence[int]]
    ) -> None:
        super().__init__(scheduler)
        self._volume, self._model, self._settings, self._needed = volume, model, settings, needed

    def work(self, actor: Any) -> None:
        self.send_model(actor, self._model)
        array, (axis, needed) = np.asarray(self._volume.array), self._needed
        self.wait(actor.take_volume(array.shape, array.dtype.str))
        count = max(1, PART * array.shape[axis] // max(1, array.nbytes))
        for start in range(0, len(needed), count):
            if self.closed.is_set():
                return
            indices = list(needed[start : start + count])
            self.wait(actor.take_part(axis, indices, np.ascontiguousarray(array[_places(axis, indices)])))
        about = replace(self._volume, array=np.broadcast_to(np.uint8(0), array.shape), notes=(), names=None)
        self.wait(actor.begin(about.affine, about.unit, about.spacing_known, about.oriented, replace(self._settings, device="auto")))
        self.tell(None)
        while not self.closed.is_set():
            for item in self.wait(actor.next()) or ():
                self.tell(item)
                if isinstance(item, End):
                    return

    def lost(self, reason: str) -> str:
        return say(
            "The cluster at {scheduler} stopped answering ({error}). Nothing of yours is lost: press again, or choose another device.",
            scheduler=self.scheduler,
            error=reason,
        )


def _places(axis: int, indices: Sequence[int]) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, list(indices))
