"""``napari-lungseg train``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

if TYPE_CHECKING:
    from napari_lungseg.training.fit import EpochDone, StepDone


def train(
    dataset: Annotated[Path, typer.Argument(help="Data set folder in nnU-Net raw layout (imagesTr, labelsTr, dataset.json).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new model; its name is the model's.")],
    base: Annotated[
        str | None, typer.Option("--from", help="Model to start from, by name or folder; without it training starts anew.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Architecture of a new model: small or article.")] = "small",
    epochs: Annotated[int, typer.Option(help="Epochs of 100 steps.")] = 100,
    minutes: Annotated[float | None, typer.Option(help="At most this long.")] = None,
    batch_size: Annotated[int, typer.Option(help="Views a step.")] = 6,
    loss: Annotated[str, typer.Option(help="bce, dice or bce-dice.")] = "bce-dice",
    optimizer: Annotated[str, typer.Option(help="adam, adamw or sgd.")] = "adamw",
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-3,
    coarse_share: Annotated[
        float, typer.Option(help="First part of the run at half the resolution; 0 to go on from a trained model.")
    ] = 0.4,
    seed: Annotated[int, typer.Option(help="Fixes the run on the CPU.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder, with its own settings.")] = False,
) -> None:
    """Train a model on labelled images and save it with its card."""
    from napari_lungseg.training.fit import EpochDone, TrainSettings
    from napari_lungseg.training.run import train as run

    settings = TrainSettings(
        epochs=epochs,
        minutes=minutes,
        batch_size=batch_size,
        loss=loss,
        optimizer=optimizer,
        learning_rate=learning_rate,
        coarse_share=coarse_share,
        seed=seed,
    )
    with tqdm(total=1000, unit="‰", file=sys.stderr, bar_format="{percentage:3.0f}% {bar} {postfix}") as bar:

        def progress(update: StepDone | EpochDone) -> None:
            bar.update(int(1000 * update.progress) - bar.n)
            # From the run's own clock, which counts earlier sittings too.
            left = f", {update.seconds * (1.0 / update.progress - 1.0) / 60.0:.0f} min left" if update.progress > 0 else ""
            bar.set_postfix_str(f"epoch {update.epoch + 1}, loss {update.loss:.4f}{left}", refresh=False)
            if isinstance(update, EpochDone):
                scores = ", ".join(f"{name} {value:g}" for name, value in update.validation.items())
                bar.write(f"epoch {update.epoch + 1}: loss {update.loss:.4f} {scores}", file=sys.stderr)

        command = shlex.join(["napari-lungseg", *sys.argv[1:]])
        model = run(
            dataset, output, base=base, preset=preset, settings=settings, device=device, resume=resume, command=command, progress=progress
        )
    for group, scores in model.card.scores.items():
        typer.echo(f"{group}: " + ", ".join(f"{name} {value:g}" for name, value in scores.items()))
    typer.echo(f"Saved {output}")
