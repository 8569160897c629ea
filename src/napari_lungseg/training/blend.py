"""Compare a network with the one before, and move its weights back towards the old ones where it has forgotten too much."""

from __future__ import annotations

from collections.abc import Generator
from itertools import count

import torch

from napari_lungseg.training.distributed import ProcessGroup
from napari_lungseg.training.judge import better, forgotten
from napari_lungseg.training.run_setup import RunSetup
from napari_lungseg.training.samples import LabelledSlice, spread
from napari_lungseg.training.updates import PooledScores, Progress, driven
from napari_lungseg.translation import say
from napari_lungseg.unet import UNet

#: Validation slices that are scored before and after, at most.
COMPARED = 200
#: How often the way from the old weights to the new ones is halved where the new ones have forgotten too much.
HALVINGS = 4

#: Scores on the validation slices and on the base's frozen cases.
Pair = tuple[PooledScores | None, PooledScores | None]
StateDict = dict[str, torch.Tensor]


def blend(setup: RunSetup, network: UNet, before: Pair, processes: ProcessGroup) -> Generator[Progress, None, tuple[Pair, float]]:
    """Score the new weights; where they have forgotten too much, move them back towards the old ones, as little as it takes.

    Weights between those before and after a short training make a network between the two (Wortsman et al. 2022, arXiv 2109.01903).

    Parameters
    ----------
    setup : RunSetup
        Of the run, with the old weights.
    network : UNet
        Has the new weights; they are changed in place.
    before : pair of PooledScores
        Of the old weights, from :func:`compare`.
    processes : ProcessGroup
        Tells the device.

    Returns
    -------
    scores : pair of PooledScores
        On the validation slices and on the base's frozen cases, of the weights that ``network`` then has.
    share : float
        Part of the way from the old weights to the new ones.
    """
    after = yield from compare(setup, network, processes, say("Scoring the new model"))
    if not forgotten(before[1], after[1]):
        return after, 1.0
    learnt = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    old = {name: tensor.to(processes.device) for name, tensor in setup.model.network.state_dict().items()}
    text = say("Going back as far as it takes to forget nothing")
    kept, share, too_far = before[1], 0.0, 1.0
    for _ in range(HALVINGS):
        tried = (share + too_far) / 2
        _move(network, old, learnt, tried)
        scores = yield from _score_frozen(setup, network, processes, text)
        if forgotten(before[1], scores):
            too_far = tried
        else:
            kept, share = scores, tried
    if share:
        _move(network, old, learnt, share)
        new = yield from _score_validation(setup, network, processes, text)
        if better(before[0], new):
            return (new, kept), share
    network.load_state_dict(learnt)
    return after, 1.0


def _move(network: UNet, old: StateDict, learnt: StateDict, share: float) -> None:
    """Give a network the weights at a share of the way from the old ones to the learnt ones."""
    network.load_state_dict({name: torch.lerp(old[name].float(), learnt[name].float(), share) for name in learnt})


def compare(setup: RunSetup, network: UNet, processes: ProcessGroup, text: str) -> Generator[Progress, None, Pair]:
    """Score networks on the validation slices and on the base's frozen cases."""
    new = yield from _score_validation(setup, network, processes, text)
    old = yield from _score_frozen(setup, network, processes, text)
    return new, old


def _score_validation(setup: RunSetup, network: UNet, processes: ProcessGroup, text: str) -> Generator[Progress, None, PooledScores | None]:
    """Score a network on validation slices; None where there are none."""
    return _score(setup, network, processes, text, spread(setup.slices["validation"], COMPARED), None)


def _score_frozen(setup: RunSetup, network: UNet, processes: ProcessGroup, text: str) -> Generator[Progress, None, PooledScores | None]:
    """Score a network on the base's frozen cases; None where there are none."""
    old = setup.old
    return _score(setup, network, processes, text, [] if old is None else old.frozen, None if old is None else old.classes)


def _score(
    setup: RunSetup, network: UNet, processes: ProcessGroup, text: str, slices: list[LabelledSlice], only: int | None
) -> Generator[Progress, None, PooledScores | None]:
    """Score a network on slices, as :meth:`~.judge.Judge.score` does; None without any."""
    network.to(processes.device).eval()
    done = count(1)
    scores = yield from driven(setup.judge.score(network, slices, only=only), lambda: Progress(text, next(done), len(slices)))
    return scores if slices else None
