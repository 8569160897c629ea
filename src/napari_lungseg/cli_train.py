"""``napari-lungseg train``."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from tqdm import tqdm

from napari_lungseg.terminal import say

if TYPE_CHECKING:
    from napari_lungseg.card import Card
    from napari_lungseg.training.settings import TrainSettings
    from napari_lungseg.training.train import Trial
    from napari_lungseg.training.updates import PooledScores, Update


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
    epochs: Annotated[int | None, typer.Option(help="Longest run, in epochs.")] = None,
    steps_per_epoch: Annotated[int | None, typer.Option(help="Steps of an epoch.")] = None,
    minutes: Annotated[float | None, typer.Option(help="At most this long.")] = None,
    patience: Annotated[int | None, typer.Option(help="End when the validation Dice has not risen for so many epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Views a step.")] = None,
    view_px: Annotated[int | None, typer.Option(help="Pixels a side of a view.")] = None,
    loss: Annotated[str | None, typer.Option(help="bce, dice, bce-dice, ce or ce-dice.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw or sgd.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    encoder_rate: Annotated[float | None, typer.Option(help="Part of it that the encoder gets; 0 freezes it.")] = None,
    pixel_mm: Annotated[float | None, typer.Option(help="Pixel size of the model, in mm; the base's by default.")] = None,
    schedule: Annotated[str | None, typer.Option(help="poly, cosine or constant.")] = None,
    augmentation: Annotated[float | None, typer.Option(help="Strength of the augmentation; 0 for none.")] = None,
    coarse_share: Annotated[float | None, typer.Option(help="First part of the run at half the resolution.")] = None,
    validation_share: Annotated[float | None, typer.Option(help="Part that is put aside to watch, up to 0.5.")] = None,
    replay: Annotated[float | None, typer.Option(help="Share of views of the base's own cases.")] = None,
    distillation: Annotated[float | None, typer.Option(help="Share of views of unjudged slices, in which the base teaches.")] = None,
    keep_old: Annotated[
        bool | None, typer.Option("--keep-old/--something-else", help="Keep what the base knows, or take it as a start for something else.")
    ] = None,
    sweep: Annotated[
        int, typer.Option(help="Try so many learning rates and strengths of augmentation first, each in a run of this length.")
    ] = 0,
    seed: Annotated[int | None, typer.Option(help="Fixes the run on the CPU.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the output folder, with its own slices and settings.")
    ] = False,
) -> None:
    """Train a model, or fine-tune one with --from, and save it with its card.

    Without other options a new model is trained for long, and a fine-tuned one for two minutes. The log of epochs is
    training/log.jsonl in the model's folder. Started by torchrun, several processes train together.
    """
    from napari_lungseg.training.train import train as run

    given = {
        "epochs": epochs,
        "steps_per_epoch": steps_per_epoch,
        "minutes": minutes,
        "patience": patience,
        "batch_size": batch_size,
        "view_px": view_px,
        "loss": loss,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "encoder_rate": encoder_rate,
        "schedule": schedule,
        "pixel_mm": pixel_mm,
        "coarse_share": coarse_share,
        "validation_share": validation_share,
        "replay": replay,
        "distillation": distillation,
        "keep_old": keep_old,
        "seed": seed,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = _settings(changes, augmentation, new=base is None)
    command = _command(base, preset, changes, augmentation, sweep)
    # Of the processes that torchrun starts, one speaks.
    speaks = os.environ.get("RANK", "0") == "0"
    with _Bar(speaks) as bar:
        model = run(
            dataset,
            output,
            base=base,
            preset=preset,
            settings=settings,
            device=device,
            resume=resume,
            trials=sweep,
            command=command,
            progress=bar.show,
        )
    if speaks:
        _report(model.card, output)


def _settings(changes: dict[str, Any], augmentation: float | None, *, new: bool) -> TrainSettings:
    from dataclasses import replace

    from napari_lungseg.training.settings import TrainSettings

    settings = TrainSettings(**changes) if new else TrainSettings.fine_tuning(**changes)
    return settings if augmentation is None else replace(settings, augmentation=replace(settings.augmentation, strength=augmentation))


def _command(base: str | None, preset: str, changes: dict[str, Any], augmentation: float | None, sweep: int) -> str:
    """What was asked for, as a card keeps it: without paths, which may hold names of people."""
    told = ["napari-lungseg", "train", "DATA", "-o", "MODEL"]
    told += ["--preset", preset] if base is None else ["--from", Path(base).name]
    for name, value in (changes | {"augmentation": augmentation, "sweep": sweep or None}).items():
        if name == "keep_old" and value is not None:
            told.append("--keep-old" if value else "--something-else")
        elif value is not None:
            told += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(told)


class _Bar:
    """The run as a bar on standard error, a line for each epoch above it."""

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
                self._say(f"{update.slices} judged slices of {update.cases} cases. {update.split}")
                for problem in update.problems:
                    self._say(f"Left out: {problem}")
            case Notice():
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
        self._bar.write(text, file=sys.stderr)


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
