"""Set how a model is trained: one group of settings for the window, the terminal and Python."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal, Self

from napari_lungseg.errors import InputError
from napari_lungseg.setting import check, setting, settings_of
from napari_lungseg.training.augmentation.options import AugmentSettings
from napari_lungseg.translation import mark

Loss = Literal["bce", "dice", "bce-dice", "ce", "ce-dice"]
Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["poly", "cosine", "constant"]

_count = partial(setting, at_least=1)
_share = partial(setting, at_least=0, at_most=1)
#: In the window on demand, and no option of the terminal.
_rare = partial(setting, at_least=0, folded=True, terminal=False)
#: Strength of the augmentation for fine-tuning.
_MILDER = 0.6


@dataclass(frozen=True)
class TrainSettings:
    """Set how a model is trained; each field's text says what it does.

    The defaults are for a new model; :meth:`fine_tuning` gives those for a few corrected slices.

    Raises
    ------
    InputError
        When a setting makes no sense.
    """

    epochs: int = _count(100, "Epochs at most", "Longest run in epochs; after each, the slices put aside are scored.", fine_tuning=30)
    steps_per_epoch: int = _count(100, "Batches an epoch", "Batches learnt from in an epoch.", fine_tuning=10)
    minutes: float | None = setting(
        None, "Minutes at most", "Longest run in minutes; the schedule ends with it.", above=0, none=mark("no limit"), fine_tuning=2.0
    )
    patience: int | None = _count(
        None, "Patience (epochs)", "End early when nothing got better for so many epochs.", none=mark("never"), fine_tuning=12
    )
    batch_size: int = _count(6, "Batch size", "Views learnt from at once; fewer where memory runs out.", fine_tuning=4)
    view_px: int = _count(
        448, "View (pixels)", "Side of a view at the model's pixel size; smaller is quicker, sees less.", step=32, fine_tuning=320
    )
    #: Shape and place are learnt at half the price.
    coarse_share: float = _share(
        0.4, "Coarse first", "First part of the run, at half the resolution.", step=0.1, fine_tuning=0.0, folded=True
    )
    loss: Loss = setting("bce-dice", "Loss", "What the training minimises.")
    optimizer: Optimizer = setting("adamw", "Optimizer", "How weights follow the gradient.")
    learning_rate: float = setting(
        2e-3, "Learning rate", "The highest rate; lower forgets less and learns more slowly.", above=0, step=0.00005, fine_tuning=5e-4
    )
    encoder_rate: float = _share(1.0, "Encoder's rate", "Part of the rate that the encoder gets; 0 freezes it.", step=0.1, folded=True)
    #: poly: to the power of 0.9 as in nnU-Net (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z); cosine: half a cosine
    #: (Loshchilov and Hutter 2017, arXiv 1608.03983).
    schedule: Schedule = setting("poly", "Schedule", "How the rate falls to the end.")
    warm_up: float = _rare(0.03, "Warm-up", "Part of the run over which the rate rises.", at_most=1, step=0.01)
    momentum: float = _rare(0.99, "Momentum", "Nesterov momentum of the optimizer sgd.", at_most=1, step=0.01)
    weight_decay: float = _rare(1e-2, "Weight decay", "Pulls the weights to zero.", step=0.001)
    clip_norm: float = _rare(5.0, "Longest gradient", "Longest gradient; longer ones are cut.", above=0, step=0.5)
    average: float = _rare(
        0.998, "Weight average", "Decay of the weights' average (EMA), which is kept; 0: none.", at_most=1, step=0.001, fine_tuning=0.95
    )
    empty_share: float = _rare(0.2, "Empty slices", "Share of views of slices without any class.", at_most=1, step=0.05)
    foreground_share: float = _rare(
        0.33, "Centred on labels", "Share of views centred on a label, in slices larger than a view.", at_most=1, step=0.05
    )
    validation_share: float = _share(
        0.2, "Share put aside", "Part of the patients, or of one's slices, that is only watched.", at_most=0.5, step=0.05
    )
    pixel_mm: float | None = setting(
        None, "Pixel (mm)", "Pixel size of the new model, in mm.", above=0, step=0.05, none=mark("the model's")
    )
    keep_old: bool = setting(
        True, "Keep what it knows", "Accept only what is no worse on the starting model's own cases.", opposite="something-else"
    )
    replay: float = _share(
        0.0, "Replay", "Share of views of the starting model's own cases, against forgetting.", step=0.05, fine_tuning=0.25
    )
    #: As far as the base was right on judged slices of the same case (Li and Hoiem 2016, arXiv 1606.09282).
    distillation: float = _share(
        0.0,
        "Distillation",
        "Share of views of slices that nobody has annotated, in which the starting model teaches.",
        step=0.005,
        fine_tuning=0.125,
    )
    seed: int = setting(0, "Seed", "The same seed gives the same run on the CPU.", at_least=0, folded=True)
    augmentation: AugmentSettings = field(default_factory=AugmentSettings)

    def __post_init__(self) -> None:
        check(self, "training")
        if self.replay + self.distillation > 0.8:
            raise InputError("Replay and distillation together must leave at least 0.2 of the views for what is new.")

    @classmethod
    def fine_tuning(cls, **changes: Any) -> Self:
        """Make settings for a few corrected slices, against forgetting the old ones.

        Parameters
        ----------
        **changes
            Settings to change.

        Raises
        ------
        InputError
            When there is no such setting, or one makes no sense.
        """
        unknown = changes.keys() - {setting.name for setting in fields(cls)}
        if unknown:
            raise InputError(f"There is no training setting {sorted(unknown)[0]!r}.")
        own = {name: about.fine_tuning for name, about in settings_of(cls).items() if about.fine_tuning is not ...}
        return cls(**{"augmentation": AugmentSettings(strength=_MILDER), **own, **changes})
