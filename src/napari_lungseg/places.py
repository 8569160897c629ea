"""Names of devices, and whether there may be a GPU, told without loading torch."""

from __future__ import annotations

import ctypes.util
import platform
import re
import sys
from pathlib import Path

from napari_lungseg.errors import InputError

#: What the drivers of NVIDIA and AMD, and Windows below a Linux, put into the file system; without it no program finds a GPU.
GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvhost-ctrl", "/dev/kfd", "/dev/dxg")


def check_device_name(name: str) -> None:
    """Refuse anything but ``auto``, ``cpu``, ``mps``, ``cuda`` and ``cuda:N`` (InputError)."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise InputError(f"{name!r} is not a device; use auto, cpu, mps, cuda or cuda:N.")


def is_address(device: str) -> bool:
    """Whether a device is the address of a cluster's scheduler rather than a device of this computer."""
    return "://" in device


def may_have_gpu() -> bool:
    """Whether torch, which takes seconds to load, has to be asked for GPUs."""
    if "torch" in sys.modules:
        return True
    system = platform.system()
    if system == "Linux":
        return any(Path(file).exists() for file in GPU_FILES)
    if system == "Darwin":
        return platform.machine() == "arm64"
    return ctypes.util.find_library("nvcuda") is not None
