"""Scores of many cases against their references: matching files by name, and tables of the result."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from napari_lungseg import tables
from napari_lungseg.batch_paths import LABELS_SUFFIX, PROBABILITY_SUFFIX, stem_of
from napari_lungseg.errors import InputError
from napari_lungseg.formats import READABLE
from napari_lungseg.metrics import Scores, Statistics, describe
from napari_lungseg.metrics.statistics import RESAMPLES, SEED
from napari_lungseg.tables import Row, aligned

#: What statistics are made of.
SCORES = tuple(field.name for field in fields(Scores) if field.name != "tolerance_mm")
STATISTICS = tuple(field.name for field in fields(Statistics))
#: Scores of a case that a terminal has room for.
SHOWN = ("dice", "iou", "precision", "recall", "nsd", "hd95_mm", "assd_mm", "volume_error_ml", "volume_error_percent")


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


def case_rows(case: str, scores: Mapping[str, Scores]) -> list[Row]:
    """A row for each label of a case."""
    return [{"case": case, "label": label, **asdict(values)} for label, values in scores.items()]


def slice_rows(case: str, scores: Mapping[str, Sequence[Scores]]) -> list[Row]:
    """A row for each label and slice of a case; slices count from 0, as napari does."""
    return [
        {"case": case, "label": label, "slice": index, **asdict(values)}
        for label, of_slices in scores.items()
        for index, values in enumerate(of_slices)
    ]


def summarise(rows: list[Row]) -> dict[str, dict[str, Statistics]]:
    """Statistics of each score over the cases that have a label, by label and score; none where there is one case alone."""
    if len({row["case"] for row in rows}) < 2:
        return {}
    labels = dict.fromkeys(row["label"] for row in rows)
    return {label: {name: describe([row[name] for row in rows if row["label"] == label]) for name in SCORES} for label in labels}


def as_table(rows: list[Row]) -> str:
    """Text for the terminal: the cases, and below them the statistics where there are several."""
    names = ("case", "label", *SHOWN)
    lines = [aligned([names, *([_short(row[name]) for name in names] for row in rows)])]
    summary = summarise(rows)
    if summary:
        head = ("label", "score", *(name for name in STATISTICS if name not in ("cases", "infinite")), "cases")
        body = [
            (label, score, *(_short(getattr(values, name)) for name in head[2:]))
            for label, scores in summary.items()
            for score, values in scores.items()
            if score not in ("f1", "volume_ml", "reference_ml")
        ]
        lines.append(aligned([head, *body]))
        lines.append("mean_low to mean_high: 95 % interval of the mean, by bootstrap over cases.")
    lines.append(f"nsd: surface Dice at {rows[0]['tolerance_mm']:g} mm. F1 is Dice.")
    return "\n\n".join(lines)


def as_csv(rows: list[Row]) -> str:
    """Rows as comma-separated values with a heading; below them a row for each statistic and label where there are several cases."""
    statistics: list[Row] = []
    if "slice" not in rows[0]:
        for label, scores in summarise(rows).items():
            for statistic in STATISTICS:
                statistics.append({"case": statistic, "label": label} | {name: getattr(scores[name], statistic) for name in SCORES})
    return tables.as_csv([*rows, *statistics])


def as_json(rows: list[Row], slices: list[Row] | None = None) -> str:
    """Rows and statistics as JSON; what is infinite or NaN becomes null.

    Its keys: "tolerance_mm" of the surface Dice; "cases", a row for each case and label; "summary", by label, score and statistic, and
    "bootstrap", how its intervals were made, where there are several cases; "slices", a row for each slice, where they are given.
    """
    document: dict[str, Any] = {"tolerance_mm": rows[0]["tolerance_mm"], "cases": rows}
    summary = summarise(rows)
    document["summary"] = {label: {name: asdict(values) for name, values in scores.items()} for label, scores in summary.items()}
    if summary:
        document["bootstrap"] = {"of": "mean", "interval_percent": 95, "resamples": RESAMPLES, "seed": SEED}
    if slices is not None:
        document["slices"] = slices
    return json.dumps(_finite(document), indent=2) + "\n"


def _cases(folder: Path) -> dict[str, Path]:
    files = [path for path in sorted(folder.iterdir()) if path.name.lower().endswith(READABLE) and not path.name.startswith(".")]
    # "segment --save-probability" writes these beside its labels.
    made = {stem_of(path).removesuffix(LABELS_SUFFIX) + PROBABILITY_SUFFIX for path in files if stem_of(path).endswith(LABELS_SUFFIX)}
    files = [path for path in files if stem_of(path) not in made]
    cases: dict[str, Path] = {}
    for path in files:
        case = stem_of(path).removesuffix(LABELS_SUFFIX)
        if case in cases:
            raise InputError(f"{cases[case]} and {path} are the same case; keep one of them.")
        cases[case] = path
    if not cases:
        raise InputError(f"No images were found in {folder}.")
    return cases


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
