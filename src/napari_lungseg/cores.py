"""Count the CPU cores that this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

#: Where Linux tells the control group of a process, and where the groups' files lie.
MEMBERSHIP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """Number of cores, by the process's affinity and the quota of its container; at least 1."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def allowed_threads() -> int:
    """Threads that a library may use: as many as OMP_NUM_THREADS or MKL_NUM_THREADS says, else one for each available core."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        # OpenMP takes a list too, of which the first number is meant.
        first = os.environ.get(name, "").split(",")[0].strip()
        if first.isdecimal() and int(first) > 0:
            return int(first)
    return available_cores()


def cpu_quota(membership: Path = MEMBERSHIP, groups: Path = GROUPS) -> float | None:
    """Cores' worth of time that Linux's control groups, version 1 or 2, leave to this process.

    Parameters
    ----------
    membership : Path
        File that tells the groups of the process.
    groups : Path
        Folder where the groups are mounted.

    Returns
    -------
    float or None
        The smallest quota of the group and all that it lies in; None where there is none.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            quotas += [_quota_v2(folder) for folder in _up(groups, path)]
        elif "cpu" in controllers.split(","):
            # Mounted under the names of all its controllers, or with a link for each.
            quotas += [_quota_v1(folder) for name in {controllers, "cpu"} for folder in _up(groups / name, path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _up(root: Path, path: str) -> list[Path]:
    """A group's folder and all above it; in a container its own group is often the root, whatever the path says."""
    inner = Path(path.strip("/"))
    return [root / inner, *(root / above for above in inner.parents)]


def _quota_v2(folder: Path) -> float | None:
    return _cores(_words(folder / "cpu.max"))


def _quota_v1(folder: Path) -> float | None:
    return _cores(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _cores(quota_and_period: list[str]) -> float | None:
    # "max" and -1 are no quota.
    if len(quota_and_period) != 2 or not all(word.isdecimal() for word in quota_and_period):
        return None
    quota, period = map(int, quota_and_period)
    return quota / period if quota and period else None
