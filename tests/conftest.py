"""What every test stands on: no trace of the user's own folders, and the real data where they lie beside the project."""

from __future__ import annotations

import atexit
import gc
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

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

# No test uses the network, nor does any Python that it starts: each of them imports what forbids it.
_FORBIDDEN = Path(__file__).parent / "no_network"
os.environ.setdefault("NETWORK_ATTEMPTS", str(_HOME / "network attempts"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_FORBIDDEN), os.environ.get("PYTHONPATH"))))
# NNCF takes seconds to load, at the end of each training; tests that are about it take the fixture.
os.environ["HIDDEN_MODULES"] = "nncf"
runpy.run_path(str(_FORBIDDEN / "sitecustomize.py"))
# An engine's child gets the path of this process in place of that variable.
sys.path.insert(0, str(_FORBIDDEN))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which anything tried to use the network, also where that was swallowed."""
    attempts = Path(os.environ["NETWORK_ATTEMPTS"])
    if attempts.exists():
        print(f"\nThe network was used:\n{attempts.read_text()}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


_imported = 0


@pytest.fixture(autouse=True)
def imports_never_collected() -> None:
    """Leave what was imported out of garbage collection, which napari begins at every removal of a layer, and training at its end."""
    global _imported
    if len(sys.modules) > _imported + 50:
        gc.collect()
        gc.freeze()
        _imported = len(sys.modules)


_nncf: dict[str, ModuleType] = {}


@pytest.fixture(scope="module")
def nncf() -> Iterator[None]:
    """NNCF, where it is installed and the processor can add in int8."""
    from napari_lungseg.training.calibrate import can_make_int8

    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "nncf")
        sys.modules.update(_nncf)  # not loaded a second time
        patch.delenv("HIDDEN_MODULES")
        if not can_make_int8():
            pytest.skip("NNCF is not installed, or this processor cannot add in int8")
        yield
        _nncf.update({name: module for name, module in sys.modules.items() if name == "nncf"})


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the project."""
    if not _REAL_DATA.is_dir():
        pytest.skip("the real data sets are not beside this checkout")
    return _REAL_DATA


@pytest.fixture(scope="module")
def running_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    orthanc = pytest.importorskip("orthanc")
    if not orthanc.is_installed():
        pytest.skip("Orthanc with its DICOMweb is not installed (Debian: apt-get install orthanc orthanc-dicomweb)")
    server = orthanc.Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.stop()


@pytest.fixture
def orthanc(running_orthanc: Any) -> Any:
    """A real archive, empty."""
    running_orthanc.clear()
    return running_orthanc
