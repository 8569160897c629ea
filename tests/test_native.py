"""What the package settles before native libraries are loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from napari_lungseg.native import WAITING


def run_python(code: str, **environment: str) -> str:
    free = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=free | environment, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SHOW = "import os, {module}; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('KMP_BLOCKTIME'))"


@pytest.mark.parametrize("module", ["napari_lungseg", "napari_lungseg.cli", "napari_lungseg.unet", "napari_lungseg.training.train"])
def test_threads_sleep_while_they_wait_wherever_one_enters(module):
    assert run_python(SHOW.format(module=module)) == "PASSIVE 0"


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("KMP_BLOCKTIME", "20"), ("GOMP_SPINCOUNT", "100")])
def test_what_the_person_set_stays(name, value):
    shown = run_python(f"import os, napari_lungseg; print({{n: os.environ[n] for n in {WAITING!r} if n in os.environ}})", **{name: value})
    assert shown == str({name: value})


def test_openmp_itself_heard_it():
    """Only what is set before torch is loaded is heard; GNU's library tells it once it is loaded."""
    code = "import napari_lungseg.unet, sys; sys.stdout.flush()"
    free = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=free | {"OMP_DISPLAY_ENV": "verbose"}, timeout=200
    )
    if "OMP_WAIT_POLICY" not in done.stderr:
        pytest.skip("this torch has an OpenMP that does not show its environment")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="triton is for Linux")
def test_triton_is_refused_only_where_a_shared_llvm_is_in_the_process(tmp_path):
    """With a library of that name, and a triton that would tell that it was loaded."""
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text("print('loaded')")
    (tmp_path / "libLLVM-99.so").write_bytes(bytes(4096))
    code = (
        "import importlib.util, mmap, os, napari_lungseg\n"
        "if os.environ['WITH']:\n"
        "    file = open(os.environ['WITH'], 'rb'); mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\n"
        "assert importlib.util.find_spec('triton') is not None\n"
        "try:\n    import triton\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    assert run_python(code, WITH="", PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])) == "loaded"
    library = str(tmp_path / "libLLVM-99.so")
    shown = run_python(code, WITH=library, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert "triton cannot be loaded in this process" in shown
    assert library in shown
