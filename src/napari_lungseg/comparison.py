"""Scores of many cases against their references: matching files by name, and tables of the result."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_lungseg.errors import InputError
from napari_lungseg.formats import READABLE, read
from napari_lungseg.metrics import evaluate
from napari_lungseg.tables import Row, aligned
from napari_lungseg.tasks import LABELS_SUFFIX, stem_of


def pairs(prediction: Path, reference: Path) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """Match predictions with references.

    Parameters
    ----------
    prediction, reference : Path
        Two files, or two folders with files of the same names; the ending may differ, and so may "_lungs" before it.

    Returns
    -------
    matched : dict
        Paths of prediction and reference by case.
    failures : list of str
        Files without a partner, one sentence each.

    Raises
    ------
    InputError
        When a path does not exist, or one is a file and the other a folder.
    """
    for path in (prediction, reference):
        if not path.exists():
            raise InputError(f"{path} does not exist; check the name.")
    if prediction.is_dir() != reference.is_dir():
        raise InputError(f"{prediction} and {reference} must both be files or both be folders.")
    if not prediction.is_dir():
        return {stem_of(prediction): (prediction, reference)}, []
    predicted, expected = _cases(prediction), _cases(reference)
    failures = [f"{predicted[case]} has no reference of that name in {reference}." for case in predicted if case not in expected]
    failures += [f"{expected[case]} has no prediction of that name in {prediction}." for case in expected if case not in predicted]
    return {case: (predicted[case], expected[case]) for case in predicted if case in expected}, failures


def compare(case: str, prediction: Path, reference: Path) -> list[Row]:
    """Score one case; one row for each label: "case", "label" and the scores by name (InputError where the two do not fit)."""
    scores = evaluate(read(prediction), read(reference))
    return [{"case": case, "label": label, **asdict(values)} for label, values in scores.items()]


def as_table(rows: list[Row]) -> str:
    """Text for the terminal, with the mean of each label below where there are several cases."""
    body = rows + (_means(rows) if len({row["case"] for row in rows}) > 1 else [])
    return aligned([list(rows[0]), *([_short(value) for value in row.values()] for row in body)])


def as_json(rows: list[Row]) -> str:
    """Rows and means as JSON; infinite distances become null."""
    document = {"cases": rows, "mean": _means(rows)}
    return json.dumps(_finite(document), indent=2) + "\n"


def _cases(folder: Path) -> dict[str, Path]:
    files = [path for path in sorted(folder.iterdir()) if path.name.lower().endswith(READABLE) and not path.name.startswith(".")]
    cases: dict[str, Path] = {}
    for path in files:
        case = stem_of(path).removesuffix(LABELS_SUFFIX)
        if case in cases:
            raise InputError(f"{cases[case]} and {path} are the same case; keep one of them.")
        cases[case] = path
    if not cases:
        raise InputError(f"No images were found in {folder}.")
    return cases


def _means(rows: list[Row]) -> list[Row]:
    means = []
    for label in dict.fromkeys(row["label"] for row in rows):
        alike = [row for row in rows if row["label"] == label]
        names = [name for name in alike[0] if name not in ("case", "label")]
        means.append({"case": "mean", "label": label, **{name: sum(row[name] for row in alike) / len(alike) for name in names}})
    return means


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
