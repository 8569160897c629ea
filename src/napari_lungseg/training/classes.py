"""Which label is which class: of the base, of the data, and of the model that comes of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from napari_lungseg.architecture import UNetConfig
from napari_lungseg.card import Card
from napari_lungseg.errors import InputError
from napari_lungseg.training.samples import IGNORE
from napari_lungseg.unet import UNet
from napari_lungseg.volume import Array

#: Names under which data sets have the lung, whole or by sides.
LUNG_NAMES = frozenset({"lung", "lungs", "right lung", "left lung", "lung right", "lung left", "lung_right", "lung_left"})
#: Probability that a grown head gives a new class before it has learnt anything; small, so that the old classes stay what they were.
FIRST_GUESS = 0.01


@dataclass(frozen=True)
class Classes:
    """The classes of a model in training.

    Attributes
    ----------
    names : tuple of str
        Of each class.
    labels : tuple of int
        The label that each is written as.
    sides : bool
        Whether the first is lung, told apart into 1 right and 2 left after prediction.
    of_label : dict of int to int
        Class, from 1, of each label in the data.
    from_base : tuple of (int or None)
        Which class of the base, from 1, each is; None for new ones.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    sides: bool
    of_label: dict[int, int]
    from_base: tuple[int | None, ...]

    @property
    def old(self) -> int | None:
        """How many of the classes, which then come first, the base knows; None if it knows all or there is none."""
        known = sum(number is not None for number in self.from_base)
        return known if 0 < known < len(self.names) else None

    def index(self, labels: Array) -> npt.NDArray[np.uint8]:
        """Classes (0 background, 1 .. n, ``IGNORE``) of an array of labels.

        Raises
        ------
        InputError
            When a label is none of the classes.
        """
        table = np.full(256, IGNORE - 1, np.uint8)
        table[0], table[IGNORE] = 0, IGNORE
        for label, number in self.of_label.items():
            table[label] = number
        found = table[np.asarray(labels)]
        if (found == IGNORE - 1).any():
            strange = int(np.asarray(labels)[found == IGNORE - 1][0])
            raise InputError(f"There is a label {strange} that is none of the classes ({', '.join(self.names)}); remove it or name it.")
        return found


def choose_classes(found: Mapping[int, str], base: Card | None, *, keep_old: bool) -> Classes:
    """Classes for the labels of the data.

    Parameters
    ----------
    found : mapping of int to str
        Labels that occur, with their names; empty where a label has none.
    base : Card or None
        The model to start from.
    keep_old : bool
        Whether its classes stay even where the data do not have them.

    Raises
    ------
    InputError
        When no label occurs, or one means another thing in the base.
    """
    if not found:
        raise InputError("There is nothing to learn: no judged slice holds a label. Paint what is to be found on some of them.")
    names: list[str] = []
    labels: list[int] = []
    from_base: list[int | None] = []
    of_label: dict[int, int] = {}
    lungs = {label for label, name in found.items() if name.lower() in LUNG_NAMES}
    sides = bool(lungs) or (base is not None and base.sides and any(found.get(label, "named") == "" for label in (1, 2)))
    if base is not None:
        own = {label for label in found if base.sides and label in (1, 2) and (label in lungs or not found[label])}
        for number, (name, label) in enumerate(zip(base.classes, base.labels, strict=True), 1):
            mine = own if base.sides and number == 1 else {one for one, called in found.items() if one == label and called in ("", name)}
            if base.sides and number == 1:
                mine |= lungs
            if mine or keep_old:
                names.append(name)
                labels.append(label)
                from_base.append(number)
                of_label |= dict.fromkeys(mine, len(names))
        sides = base.sides and bool(names) and from_base[0] == 1
    elif sides:
        names.append("lung")
        labels.append(1)
        from_base.append(None)
        of_label |= dict.fromkeys(lungs, 1)
    taken = set(labels) | ({1, 2} if sides else set())
    for label in sorted(found.keys() - of_label.keys()):
        if label in taken:
            whose = names[labels.index(label)] if label in labels else "the left lung"
            raise InputError(
                f"Label {label} is {found[label] or 'something else'} here but {whose} in the model to start from; give it another number, "
                "or train something else (do not keep what the base knows)."
            )
        names.append(found[label] or f"label {label}")
        labels.append(label)
        from_base.append(None)
        of_label[label] = len(names)
    return Classes(tuple(names), tuple(labels), sides, of_label, tuple(from_base))


@torch.no_grad()
def with_head(network: UNet, config: UNetConfig, classes: Classes) -> UNet:
    """A network of ``config`` with the weights of another one; classes that the other knows keep what was learnt.

    Parameters
    ----------
    network : UNet
        The base; it is not changed.
    config : UNetConfig
        As the base's, but for the number of classes.
    classes : Classes
        Tells which class of the base each one is.
    """
    grown = UNet(config)
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("head.")}
    grown.load_state_dict(state, strict=False)
    cells = config.patch**2
    weight, bias = (_channels(network.state_dict()[f"head.{name}"], network.config, cells) for name in ("weight", "bias"))
    new_weight, new_bias = torch.zeros(config.classes + 1, *weight.shape[1:]), torch.zeros(config.classes + 1, *bias.shape[1:])
    new_weight[0], new_bias[0] = weight[0], bias[0]
    for place, number in enumerate(classes.from_base, 1):
        if number is None:
            # As likely as background, times a small number: where the background is sure, the new class is not there.
            new_weight[place], new_bias[place] = weight[0], bias[0] + float(torch.logit(torch.tensor(FIRST_GUESS)))
        else:
            new_weight[place], new_bias[place] = weight[number], bias[number]
    if config.out_channels == 1:
        new_weight, new_bias = new_weight[1:] - new_weight[:1], new_bias[1:] - new_bias[:1]
    for name, values in (("weight", new_weight), ("bias", new_bias)):
        head = grown.state_dict()[f"head.{name}"]
        head.copy_(values.reshape(head.shape))
    return grown


def _channels(tensor: torch.Tensor, config: UNetConfig, cells: int) -> torch.Tensor:
    """Head parameters by channel, background first: of a single logit z the pair (0, z)."""
    parted = tensor.reshape(config.out_channels, cells, *tensor.shape[1:])
    return torch.cat((torch.zeros_like(parted), parted)) if config.out_channels == 1 else parted
