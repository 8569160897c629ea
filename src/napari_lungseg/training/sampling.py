"""Which slice is seen next: by chance, but fairly."""

from __future__ import annotations

import copy

import numpy as np

from napari_lungseg.training.samples import LabelledSlice


class SliceSampler:
    """Draws slices so that small patients and slices without any class are not drowned.

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
        """The same draws at a lower resolution."""
        other = copy.copy(self)
        other.slices = [item.coarsened(factor) for item in self.slices]
        return other

    def draw(self, rng: np.random.Generator) -> LabelledSlice:
        """One slice."""
        return self.slices[int(rng.choice(len(self.slices), p=self.weight))]
