"""The record can be handed on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from napari_lungseg.errors import InputError
from napari_lungseg.volume import Volume
from napari_lungseg.workspace import Source, Workspace, export_record

from .conftest import add, painted


def test_the_table_says_who_did_what_when(workspace: Workspace, volume: Volume, tmp_path: Path) -> None:
    case = add(workspace, volume, name="Lung, ünder")
    workspace.save(case, {1: painted(case, 1)}, cause="paint", source=Source("lung-ct", "abc", {"threshold": 0.4}))
    workspace.set_state(case, 1, "reviewed", note='said "good"', seconds=12.5)
    with export_record(workspace, tmp_path / "record.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["user"] for row in rows} == {"ann"}
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    made = next(row for row in rows if row["what"] == "made")
    assert json.loads(made["details"])["settings"] == {"threshold": 0.4}
    reviewed = next(row for row in rows if row["what"] == "state")
    assert (reviewed["image"], reviewed["content"]) == ("Lung, ünder", case.content)
    details = json.loads(reviewed["details"])
    assert (details["state"], details["note"], details["seconds"]) == ("reviewed", 'said "good"', 12.5)


def test_a_table_that_cannot_be_written_is_said_in_a_sentence(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not be written"):
        export_record(workspace, tmp_path / "nowhere" / "record.csv")
