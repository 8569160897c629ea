"""How a model is trained: one group of settings for the window, the terminal and Python."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, get_args

from napari_lungseg.errors import InputError
from napari_lungseg.training.augmentation.options import AugmentSettings

Loss = Literal["bce", "dice", "bce-dice", "ce", "ce-dice"]
Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["poly", "cosine", "constant"]

_POSITIVE = ("epochs", "steps_per_epoch", "batch_size", "view_px")
_SHARES = (
    "coarse_share",
    "warm_up",
    "momentum",
    "average",
    "empty_share",
    "foreground_share",
    "validation_share",
    "replay",
    "distillation",
    "encoder_rate",
)


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained. The defaults are for a new model; :meth:`fine_tuning` gives those for a few corrected slices.

    Attributes
    ----------
    epochs, steps_per_epoch : int
        Length of the run.
    minutes : float or None
        The run is cut to this time; the schedule knows and comes to its end with it.
    patience : int or None
        The run ends early when the validation Dice has not risen for so many epochs.
    batch_size : int
        Views a step at full resolution.
    view_px : int
        Pixels a side of a view, at the model's pixel size.
    coarse_share : float
        The first part of the run sees half the resolution and twice the batch: shape and place are learnt at half the price.
    loss : {"bce", "dice", "bce-dice", "ce", "ce-dice"}
        See :mod:`napari_lungseg.training.losses`.
    optimizer : {"adam", "adamw", "sgd"}
        SGD has Nesterov momentum.
    learning_rate : float
        Highest rate.
    encoder_rate : float
        Part of the learning rate that the layers before and in the middle get; 0 freezes them.
    schedule : {"poly", "cosine", "constant"}
        How the rate falls after the warm-up: to the power of 0.9 as in nnU-Net (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z), as
        half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983), or not at all.
    warm_up : float
        Part of the run over which the rate rises to its highest.
    momentum : float
        Of SGD.
    weight_decay : float
        Decay of the weights.
    clip_norm : float
        Longest gradient.
    average : float
        Decay of the running average of the weights (EMA), which is what is scored and kept; 0 for the weights themselves.
    empty_share : float
        Share of views of slices without any class, as far as there are such slices.
    foreground_share : float
        Share of views that are centred on a labelled pixel, where a slice is larger than a view.
    validation_share : float
        Part of the patients, or of the slices of a single one, that is put aside to watch the training.
    pixel_mm : float or None
        Pixel size of the new model; None for that of the base (0.75 mm for a new model).
    keep_old : bool
        Whether what the base knows is to be kept: its classes stay, and the new model is accepted only if it is no worse on the
        base's own cases. Without it the base is only a start for something else.
    replay : float
        Share of views of the base's own cases, against forgetting.
    distillation : float
        Share of views of slices that nobody has judged, in which the base teaches, as far as it was right on judged slices of the same case
        (Li and Hoiem 2016, arXiv 1606.09282).
    seed : int
        Fixes the run on the CPU.
    augmentation : AugmentSettings
        What happens to the slices.

    Raises
    ------
    InputError
        When a setting makes no sense.
    """

    epochs: int = 100
    steps_per_epoch: int = 100
    minutes: float | None = None
    patience: int | None = None
    batch_size: int = 6
    view_px: int = 448
    coarse_share: float = 0.4
    loss: Loss = "bce-dice"
    optimizer: Optimizer = "adamw"
    learning_rate: float = 2e-3
    encoder_rate: float = 1.0
    schedule: Schedule = "poly"
    warm_up: float = 0.03
    momentum: float = 0.99
    weight_decay: float = 1e-2
    clip_norm: float = 5.0
    average: float = 0.998
    empty_share: float = 0.2
    foreground_share: float = 0.33
    validation_share: float = 0.2
    pixel_mm: float | None = None
    keep_old: bool = True
    replay: float = 0.0
    distillation: float = 0.0
    seed: int = 0
    augmentation: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise InputError(f"Training needs {_words(name)} of at least 1, not {getattr(self, name)}.")
        for name, choices in (("loss", Loss), ("optimizer", Optimizer), ("schedule", Schedule)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"There is no {name} {getattr(self, name)!r}; choose from {', '.join(get_args(choices))}.")
        for name in _SHARES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"The {_words(name)} of the training must lie between 0 and 1, not at {getattr(self, name):g}.")
        if self.validation_share > 0.5:
            raise InputError(f"At most half can be put aside for validation, not {self.validation_share:g}.")
        if self.replay + self.distillation > 0.8:
            raise InputError("Replay and distillation together must leave at least 0.2 of the views for what is new.")
        if not self.learning_rate > 0:
            raise InputError(f"The learning rate must be above 0, not {self.learning_rate:g}.")
        if not (self.clip_norm > 0 and self.weight_decay >= 0):
            raise InputError("The longest gradient must be above 0, and the weight decay not below.")
        if self.pixel_mm is not None and not self.pixel_mm > 0:
            raise InputError(f"The pixel size must be above 0 mm, not {self.pixel_mm:g}.")
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"The time for training must be above 0 minutes, not {self.minutes:g}.")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"Training can stop early after 1 epoch or more without a better result, not after {self.patience}.")

    @classmethod
    def fine_tuning(cls, **changes: Any) -> Self:
        """Settings to teach a model from a few corrected slices without its forgetting the old ones; any of them can be changed."""
        unknown = changes.keys() - {setting.name for setting in fields(cls)}
        if unknown:
            raise InputError(f"There is no training setting {sorted(unknown)[0]!r}.")
        return cls(**{**_FINE_TUNING, **changes})


_FINE_TUNING: dict[str, Any] = {
    "epochs": 30,
    "steps_per_epoch": 10,
    "minutes": 2.0,
    "patience": 12,
    "batch_size": 4,
    "view_px": 320,
    "coarse_share": 0.0,
    "learning_rate": 5e-4,
    "average": 0.95,
    "replay": 0.25,
    "distillation": 0.125,
    "augmentation": AugmentSettings(strength=0.6),
}


def _words(name: str) -> str:
    return name.replace("_", " ").replace(" px", " size in pixels")
