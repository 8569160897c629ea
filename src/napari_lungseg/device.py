"""Where torch runs a network: the choice of a device, batches that fit its memory, and the retreat when they do not."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_lungseg.architecture import UNetConfig
from napari_lungseg.cores import available_cores
from napari_lungseg.errors import InputError
from napari_lungseg.places import check_device_name
from napari_lungseg.predicted import Notice
from napari_lungseg.translation import say, say_n
from napari_lungseg.unet import fold_batch_norm, probabilities

#: Larger batches gain nothing measurable and make cancelling slower.
LARGEST_BATCH = 16
#: Part of the free GPU memory that a batch may be expected to take.
MEMORY_SHARE = 0.5
#: Feature maps of the first level's width that are alive at once at the widest place (skips, concatenation, convolution in and out),
#: doubled for the workspaces of the convolutions.
_LIVE_MAPS = 16


def fit_threads() -> None:
    """Give torch no more threads than there are cores for this process, unless the environment says how many."""
    if not {"OMP_NUM_THREADS", "MKL_NUM_THREADS"} & os.environ.keys() and (cores := available_cores()) < torch.get_num_threads():
        torch.set_num_threads(cores)


# Whatever computes imports this first.
fit_threads()


def choose_device(name: str) -> torch.device:
    """Device for a name; ``auto`` takes CUDA before MPS before CPU.

    Raises
    ------
    InputError
        When the name is not known or the device is not there.
    """
    check_device_name(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(say("This computer has no Apple GPU that torch can use; choose the device auto or cpu."))
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise InputError(say("There is no NVIDIA GPU that torch can use here; choose the device auto or cpu."))
        if (device.index or 0) >= count:
            raise InputError(say("There is no device {name}; this computer has cuda:0 to cuda:{last}.", name=name, last=count - 1))
    return device


def gpu_names() -> list[str]:
    """Names of the GPUs that :func:`choose_device` accepts on this computer."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [*(f"cuda:{index}" for index in range(count)), *(["mps"] if torch.backends.mps.is_available() else [])]


def batch_size(free_bytes: int, config: UNetConfig, height: int, width: int) -> int:
    """Slices of ``height`` x ``width`` pixels to run at once in ``free_bytes`` of GPU memory."""
    cells = math.ceil(height / config.patch) * math.ceil(width / config.patch)
    slice_bytes = 4 * _LIVE_MAPS * config.base_width * cells
    return max(1, min(LARGEST_BATCH, int(MEMORY_SHARE * free_bytes / slice_bytes)))


def autocast(device: torch.device, precision: torch.dtype, *, enabled: bool) -> AbstractContextManager[object]:
    """Compute with less precision where it is enabled; torch before 2.5 does not even let it be disabled on Apple GPUs."""
    return torch.autocast(device.type, precision) if enabled else nullcontext()


class TorchRuntime:
    """Runs a network with torch.

    Parameters
    ----------
    network : Module
        Takes (N, C, H, W) and returns logits.
    config : UNetConfig
        Its shape.
    device : str
        Where to begin: ``cpu``, ``mps``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, network: nn.Module, config: UNetConfig, device: str) -> None:
        self._config = config
        self._runner = Runner(network, torch.device(device))

    @property
    def name(self) -> str:
        """Runtime, version and precision, for a report."""
        return f"torch {torch.__version__} {self._runner.precision}"

    def run(self, images: Iterator[npt.NDArray[np.float32]]) -> Generator[npt.NDArray[np.float32] | Notice]:
        """Yield the probabilities (classes, H, W) of each image (C, H, W) in turn, and notices in between (InputError as in Runner)."""
        runner, count = self._runner, 1
        try:
            # One slice alone so that something is seen soon, then as many as the runner takes.
            while group := list(islice(images, count)):
                for result in runner.run(torch.from_numpy(np.stack(group))):
                    yield result if isinstance(result, Notice) else result.numpy()
                if count == 1 and runner.device.type == "cuda":
                    runner.batch = batch_size(torch.cuda.mem_get_info(runner.device)[0], self._config, *group[0].shape[1:])
                count = runner.batch
        finally:
            runner.close()


class Runner:
    """A copy of a network, made fast for a device, that survives running out of memory.

    On the CPU slices run one at a time (measured: batches gain nothing), channels last, with folded BatchNorm. On CUDA batches run
    in float16 where the GPU has units for it; should that overflow, in float32. The network given is left as it is.

    Parameters
    ----------
    network : Module
        Takes (N, C, H, W) and returns logits.
    device : torch.device
        Where to begin.
    batch : int
        Slices at once, to begin with.
    """

    def __init__(self, network: nn.Module, device: torch.device, batch: int = 1) -> None:
        self._original = network
        self.batch = batch
        self._move(device)

    @property
    def precision(self) -> str:
        """Numbers that it computes with."""
        return "float16" if self._half else "float32"

    def run(self, inputs: Tensor) -> Iterator[Tensor | Notice]:
        """Yield the probabilities (classes, H, W), float32 on the CPU, of each input (C, H, W) in turn, and notices in between.

        Raises
        ------
        InputError
            When the memory does not suffice for one slice on the CPU.
        """
        start = 0
        while start < len(inputs):
            part = inputs[start : start + self.batch]
            maps, cause, halve = None, "", False
            try:
                maps = self._forward(part)
            except RuntimeError as error:
                on_cpu, memory = self.device.type == "cpu", is_out_of_memory(error)
                if on_cpu and not memory:
                    raise
                halve = memory and self.batch > 1
                if on_cpu and not halve:
                    height, width = inputs.shape[-2:]
                    raise InputError(
                        say(
                            "The memory does not suffice for a slice of {height} x {width} pixels with this model; close "
                            "other programs or choose a smaller model.",
                            height=height,
                            width=width,
                        )
                    ) from error
                cause = say("The memory ran out") if on_cpu else say("The GPU memory ran out")
                if not memory:
                    cause = say("The GPU failed ({reason})", reason=str(error).splitlines()[0])
            if maps is None:
                # Only here, past the handler, has the exception let go of the tensors in its frames.
                yield self._halve(cause) if halve else self._retreat(cause)
                continue
            yield from maps
            start += len(part)

    def close(self) -> None:
        """Give the GPU's memory back."""
        self._network = self._original
        self._empty_cache()

    def _move(self, device: torch.device) -> None:
        self.device = device
        network = fold_batch_norm(copy.deepcopy(self._original).eval()).to(device)
        # torch knows this argument, its type hints do not.
        self._network = network if device.type == "mps" else network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Below compute capability 7 there are no tensor cores, and float16 is slower than float32.
        self._half = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0)

    def _forward(self, inputs: Tensor) -> Tensor:
        # Both contexts end before anything is yielded: they are states of the thread, which belongs to the caller.
        with torch.inference_mode():
            on_device = inputs.to(self.device)
            if self._half:
                with torch.autocast("cuda", dtype=torch.float16):
                    logits = self._network(on_device)
                if not bool(logits.isfinite().all()):
                    self._half = False
            if not self._half:
                logits = self._network(on_device)
            return probabilities(logits.float()).cpu()

    def _empty_cache(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()

    def _halve(self, cause: str) -> Notice:
        self._empty_cache()
        self.batch //= 2
        return Notice(
            say_n(
                "{cause}: going on with {count} slice at a time.",
                "{cause}: going on with {count} slices at a time.",
                self.batch,
                cause=cause,
            )
        )

    def _retreat(self, cause: str) -> Notice:
        self.close()
        self.batch = 1
        self._move(torch.device("cpu"))
        return Notice(say("{cause}: going on with the CPU, which takes longer.", cause=cause), device="cpu")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that the memory of a GPU or of the computer ran out."""
    # cuDNN, cuBLAS, MPS and the CPU's allocator raise plain RuntimeErrors.
    text = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(
        phrase in text for phrase in ("out of memory", "alloc_failed", "not enough memory", "can't allocate memory")
    )
