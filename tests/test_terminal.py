from __future__ import annotations

import csv
import io
import os
import subprocess
import sys

import numpy as np
import pytest

from napari_lungseg.cli.terminal import complain, say
from napari_lungseg.formats import write
from napari_lungseg.tables import as_csv
from napari_lungseg.volume import Volume, scaling


def test_names_cannot_command_the_terminal(capsys):
    say("\x1b]0;title\x07 \u202e a\u00e4\tb\nc \udce9")
    assert capsys.readouterr().out == "\\x1b]0;title\\x07 \\u202e a\u00e4\tb\nc \\udce9\n"
    complain("\x9b2J")
    assert capsys.readouterr().err == "napari-lungseg: \\x9b2J\n"


@pytest.mark.parametrize("name", ["=1+2", "+1", "-1+2", "@SUM(A1)", "\t=1"])
def test_names_are_no_formulas_in_tables(name):
    rows = list(csv.reader(io.StringIO(as_csv([{"case": name, "value": -1.5}]))))
    assert rows == [["case", "value"], [f"'{name}", "-1.5"]]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are no text")
@pytest.mark.parametrize("locale", [{"PYTHONIOENCODING": "utf-8:strict"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_a_file_whose_name_is_no_text_is_measured_told_and_reported(tmp_path, locale):
    labels = np.zeros((3, 8, 8), np.uint8)
    labels[1:, 2:5, 2:5] = 1
    path = os.fsencode(write(Volume(labels, scaling((5.0, 1.0, 1.0))), tmp_path / "a.nii.gz")).replace(b"a.nii", b"\xe9\x1b[2J.nii")
    os.rename(tmp_path / "a.nii.gz", path)
    command = [sys.executable, "-m", "napari_lungseg", "measure", path, "--csv", tmp_path / "a.csv", "--report", tmp_path / "a.html"]
    ran = subprocess.run(command, env=os.environ | locale, capture_output=True, check=False)
    assert (ran.returncode, b"Traceback" in ran.stderr, b"\x1b" in ran.stdout + ran.stderr) == (0, False, False)
    assert "\\udce9" in (tmp_path / "a.csv").read_text(encoding="utf-8")
    assert "\\udce9" in (tmp_path / "a.html").read_text(encoding="utf-8")
    ran = subprocess.run([*command[:4], path + b"x.nii"], env=os.environ | locale, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr.count(b"\n"), b"\x1b" in ran.stderr) == (2, 1, False)
