"""Nothing uses the network: every test, and every Python that it starts, is forbidden to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

OUTSIDE = "203.0.113.1"  # kept for documentation (RFC 5737)


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of attempts of its own, so that those of this test are no fault."""
    path = tmp_path / "attempts"
    monkeypatch.setenv("NETWORK_ATTEMPTS", str(path))
    return path


def test_the_tests_own_process_cannot_reach_another_machine(attempts: Path) -> None:
    with pytest.raises(PermissionError, match="no network"), socket.socket() as outside:
        outside.connect((OUTSIDE, 80))
    with pytest.raises(PermissionError, match="no network"):
        socket.getaddrinfo("example.org", 443)
    assert len(attempts.read_text().splitlines()) == 2


def test_nor_can_a_process_that_it_starts(attempts: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", f"import socket; socket.create_connection(('{OUTSIDE}', 80))"], capture_output=True, text=True
    )
    assert "no network is used" in run.stderr
    assert attempts.exists()


def test_processes_of_this_machine_can_talk_to_each_other(attempts: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
    assert not attempts.exists()


def test_the_terminal_segments_without_a_network(tmp_path: Path, attempts: Path) -> None:
    from napari_lungseg.formats import write
    from napari_lungseg.sample import sample_ct

    ct = sample_ct()
    write(ct.crop((slice(0, 3), slice(None), slice(None))), tmp_path / "ct.nrrd")
    command = [sys.executable, "-m", "napari_lungseg", "segment", "ct.nrrd", "-o", "lungs.seg.nrrd", "--report", "run.json"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ))
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "lungs.seg.nrrd").exists()
    assert not attempts.exists()
