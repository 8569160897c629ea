"""A user without a name or a home, as in a container that is run with a number for a user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest

import napari_lungseg

pytestmark = pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="only root can become another user here")

BECOME = """
import os, sys
import napari_lungseg.workspace
from napari_lungseg.model import list_models
list_models()  # libraries that root may read, and the other may not, are loaded now
os.setgroups([]); os.setgid(43210); os.setuid(43210)
"""


def make_open(folder: Path, mode: int) -> Path:
    """Let everyone reach a temporary folder, and do there what the mode says."""
    folder.chmod(mode)
    # pytest makes two folders around it that are its user's alone, and one more where tests run in several processes.
    for parent in takewhile(lambda parent: not parent.stat().st_mode & 0o001, folder.parents):
        parent.chmod(parent.stat().st_mode | 0o111)
    return folder


@pytest.fixture(scope="module")
def run_as_nobody(tmp_path_factory):
    """Runs code as a user that has only a number, with a copy of the package, as the package's own folder may be root's alone."""
    copy = make_open(tmp_path_factory.mktemp("package"), 0o755)
    shutil.copytree(Path(napari_lungseg.__file__).parent, copy / "napari_lungseg", ignore=shutil.ignore_patterns("__pycache__"))

    def run(code: str, folder: Path, **environment: str) -> str:
        names = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_DATA_HOME")
        free = {name: value for name, value in os.environ.items() if name not in names}
        done = subprocess.run(
            [sys.executable, "-c", BECOME + code],
            capture_output=True,
            text=True,
            timeout=100,
            cwd=folder,
            env=free | {"PYTHONPATH": str(copy)} | environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def open_folder(tmp_path_factory) -> Path:
    """A folder that everyone may write, and reach."""
    return make_open(tmp_path_factory.mktemp("nobody"), 0o777)


def test_the_workspace_of_a_user_without_a_name_is_theirs_by_their_number(run_as_nobody, open_folder):
    code = "from napari_lungseg.workspace import Workspace; w = Workspace('work'); print(w.user, w.read_only); w.close()"
    assert run_as_nobody(code, open_folder) == "user 43210 False"


def test_without_a_home_it_is_said_what_to_do_and_no_folder_is_made(run_as_nobody, open_folder):
    code = """
from napari_lungseg.workspace import Workspace, WorkspaceError, default_folder
from napari_lungseg.model import list_models, user_folder
try:
    Workspace(default_folder())
except WorkspaceError as error:
    print(error)
print(*(entry.name for entry in list_models()))
try:
    user_folder().mkdir(parents=True)
except OSError as error:
    print(error)
"""
    told, models, refused = run_as_nobody(code, open_folder).splitlines()
    assert "choose another one for the workspace" in told
    assert "HOME is not set" in told
    assert models == "lung-ct lung-xray"
    assert "HOME is not set" in refused
    assert list(open_folder.iterdir()) == []


def test_a_home_that_cannot_be_written_is_named(run_as_nobody, open_folder):
    home = open_folder / "home"
    home.mkdir(mode=0o555)
    code = """
from napari_lungseg.workspace import Workspace, WorkspaceError, default_folder
try:
    Workspace(default_folder())
except WorkspaceError as error:
    print(error)
"""
    told = run_as_nobody(code, open_folder, HOME=str(home))
    assert str(home) in told
    assert "choose another one" in told
