"""What every test stands on: no trace of the user's own folders, and the real data where they lie beside the project."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest

_REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# Settings, models and caches of the user are neither read nor written. Set here and not in a fixture, as
# imports, other plugins' fixtures and child processes must see them too.
_HOME = Path(tempfile.mkdtemp(prefix="napari-lungseg-tests-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
_FOLDERS = {
    "HOME": "",
    "USERPROFILE": "",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_STATE_HOME": "state",
    "WIN_PD_OVERRIDE_APPDATA": "data",
    "WIN_PD_OVERRIDE_LOCAL_APPDATA": "data",
}
for _name, _folder in _FOLDERS.items():
    (_HOME / _folder).mkdir(exist_ok=True)
    os.environ[_name] = str(_HOME / _folder)
os.environ.pop("NAPARI_LUNGSEG_MODELS", None)
# napari keeps its settings in memory: it would write them whenever a test's window opens and closes.
os.environ["NAPARI_CONFIG"] = ""


@pytest.fixture(scope="session", autouse=True)
def imports_never_collected() -> None:
    """Leave what was imported out of garbage collection, which napari begins at every removal of a layer, and training at its end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the project."""
    if not _REAL_DATA.is_dir():
        pytest.skip("the real data sets are not beside this checkout")
    return _REAL_DATA
