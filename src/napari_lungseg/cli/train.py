"""``napari-lungseg train``."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from napari_lungseg.cli.terminal import Device, flag, printable, say, with_settings
from napari_lungseg.errors import InputError
from napari_lungseg.setting import settings_of
from napari_lungseg.training.augmentation import AugmentSettings
from napari_lungseg.training.settings import TrainSettings

if TYPE_CHECKING:
    from napari_lungseg.card import Card
    from napari_lungseg.training.train import Trial
    from napari_lungseg.training.updates import PooledScores, Update


#: Settings that are options: those of the training, and the strength of the augmentation.
OPTIONS = settings_of(TrainSettings) | {"augmentation": settings_of(AugmentSettings)["strength"]}


@with_settings(OPTIONS)
def train(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="Folder of labelled images (nnU-Net raw layout, or pairs in images and masks), or a workspace with reviewed slices."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model; its name is the model's.")],
    base: Annotated[
        str | None, typer.Option("--from", help="Model to start from, by name or folder; without it training starts anew.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Architecture of a new model: small or article.")] = "small",
    sweep: Annotated[
        int, typer.Option(help="Try so many learning rates and strengths of augmentation first, each in a run of this length.")
    ] = 0,
    device: Device = "auto",
    scheduler: Annotated[str, typer.Option(help="Train on a worker of the Dask cluster of this scheduler: tcp://host:8786.")] = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the output folder, with its own slices and settings.")
    ] = False,
    **settings: Any,
) -> None:
    """Train a model, or fine-tune one with --from, and save it with its card.

    Without other options a new model is trained for long, and a fine-tuned one for two minutes. The log of epochs is
    training/log.jsonl in the model's folder. Started by torchrun, several processes train together.
    """
    from napari_lungseg.training.train import train as run

    elsewhere = None
    if scheduler:
        if sweep:
            raise InputError("--sweep tries settings on this computer; leave it out, or --scheduler.")
        from napari_lungseg.remote.training import train_remotely

        elsewhere = partial(train_remotely, scheduler)

    changes = {name: value for name, value in settings.items() if value is not None}
    command = _command(base, preset, changes, sweep)
    # Of the processes that torchrun starts, one speaks.
    speaks = os.environ.get("RANK", "0") == "0"
    with _Bar(speaks) as bar:
        model = run(
            dataset,
            output,
            base=base,
            preset=preset,
            settings=_settings(changes, new=base is None),
            device=device,
            resume=resume,
            trials=sweep,
            command=command,
            progress=bar.show,
            elsewhere=elsewhere,
        )
    if speaks:
        _report(model.card, output)


def _settings(changes: dict[str, Any], *, new: bool) -> TrainSettings:
    own = {name: value for name, value in changes.items() if name != "augmentation"}
    settings = TrainSettings(**own) if new else TrainSettings.fine_tuning(**own)
    strength = changes.get("augmentation", settings.augmentation.strength)
    return replace(settings, augmentation=replace(settings.augmentation, strength=strength))


def _command(base: str | None, preset: str, changes: dict[str, Any], sweep: int) -> str:
    """Return what was asked for, as a card keeps it: without paths, which may hold names of people."""
    words = ["napari-lungseg", "train", "DATA", "-o", "MODEL"]
    words += ["--preset", preset] if base is None else ["--from", Path(base).name]
    for name, value in changes.items():
        on, _, off = flag(name, OPTIONS[name]).partition("/")
        if isinstance(value, bool):
            words.append(on if value else off)
        else:
            words += [on, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words + (["--sweep", str(sweep)] if sweep else []))


class _Bar:
    """Show the run as a bar on standard error, and a line for each epoch above it."""

    def __init__(self, shown: bool) -> None:
        self._bar = tqdm(total=1000, file=sys.stderr, bar_format="{percentage:3.0f}% {bar} {postfix}", disable=None if shown else True)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, update: Update | Trial) -> None:
        from napari_lungseg.predicted import Notice
        from napari_lungseg.training import updates
        from napari_lungseg.training.train import Trial

        match update:
            case updates.Overview():
                self._say(f"{update.slices} annotated slices of {update.cases} cases. {update.split}")
                for problem in update.problems:
                    self._say(f"Left out: {problem}")
                for note in update.notes:
                    self._say(note)
            case Notice() | updates.Int8Tried():
                self._say(update.text)
            case updates.Progress():
                done = f" ({update.done} of {update.total})" if update.total else ""
                self._bar.set_postfix_str(f"{update.text}{done}")
            case updates.StepDone():
                left = "" if update.seconds_left is None else f", {_clock(update.seconds_left)} left"
                self._bar.update(int(1000 * update.progress) - self._bar.n)
                self._bar.set_postfix_str(
                    f"epoch {update.epoch + 1}, batch {update.epoch_step} of {update.epoch_steps}, loss {update.loss:.4f}{left}"
                )
            case updates.EpochDone():
                watched = "" if update.validation is None else f"; validation: {_line(update.validation)}"
                self._say(f"epoch {update.epoch + 1}: {_line(update.train)}{watched}{' *' if update.best else ''}")
            case Trial():
                self._say(f"rate {update.learning_rate:.2g}, augmentation {update.strength:.2f}: {update.score:.4f}")

    def _say(self, text: str) -> None:
        self._bar.write(printable(text), file=sys.stderr)


def _line(scores: PooledScores) -> str:
    return f"loss {scores.loss:.4f}, Dice {scores.mean_dice:.4f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _report(card: Card, output: Path) -> None:
    say(card.training["verdict"])
    if held_out := card.scores.get("held_out"):
        say("held out: " + ", ".join(f"{name} {value:g}" for name, value in held_out.items()))
    say(f"Saved {output}" + ("" if card.accepted else " as a candidate"))
