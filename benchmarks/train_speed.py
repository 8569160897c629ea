"""Views a second that a training step of the default network learns from: plain torch against what ships.

    python benchmarks/train_speed.py [--device cuda] [--steps 10]

Plain: float32, contiguous memory, the same loss and optimizer, and the views of a batch are drawn one after the other, before it is learnt
from. What ships adds memory in the order of channels, bfloat16 where the device has units for it, and draws the next views by all cores
meanwhile. Learning and drawing are timed alone, too. All in turns, so that other work on the machine hits all; the median counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from napari_lungseg.device import choose_device
from napari_lungseg.model import load_model
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.training.batches import Batch, Batches, BatchesAhead, SliceSampler, ViewSamplers
from napari_lungseg.training.distributed import ProcessGroup
from napari_lungseg.training.judge import Confusion
from napari_lungseg.training.losses import LOSSES
from napari_lungseg.training.samples import base_cases
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.step import Learner, make_optimizer


def seconds(work: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    device = choose_device(given.device)
    cases = base_cases(load_model("lung-ct").card)
    assert cases is not None
    mix = ViewSamplers(SliceSampler(cases.replay, {}), None, None, 1, Preprocessing())
    print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}; views a second")
    print("| view | batch | learning: plain | what ships | drawing | whole step: plain | what ships | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for view_px, count in ((320, 4), (448, 6)):
        settings = replace(TrainSettings(), view_px=view_px, batch_size=count, coarse_share=0.0)
        batches = Batches(mix, settings)
        plain, shipped = (load_model("lung-ct").network.to(device).train() for _ in range(2))
        shipped.to(memory_format=torch.channels_last)
        optimizers = [make_optimizer(network, settings) for network in (plain, shipped)]
        learner = Learner(shipped, settings.loss, ProcessGroup(0, 1, device))
        names = ("plain", "ships", "draw", "plain, whole", "ships, whole")
        times: dict[str, list[float]] = {name: [] for name in names}

        def plain_step(batch, network=plain, optimizer=optimizers[0], loss=LOSSES[settings.loss]) -> None:
            optimizer.zero_grad(set_to_none=True)
            loss(network(batch.image.to(device)), batch.label.to(device)).backward()
            optimizer.step()

        def shipped_step(batch, learner=learner, optimizer=optimizers[1], count=count) -> None:
            optimizer.zero_grad(set_to_none=True)
            learner.learn(batch, count, Confusion(("lung",)))
            optimizer.step()

        def plain_whole(step, batches=batches, learn=plain_step) -> None:
            learn(batches.draw(step, 0.5))

        with BatchesAhead(batches, 0) as ahead:

            def shipped_whole(step, ahead=ahead, learn=shipped_step) -> None:
                learn(ahead.take(step, 0.5, 0.5))

            for step in range(given.steps + 2):
                drawn: list[Batch] = []
                times["draw"].append(seconds(lambda: drawn.append(batches.draw(step, 0.5)), device))  # noqa: B023
                for name, work in (("plain", plain_step), ("ships", shipped_step)):
                    times[name].append(seconds(lambda: work(drawn[0]), device))  # noqa: B023
            # By themselves, as the next batch is being drawn at the end of each.
            for name, work in (("plain, whole", plain_whole), ("ships, whole", shipped_whole)):
                for step in range(given.steps + 2):
                    times[name].append(seconds(lambda: work(step), device))  # noqa: B023
        rates = {name: count / statistics.median(values[2:]) for name, values in times.items()}
        shown = " | ".join(f"{rates[name]:.1f}" for name in names)
        print(f"| {view_px} | {count} | {shown} | {rates['ships, whole'] / rates['plain, whole']:.2f} |")


if __name__ == "__main__":
    main()
