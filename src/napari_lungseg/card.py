"""The card of a model: what it is, what it wants, where it comes from; kept as readable JSON beside the weights."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Discriminator, Tag, TypeAdapter, ValidationError

from napari_lungseg.architecture import NnunetConfig, OnnxConfig, UNetConfig
from napari_lungseg.classes import LUNG, RIGHT, ClassLabels
from napari_lungseg.errors import InputError
from napari_lungseg.files import read_whole
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.translation import say

#: Version of the card's layout; raised when a field is added, renamed or changes its meaning.
SCHEMA = 5
#: No card is larger: scores and lineage of a model take some kB.
MOST_BYTES = 1 << 24

#: Kinds of networks of other programs.
_OTHERS = ("onnx", "nnunet")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Ancestor:
    """A model from which another one was trained.

    Attributes
    ----------
    name : str
        Its name.
    weights_sha256 : str
        SHA-256 of its weights file.
    """

    name: str
    weights_sha256: str


@dataclass(frozen=True)
class Int8:
    """What is known of the network in int8 beside the weights, which runs in their place on CPUs.

    Attributes
    ----------
    sha256 : str
        SHA-256 of ``int8.safetensors``.
    calibration : str
        How it was made, and of which images.
    dice : dict
        Dice against the float32 network: of the slices that it was calibrated with, and of others, all pixels of each together.
    cases : dict
        Dice against the float32 network of each other case, the lowest first; null where neither finds anything.
    """

    sha256: str
    calibration: str
    dice: dict[str, float]
    cases: dict[str, float | None]


def _kind(architecture: Any) -> str:
    """Which of the two kinds of networks a card describes."""
    told = architecture.get("convention") if isinstance(architecture, dict) else getattr(architecture, "convention", None)
    return told if told in _OTHERS else "unet"


_Network = Annotated[
    Annotated[UNetConfig, Tag("unet")] | Annotated[OnnxConfig, Tag("onnx")] | Annotated[NnunetConfig, Tag("nnunet")], Discriminator(_kind)
]


@dataclass(frozen=True)
class Card:
    """All that is known of a model besides its weights.

    Attributes
    ----------
    name : str
        Name in the library: letters, digits, dots, dashes and underscores.
    description : str
        What it segments, by which convention, and where it fails; for people.
    architecture : UNetConfig or OnnxConfig
        Shape of the network; of one in an ONNX file what is known of it.
    preprocessing : Preprocessing
        How an image becomes the network's input.
    classes : tuple of str
        Name of each foreground class, as many as ``architecture.classes``.
    labels : tuple of int
        Label, 1 to 254, that each class is written as.
    sides : bool
        The first class is lung and is told apart into right (1) and left (2) by geometry.
    training : dict
        Data with licences, the command, the split; free in form.
    scores : dict
        Results on held-out cases; free in form.
    lineage : tuple of Ancestor
        Models this one descends from, the direct parent first.
    licence : str
        Licence of the weights.
    created : str
        Date of training, ISO 8601.
    code_version : str
        Version of this package that trained it.
    accepted : bool
        False for a candidate: a model that was not shown to be better than the one it was trained from, and that nobody has
        accepted.
    weights_sha256 : str
        SHA-256 of ``weights.safetensors`` or ``model.onnx``, filled in when the model is saved.
    int8 : Int8 or None
        Of the network in int8; None where there is none.
    schema : int
        Version of this layout.

    Raises
    ------
    ValueError
        When the name cannot be a folder's name, or classes, labels and architecture disagree.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    name: str
    description: str
    architecture: _Network
    preprocessing: Preprocessing
    classes: tuple[str, ...] = (LUNG,)
    labels: tuple[int, ...] = (RIGHT,)
    sides: bool = True
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    lineage: tuple[Ancestor, ...] = ()
    licence: str = ""
    created: str = ""
    code_version: str = ""
    accepted: bool = True
    weights_sha256: str = ""
    int8: Int8 | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.classes) != self.architecture.classes:
            raise ValueError(f"The card names {len(self.classes)} classes, but its architecture has {self.architecture.classes}.")
        _ = self.class_labels  # checks the labels

    @property
    def class_labels(self) -> ClassLabels:
        """The classes with their labels."""
        return ClassLabels(self.classes, self.labels, self.sides, self.preprocessing.convention)

    @property
    def unet(self) -> UNetConfig:
        """Shape of the network where it is one of this package (InputError for one of another program)."""
        if not isinstance(self.architecture, UNetConfig):
            why = say("{model} is of another program: it can be run, but neither trained nor exported; choose another.", model=self.name)
            raise InputError(why)
        return self.architecture

    def to_json(self) -> str:
        """JSON text of every field, one per line and level."""
        return _adapter().dump_json(self, indent=2, ensure_ascii=False).decode() + "\n"


def check_name(name: str) -> None:
    """Refuse model names that cannot be the name of a folder everywhere (InputError)."""
    if not _NAME.fullmatch(name):
        raise InputError(say("{name!r} cannot be a model's name; use letters, digits, dots, dashes and underscores.", name=name))


def read_card(path: Path) -> Card:
    """Read and check a card, of this layout or those before.

    Raises
    ------
    InputError
        When the file cannot be read, is not JSON, has another layout, lacks a field or has an unknown one.
    """
    try:
        given = json.loads(read_whole(path, MOST_BYTES).decode())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"The model card {path} cannot be read ({error}); copy the model's folder again.") from error
    if isinstance(given, dict) and given.get("schema") == 1:
        given = _with_labels(given)
    if isinstance(given, dict) and given.get("schema") == 2:
        given = {**given, "int8": None, "schema": 3}
    if isinstance(given, dict) and given.get("schema") == 3:
        # All were of this package's own kind.
        parts = {part: given.get(part) for part in ("architecture", "preprocessing")}
        given = {
            **given,
            **{part: {**values, "convention": "lungseg"} for part, values in parts.items() if isinstance(values, dict)},
            "schema": 4,
        }
    if isinstance(given, dict) and given.get("schema") == 4:
        old = given.get("preprocessing")
        given = {**given, **({"preprocessing": {**old, "size_px": None}} if isinstance(old, dict) else {}), "schema": 5}
    if isinstance(given, dict) and given.get("schema") != SCHEMA:
        raise InputError(
            f"The model card {path} has layout {given.get('schema')!r}, but this version reads layout {SCHEMA}; "
            "update napari-lungseg or take a model made for it."
        )
    try:
        card = _adapter().validate_json(json.dumps(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("unet", *_OTHERS)) or "card"
        reason = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise InputError(f"The model card {path} is not usable: {where}: {reason}.") from error
    missing = _missing(json.loads(card.to_json()), given)
    if missing:
        # Defaults may change from one version to the next; a card must mean the same for ever.
        raise InputError(f"The model card {path} is not complete: {missing} is missing.")
    return card


def _with_labels(given: dict[str, Any]) -> dict[str, Any]:
    """A card of layout 1, which had no labels: its classes were counted from 1, and all models of lung alone had their sides split."""
    classes = given.get("classes")
    count = len(classes) if isinstance(classes, list) else 0
    return {**given, "labels": list(range(1, count + 1)), "sides": classes == [LUNG], "accepted": True, "schema": 2}


def _missing(whole: dict[str, Any], given: dict[str, Any]) -> str | None:
    for key, value in whole.items():
        if key not in given:
            return key
        if key in ("architecture", "preprocessing") and (inner := _missing(value, given[key])):
            return f"{key}.{inner}"
    return None


@cache
def _adapter() -> TypeAdapter[Card]:
    return TypeAdapter(Card)
