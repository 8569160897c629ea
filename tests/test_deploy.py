"""What runs in a container, and its description."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from orthanc import write_chest
from phantom import chest_model
from typer.models import OptionInfo

from napari_lungseg import __version__
from napari_lungseg.cli.segment import segment
from napari_lungseg.formats import read_segments
from napari_lungseg.model import save_model

DEPLOY = Path(__file__).parents[1] / "deploy"
pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell")


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return subprocess.run(
        ["sh", str(DEPLOY / "run.sh"), *arguments],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_container_makes_a_dicom_seg_of_each_series_of_its_input(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    write_chest(tmp_path / "in" / "one")
    write_chest(tmp_path / "in" / "two")
    save_model(chest_model(), tmp_path / "model")
    folders = {"HOLOSCAN_INPUT_PATH": str(tmp_path / "in"), "HOLOSCAN_OUTPUT_PATH": str(tmp_path / "out")}
    done = run([], **folders, HOLOSCAN_MODEL_PATH=str(tmp_path / "model"))
    assert done.returncode == 0, done.stderr
    for name in ("one", "two"):
        found = read_segments(tmp_path / "out" / f"{name}_lungs.dcm")
        assert found is not None
        assert set(found[1].values()) == {"right lung", "left lung"}
    runs = json.loads((tmp_path / "out" / "run.json").read_text())["runs"]
    assert {one["model"] for one in runs} == {"chest"}


def test_a_container_with_arguments_is_the_terminal_program():
    assert run(["--version"]).stdout.startswith(f"napari-lungseg {__version__}")


def test_the_description_names_options_that_there_are():
    described = json.loads((DEPLOY / "boutiques.json").read_text())
    assert described["tool-version"] == __version__
    options: set[str] = set()
    for name, parameter in inspect.signature(segment, eval_str=True).parameters.items():
        for about in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(about, OptionInfo):
                options |= {*(about.param_decls or ()), f"--{name.replace('_', '-')}"}
    flags = {one["command-line-flag"] for one in described["inputs"] if "command-line-flag" in one}
    assert flags <= options
    assert len(flags) == 6


def test_the_ending_of_masks_is_for_folders_and_must_be_one_that_is_written(tmp_path):
    scan = write_chest(tmp_path / "ct")
    for output, ending, words in (("a.nrrd", ".dcm", "says its format"), ("out", ".docx", "no ending that can be written")):
        done = run(["segment", str(scan), "-o", str(tmp_path / output), "--ending", ending])
        assert done.returncode == 2
        assert words in done.stderr


def test_kubernetes_runs_programs_and_folders_that_the_image_has():
    yaml = pytest.importorskip("yaml")
    described = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    containers = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in described if one["kind"] == "Deployment"}
    assert set(containers) == {"lungseg-scheduler", "lungseg-worker"}
    extras = re.search(r"/source\[(.*?)\]", (DEPLOY / "Containerfile").read_text())
    assert extras is not None
    assert "cluster" in extras[1].split(",")
    service = next(one for one in described if one["kind"] == "Service")
    for spec in containers.values():
        assert spec["securityContext"]["runAsUser"] == 1000
        container = spec["containers"][0]
        program, kind, *options = container["command"]
        assert (program, kind) in {("dask", "scheduler"), ("dask", "worker")}
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
        helped = subprocess.run(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--help"], capture_output=True, text=True, check=True
        )
        assert all(option in helped.stdout for option in options if option.startswith("--"))
    worker = containers["lungseg-worker"]["containers"][0]["command"]
    assert f"tls://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}" in worker
