"""A user without a name or a home, as in a container that is run with a number for a user."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="only root can become another user here")

BECOME = """
import os, sys
import napari_lungseg.workspace, napari_lungseg.model  # what root may read, the other may not
os.setgroups([]); os.setgid(43210); os.setuid(43210)
"""


def run_as_nobody(code: str, folder: str, **environment: str) -> str:
    names = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_DATA_HOME")
    free = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", BECOME + code], capture_output=True, text=True, timeout=100, cwd=folder, env=free | environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def open_folder(tmp_path_factory):
    """A folder that everyone may write, and reach."""
    folder = tmp_path_factory.mktemp("nobody")
    folder.chmod(0o777)
    for parent in folder.parents[:2]:
        parent.chmod(parent.stat().st_mode | 0o111)
    return folder


def test_the_workspace_of_a_user_without_a_name_is_theirs_by_their_number(open_folder):
    code = "from napari_lungseg.workspace import Workspace; w = Workspace('work'); print(w.user, w.read_only); w.close()"
    assert run_as_nobody(code, str(open_folder)) == "user 43210 False"


def test_without_a_home_it_is_said_what_to_do_and_no_folder_is_made(open_folder):
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
    told, models, refused = run_as_nobody(code, str(open_folder)).splitlines()
    assert "choose another one for the workspace" in told
    assert "HOME is not set" in told
    assert models == "lung-ct lung-xray"
    assert "HOME is not set" in refused
    assert list(open_folder.iterdir()) == []


def test_a_home_that_cannot_be_written_is_named(open_folder):
    home = open_folder / "home"
    home.mkdir(mode=0o555)
    code = """
from napari_lungseg.workspace import Workspace, WorkspaceError, default_folder
try:
    Workspace(default_folder())
except WorkspaceError as error:
    print(error)
"""
    told = run_as_nobody(code, str(open_folder), HOME=str(home))
    assert str(home) in told
    assert "choose another one" in told
