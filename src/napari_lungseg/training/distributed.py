"""Train one model in several processes, started by ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from napari_lungseg.errors import InputError

#: How long the others wait for the first process, which prepares the slices and searches for settings alone.
PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class ProcessGroup:
    """Describe the processes of a run.

    Attributes
    ----------
    rank, size : int
        Which one this is, from 0, and how many there are.
    device : torch.device
        Where this one computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process scores, saves and reports; the others only learn."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """Average the network's gradients over all processes; unchanged where there is one."""
        return DistributedDataParallel(network) if self.size > 1 else network

    def agree(self, value: float) -> float:
        """Return the first process's value in all of them."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device if self.device.type == "cuda" else "cpu")
        distributed.broadcast(shared, 0)
        return float(shared.item())

    def wait(self) -> None:
        """Wait until all processes have come as far."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Join the processes that ``torchrun`` started (its variables ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``), or run alone.

    Each takes a GPU of its own where there are GPUs (NCCL), else the CPU (Gloo).
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroup(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if int(os.environ["LOCAL_RANK"]) >= torch.cuda.device_count():
            raise InputError(f"torchrun started more processes than there are GPUs here ({torch.cuda.device_count()}); start as many.")
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield ProcessGroup(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()
