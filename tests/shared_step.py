"""A process that learns together with others; the program that training/test_run.py runs."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from napari_lungseg.training.distributed import process_group
from napari_lungseg.unet import UNet, UNetConfig


def main(folder: Path) -> None:
    """Take three steps, and leave the weights in a file named after the process."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(base_width=8, depth=1, norm="group"))
    views = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    with process_group(torch.device("cpu")) as processes:
        wrapped = processes.wrap(network)
        mine = views[processes.rank :][:1] if processes.size == 2 else views
        for _ in range(3):
            network.zero_grad()
            wrapped(mine).square().mean().backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter -= 0.1 * parameter.grad
        processes.wait()
        weights = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
        torch.save(weights, folder / f"{processes.size}-{processes.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
