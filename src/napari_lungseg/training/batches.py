"""Draw what a step learns from: views of new slices, of the base's own cases, and of slices on which the base teaches."""

from __future__ import annotations

import copy
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from napari_lungseg.cores import allowed_threads
from napari_lungseg.framing import framing_of
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.training.augmentation.augment import augment
from napari_lungseg.training.augmentation.options import AugmentSettings
from napari_lungseg.training.samples import LabelledSlice
from napari_lungseg.training.settings import TrainSettings

#: Part of the run over which the augmentation comes up to strength.
RAMP = 0.15
#: The last part of the run sees milder changes, nearer to real images, so that the weights settle on those.
SETTLE, MILD = 0.12, 0.5
#: How strongly views that the base teaches are changed: it must still know what it sees.
TAUGHT = 0.5


class SliceSampler:
    """Draw slices, so that neither patients of few slices nor slices without any class are rare.

    Parameters
    ----------
    slices : list of LabelledSlice
        What to draw from.
    patients : dict
        Patient of each case; a case that is not named is its own.
    empty_share : float
        Share of draws without any class, as far as there are such slices.
    trust : dict, optional
        How much more often slices of a case are drawn than of others, by its key; equally by default.
    """

    def __init__(
        self, slices: list[LabelledSlice], patients: dict[str, str], empty_share: float = 0.2, trust: dict[str, float] | None = None
    ) -> None:
        self.slices = slices
        people = [patients.get(item.case, item.case) for item in slices]
        counts = {person: people.count(person) for person in set(people)}
        empty = np.array([not item.classes for item in slices])
        # The square root lies between drawing every patient and drawing every slice equally often.
        weight = np.array([counts[person] ** -0.5 for person in people])
        if trust is not None:
            weight *= [trust.get(item.case, 0.0) for item in slices]
        for chosen, share in ((empty, empty_share), (~empty, 1.0 - empty_share)):
            if weight[chosen].any():
                weight[chosen] *= share / weight[chosen].sum()
        if not weight.any():
            weight = np.ones(len(slices))
        self.weight = weight / weight.sum()

    def coarsened(self, factor: int) -> SliceSampler:
        """Make a sampler with the same draws at a lower resolution."""
        other = copy.copy(self)
        other.slices = [item.coarsened(factor) for item in self.slices]
        return other

    def draw(self, rng: np.random.Generator) -> LabelledSlice:
        """Draw one slice."""
        return self.slices[int(rng.choice(len(self.slices), p=self.weight))]


@dataclass(frozen=True, eq=False)
class ViewSamplers:
    """Hold the samplers that views come from.

    Attributes
    ----------
    new : SliceSampler
        Judged slices.
    replay : SliceSampler or None
        The base's own cases.
    unjudged : SliceSampler or None
        Slices that nobody has judged.
    lung : int or None
        Class that is lung.
    preprocessing : Preprocessing
        Of the model.
    """

    new: SliceSampler
    replay: SliceSampler | None
    unjudged: SliceSampler | None
    lung: int | None
    preprocessing: Preprocessing


@dataclass(frozen=True, eq=False)
class Batch:
    """Hold the views of one step: first those of new slices, then replayed ones, then those that the base teaches.

    Attributes
    ----------
    image : (N, 1, S, S) tensor
        As the network reads them.
    label : (N, S, S) tensor of uint8
        As in :class:`~.samples.LabelledSlice`.
    new, replay, taught : int
        How many of each kind.
    """

    image: Tensor
    label: Tensor
    new: int
    replay: int
    taught: int


class Batches:
    """Draw batches; the same seed, step and rank give the same batch.

    Parameters
    ----------
    mix : ViewSamplers
        Where views come from.
    settings : TrainSettings
        Size, shares, augmentation.
    """

    def __init__(self, mix: ViewSamplers, settings: TrainSettings) -> None:
        self._mix, self._settings = mix, settings
        samplers = (mix.new, mix.replay, mix.unjudged)
        self._fine: tuple[SliceSampler | None, ...] = samplers
        coarse = settings.coarse_share > 0
        self._coarse = tuple(s.coarsened(2) if s is not None and coarse else s for s in samplers)

    def draw(self, step: int, progress: float, rank: int = 0, pool: Executor | None = None) -> Batch:
        """Draw the batch of a step at ``progress`` (0 .. 1) of the run; the same whether a pool draws its views at a time or not."""
        settings = self._settings
        rng = np.random.default_rng((settings.seed, step, rank) if rank else (settings.seed, step))
        strength = min(1.0, 0.3 + 0.7 * progress / RAMP) if progress < 1.0 - SETTLE else MILD
        samplers, size, pixel_mm, count = self._fine, settings.view_px, self._mix.preprocessing.spacing_mm, settings.batch_size
        if progress < settings.coarse_share:
            samplers, size, pixel_mm, count = self._coarse, size // 2, 2.0 * pixel_mm, 2 * count
        counts = self._counts(count, rng)
        own = settings.augmentation
        # The base's own cases are changed as when it learnt from them, or it would forget what it has seen only so, such as disease.
        looks = ((own, strength), (replace(own, strength=1.0), strength), (own, TAUGHT * strength))
        wanted = [(sampler, look) for sampler, amount, look in zip(samplers, counts, looks, strict=True) for _ in range(amount)]

        def view(kind: tuple[SliceSampler | None, tuple[AugmentSettings, float]], chance: np.random.Generator) -> tuple[Tensor, Tensor]:
            sampler, (look, strong) = kind
            assert sampler is not None
            return self._view(sampler.draw(chance), size, pixel_mm, look, strong, chance)

        views = list((map if pool is None else pool.map)(view, wanted, rng.spawn(len(wanted))))
        images = framing_of(self._mix.preprocessing).scaled(torch.stack([image for image, _ in views]))
        return Batch(images, torch.stack([label for _, label in views]), *counts)

    def _counts(self, total: int, rng: np.random.Generator) -> tuple[int, int, int]:
        """Count the views of each kind; shares that are no whole number come out right on average."""
        wanted = [
            share * total if sampler is not None else 0.0
            for share, sampler in ((self._settings.replay, self._mix.replay), (self._settings.distillation, self._mix.unjudged))
        ]
        replay, taught = (int(np.floor(share + rng.random())) for share in wanted)
        replay = min(replay, total - 1)
        return total - replay - min(taught, total - 1 - replay), replay, min(taught, total - 1 - replay)

    def _view(
        self, item: LabelledSlice, size: int, pixel_mm: float, look: AugmentSettings, strength: float, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        share = self._settings.foreground_share
        return augment(item, size, pixel_mm, look, strength, rng, lung=self._mix.lung, foreground_share=share)


class BatchesAhead:
    """Draw batches by threads, the next one while the network learns from the one before.

    Parameters
    ----------
    batches : Batches
        What to draw.
    rank : int
        Of the process.
    """

    def __init__(self, batches: Batches, rank: int) -> None:
        self._batches, self._rank = batches, rank
        self._drawer, self._pool = ThreadPoolExecutor(1), ThreadPoolExecutor(allowed_threads())
        self._next: tuple[int, Future[Batch]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pool in (self._drawer, self._pool):
            pool.shutdown(cancel_futures=True)

    def take(self, step: int, progress: float, following: float) -> Batch:
        """Give the batch of a step at ``progress`` of the run, and begin that of the next at ``following``, unless the run is over then."""
        if self._next is None or self._next[0] != step:
            self._begin(step, progress)
        assert self._next is not None
        batch = self._next[1].result()
        self._next = None
        if following < 1.0:
            self._begin(step + 1, following)
        return batch

    def _begin(self, step: int, progress: float) -> None:
        self._next = step, self._drawer.submit(self._batches.draw, step, progress, self._rank, self._pool)
