"""How many cores there are for a process, by its affinity and its control groups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_lungseg.cores import allowed_threads, available_cores, cpu_quota

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the system does not keep a process to some cores")


def quota(tmp_path: Path, membership: str, **files: str) -> float | None:
    """The quota where the control groups have these files, whose names have ``__`` between folders."""
    (tmp_path / "cgroup").write_text(membership)
    for name, text in files.items():
        file = tmp_path / "fs" / name.replace("__", "/").replace("_DOT_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return cpu_quota(tmp_path / "cgroup", tmp_path / "fs")


def test_version_2_in_a_container_whose_group_is_the_root(tmp_path):
    assert quota(tmp_path, "0::/\n", cpu_DOT_max="150000 100000\n") == 1.5


def test_version_2_takes_the_smallest_quota_on_the_way_up(tmp_path):
    files = {"a__cpu_DOT_max": "200000 100000\n", "a__b__cpu_DOT_max": "max 100000\n"}
    assert quota(tmp_path, "0::/a/b\n", **files) == 2.0


def test_version_1_by_the_path_or_at_the_root(tmp_path):
    files = {"cpu__cpu_DOT_cfs_quota_us": "50000\n", "cpu__cpu_DOT_cfs_period_us": "100000\n"}
    assert quota(tmp_path, "3:cpu,cpuacct:/docker/0123\n2:memory:/docker/0123\n", **files) == 0.5


def test_no_quota(tmp_path):
    assert quota(tmp_path, "0::/\n") is None
    assert quota(tmp_path, "0::/\n", cpu_DOT_max="max 100000\n") is None
    files = {"cpu__cpu_DOT_cfs_quota_us": "-1\n", "cpu__cpu_DOT_cfs_period_us": "100000\n"}
    assert quota(tmp_path, "1:cpu:/\n", **files) is None
    assert cpu_quota(tmp_path / "no such file", tmp_path) is None


def test_the_environment_says_how_many_threads_a_library_may_use(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert allowed_threads() == available_cores()
    for said, threads in (("3", 3), ("5,2", 5), ("", available_cores()), ("0", available_cores()), ("many", available_cores())):
        monkeypatch.setenv("OMP_NUM_THREADS", said)
        assert allowed_threads() == threads


def test_there_is_always_a_core():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@linux
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is only one core")
def test_torch_gets_no_more_threads_than_there_are_cores():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from napari_lungseg.cores import available_cores; import napari_lungseg.device, torch\n"
        "print(available_cores(), torch.get_num_threads())"
    )
    free = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    for environment, expected in ((free, "1 1"), ({**free, "OMP_NUM_THREADS": "2"}, "1 2")):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=200)
        assert done.stdout.strip() == expected, done.stderr
