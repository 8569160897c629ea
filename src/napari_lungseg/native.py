"""Prepare a process for native libraries that disturb each other: the threads of OpenMP, and two copies of LLVM.

Both must be settled before torch is loaded, in every process that may compute, so the package itself calls
:func:`prepare` when it is imported. Nothing is loaded here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

#: Variables by which a person says how OpenMP's threads wait for each other, in GNU's, LLVM's and Intel's libraries.
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
#: The extension module of triton, with its own LLVM, is loaded well after its package was found.
_TRITON = ("triton", "triton._C.libtriton")


def prepare() -> None:
    """Set how OpenMP waits, and keep triton away from the LLVM of an OpenGL driver; a second call changes nothing."""
    let_threads_sleep()
    if sys.platform.startswith("linux") and not any(isinstance(finder, TritonGuard) for finder in sys.meta_path):
        sys.meta_path.insert(0, TritonGuard())


def let_threads_sleep() -> None:
    """Let OpenMP's threads sleep while they wait, unless the environment says how they wait.

    By default they spin. Where another program has one of the cores, the thread that should run there comes late, and the
    others burn their time until it does: many times slower. Takes effect on libraries that are loaded later, and in child processes.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ["KMP_BLOCKTIME"] = "0"


def mapped_llvm() -> str:
    """Path of a shared LLVM in this process, as Mesa's OpenGL drivers bring it once a window was drawn; else empty."""
    try:
        maps = Path("/proc/self/maps").read_bytes()
    except OSError:  # not on Linux, or /proc is not mounted
        return ""
    lines = (line.split(maxsplit=5) for line in maps.splitlines() if b"libLLVM" in line)
    return next((os.fsdecode(fields[5]) for fields in lines if len(fields) == 6), "")


class TritonGuard(MetaPathFinder, Loader):
    """Refuses to import triton where a shared LLVM is in the process already.

    PyPI's torch for Linux depends on triton and imports it, if it can, with the first optimizer. triton's extension has an LLVM of
    its own, whose functions the dynamic linker mixes with those of the one that is there, and the process ends with SIGSEGV.
    torch takes the error for a missing triton; nothing here needs it. Where triton was imported first, or the driver brings no
    LLVM (NVIDIA's), nothing is refused.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Answer for triton, where it would end the process.

        That it is there is not denied: ``importlib.util.find_spec`` must not raise, as torch calls it while it starts CUDA.
        """
        return ModuleSpec(name, self) if name in _TRITON and mapped_llvm() else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Raise what a package that is not installed raises."""
        raise ModuleNotFoundError(
            f"triton cannot be loaded in this process: it would end it, as its LLVM does not get along with that of the OpenGL driver"
            f" ({mapped_llvm()}). Use it in a process of its own.",
            name=spec.name,
        )

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing; no module is ever made."""
