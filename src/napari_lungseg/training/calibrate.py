"""Make the network in int8 of a model that was just trained, from slices of its training, and keep it if it is as good as in float32."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import numpy as np

from napari_lungseg.card import Int8, read_card
from napari_lungseg.errors import InputError
from napari_lungseg.library import CARD_FILE, place_model
from napari_lungseg.model import load_model
from napari_lungseg.runtimes import has_openvino
from napari_lungseg.training.distributed import ProcessGroup
from napari_lungseg.training.quantise import LEAST_DICE, QuantiseError, add_int8, compare, facts, few, network_image, passes, quantise
from napari_lungseg.training.run import run
from napari_lungseg.training.run_setup import RunSetup
from napari_lungseg.training.samples import LabelledSlice, spread
from napari_lungseg.training.updates import Finished, Int8Tried, Progress, Update, driven
from napari_lungseg.translation import say

#: Validation slices on which it is held against float32, at most; as many frozen slices of a bundled model as there are.
MOST_COMPARED = 100


@dataclass(frozen=True, eq=False)
class KeptSlices:
    """Hold slices of a run that are needed after its files are gone.

    Attributes
    ----------
    learnt : list of LabelledSlice
        To calibrate with: some that were learnt from, replayed ones included.
    others : dict
        Slices to compare on, by case: validation slices under numbers, as names may be those of patients, and frozen ones of the base.
    note : str
        How many of each.
    """

    learnt: list[LabelledSlice]
    others: dict[str, list[LabelledSlice]]
    note: str

    @classmethod
    def of(cls, setup: RunSetup) -> KeptSlices:
        """Copy them out of what a run was set up with; held-out cases are not in it."""
        old = setup.old
        learnt = [_copy(item) for item in few(_by_case([*setup.slices["train"], *(old.replay if old is not None else [])]).values())]
        watched = [_copy(item) for item in spread(setup.slices["validation"], MOST_COMPARED)]
        frozen = list(old.frozen) if old is not None else []
        others = {f"validation {number}": items for number, items in enumerate(_by_case(watched).values(), 1)} | _by_case(frozen)
        note = (
            f"{len(learnt)} slices of {len({item.case for item in learnt})} cases that the model has learnt from; "
            f"compared on {len(watched)} validation slices"
            + (f" and {len(frozen)} frozen slices of {old.model}" if old is not None else "")
        )
        return cls(learnt, others, note)


def run_with_int8(
    folder: Path,
    *,
    device: str = "auto",
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    processes: ProcessGroup | None = None,
) -> Generator[Update]:
    """Run a training, then make the network in int8 of the new model where OpenVINO and NNCF are installed.

    Parameters and errors are those of :func:`~napari_lungseg.training.run.run`. When :class:`~.updates.Finished` is yielded the model is
    complete in float32; after it come :class:`~.updates.Progress` and at the end one :class:`~.updates.Int8Tried`, if it can be tried here.
    """
    kept: list[KeptSlices] = []

    def keep(setup: RunSetup) -> None:
        if can_make_int8():
            kept.append(KeptSlices.of(setup))

    name = ""
    for update in run(folder, device=device, resume=resume, should_stop=should_stop, processes=processes, saved=keep):
        name = update.name if isinstance(update, Finished) else name
        yield update
    if kept and name:
        yield from make_int8(Path(folder), kept.pop())


def can_make_int8() -> bool:
    """Whether networks can be made in int8 here, and tried: NNCF and OpenVINO are installed, and the processor adds in int8 exactly."""
    if find_spec("nncf") is None or not has_openvino():
        return False
    from napari_lungseg.openvino_runtime import adds_int8_exactly

    return adds_int8_exactly()


def make_int8(folder: Path, slices: KeptSlices) -> Generator[Progress | Int8Tried]:
    """Make the network in int8 of a model, and put it beside the weights if it passes; else the card says why not."""
    try:
        int8, file, weights_sha256 = yield from _made(folder, slices)
        why = _refused(int8)
        if not why:
            add_int8(folder, weights_sha256, int8, file)
            worst = next(iter(int8.cases.values()))
            dice = int8.dice["others"]
            text = say("The network was also made in int8, which OpenVINO runs faster on CPUs: Dice against float32 {dice:.4f}.", dice=dice)
            if worst is not None:
                text = say(
                    "The network was also made in int8, which OpenVINO runs faster on CPUs: "
                    "Dice against float32 {dice:.4f}, {worst:.4f} in the worst case.",
                    dice=dice,
                    worst=worst,
                )
            yield Int8Tried(True, text)
            return
        card = read_card(folder / CARD_FILE)
        if card.weights_sha256 == weights_sha256:
            place_model({CARD_FILE: replace(card, training=card.training | {"int8": why}).to_json().encode()}, folder)
    except (QuantiseError, InputError, MemoryError) as error:
        reason = str(error).rstrip(".") or say("there is not enough memory")
        why = say("no network in int8 could be made ({reason})", reason=reason)
    yield Int8Tried(False, say("The model runs in float32: {why}.", why=why))


def _made(folder: Path, slices: KeptSlices) -> Generator[Progress, None, tuple[Int8, bytes, str]]:
    """The network in int8: what a card says of it, its file, and the SHA-256 of the weights that it was made of."""
    yield Progress(say("Making the network in int8"))
    model = load_model(folder)

    def images(items: Iterable[LabelledSlice]) -> Iterator[np.ndarray]:
        return (network_image(item, model.card) for item in items)

    network = quantise(model, list(images(slices.learnt)))
    groups = {"calibration": slices.learnt, **slices.others}
    total, done = sum(map(len, groups.values())), count(1)
    comparing = compare(model, network, [(name, images(items)) for name, items in groups.items()])
    counts = yield from driven(comparing, lambda: Progress(say("Comparing the network in int8 with float32"), next(done), total))
    int8, file = facts(network, f"NNCF {version('nncf')}: {slices.note}", counts.pop("calibration"), counts)
    return int8, file, model.card.weights_sha256


def _refused(int8: Int8) -> str:
    """Why a network in int8 is not kept; empty where it passes."""
    if all(value is None for value in int8.cases.values()):
        return say("nothing is found on the slices put aside by which a network in int8 could be compared with float32")
    if passes(int8):
        return ""
    return say(
        "the network in int8 differs too much, Dice against float32 {own:.5f} on the slices it was calibrated with, "
        "{others:.5f} on others, where {least} is needed",
        own=int8.dice["calibration"],
        others=int8.dice["others"],
        least=LEAST_DICE,
    )


def _by_case(items: Iterable[LabelledSlice]) -> dict[str, list[LabelledSlice]]:
    found: dict[str, list[LabelledSlice]] = {}
    for item in items:
        found.setdefault(item.case, []).append(item)
    return found


def _copy(item: LabelledSlice) -> LabelledSlice:
    """A slice in memory, without its label."""
    return replace(item, image=np.array(item.image), label=np.empty((0, 0), np.uint8))
