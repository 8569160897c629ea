"""The cases of a run as a table and as a contact sheet: HTML that needs nothing else."""

from __future__ import annotations

import base64
import csv
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from napari_lungseg import __version__
from napari_lungseg.cases.ranking import CaseMeasures, rank_cases
from napari_lungseg.errors import InputError
from napari_lungseg.files import write_whole
from napari_lungseg.grid import upright
from napari_lungseg.measurement.report_pictures import outline_png, window_of
from napari_lungseg.tables import Row, as_csv, as_parquet
from napari_lungseg.volume import Volume

#: Names of the files, which no reader of this package takes for an image.
CASES_CSV, CASES_HTML, CASES_PARQUET = "lungseg_cases.csv", "lungseg_cases.html", "lungseg_cases.parquet"
#: Flatter coronal pictures than this part of their width show too little; an axial one takes their place.
_FLATTEST = 0.2
#: Ways to sort, by the name of the attribute that is compared.
_SORTS = {"need": "Needs a look first", "name": "Name", "volume": "Volume", "ratio": "Right / left", "error": "Expected error"}
#: Columns that are no decimal numbers.
_KINDS = {"rank": int, "case": str, "input": str, "output": str, "parts": int, "oddities": str, "error": str}
_UNITS = (("ml", "mL"), ("percent", "%"))
_STYLE = """
body { font: 14px/1.4 sans-serif; margin: 24px; color: #222; } h1 { font-size: 22px; margin: 0 0 2px; }
h2 { font-size: 15px; margin: 8px 0 2px; overflow-wrap: anywhere; } .note { color: #666; margin: 2px 0 12px; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 18px; align-items: start; margin-top: 14px; }
article { border-top: 1px solid #ddd; } img { display: block; max-width: 100%; background: #000; } p { margin: 2px 0; }
.odd { color: #a33b00; } code { display: block; font-size: 12px; background: #f3f3f3; padding: 4px; overflow-wrap: anywhere; }
button { font: inherit; } button[aria-pressed=true] { font-weight: bold; }
"""
_SCRIPT = """
let last = "need", up = true;
for (const button of document.querySelectorAll("button")) button.addEventListener("click", () => {
  const key = button.dataset.sort, main = document.querySelector("main");
  up = key === last ? !up : key === "need" || key === "name";
  last = key;
  const sign = up ? 1 : -1, cards = [...main.children];
  cards.sort((a, b) => {
    const one = a.dataset[key], other = b.dataset[key];
    if (one === "" || other === "") return (one === "") - (other === "");
    return sign * (key === "name" ? one.localeCompare(other, undefined, {numeric: true}) : one - other);
  });
  main.append(...cards);
  for (const each of document.querySelectorAll("button")) each.setAttribute("aria-pressed", each === button);
});
"""


@dataclass(frozen=True, eq=False)
class Entry:
    """A case of the table and the page.

    Attributes
    ----------
    name : str
        Of the file or folder; nothing of what the image says of its patient.
    source : str
        The scan.
    output : str
        The mask; empty after a failure.
    measures : CaseMeasures or None
        None after a failure.
    picture : bytes
        As :func:`coronal_picture` makes it; empty after a failure.
    error : str
        Why there is no mask; else empty.
    """

    name: str
    source: str
    output: str = ""
    measures: CaseMeasures | None = None
    picture: bytes = b""
    error: str = ""


def coronal_picture(image: Volume, labels: Volume) -> bytes:
    """Draw the coronal plane with the most mask, its outline over the image in a lung window, as PNG.

    Where there is no such plane (a single slice, a thin slab) it is the axial slice, or the slice as it was cut.

    Parameters
    ----------
    image, labels : Volume
        On one grid, in any orientation.

    Returns
    -------
    bytes
        The head is up, and the patient's right is on the left.
    """
    shown, mask = upright(image), upright(labels)
    steps = mask.spacing
    flat = mask.shape[0] * steps[0] < _FLATTEST * mask.shape[2] * steps[2]
    axis = mask.shape.index(1) if 1 in mask.shape else 0 if flat else 1
    array = np.asarray(mask.array)
    counts = np.count_nonzero(array, axis=tuple(other for other in range(3) if other != axis))
    index = int(np.argmax(counts)) if counts.any() else mask.shape[axis] // 2
    here = (slice(None),) * axis + (index,)
    over = () if axis == 0 else (0,)
    rest = [step for other, step in enumerate(steps) if other != axis]
    plane = np.flip(np.asarray(shown.array[here]), over)
    return outline_png(plane, np.flip(array[here], over), (rest[0], rest[1]), window_of(plane, image.unit))


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Put failures first, by name, then the cases as :func:`rank_cases` does."""
    failed = sorted((entry for entry in entries if entry.measures is None), key=lambda entry: (entry.name, entry.source))
    done = {f"{entry.name}\0{entry.source}": entry for entry in entries if entry.measures is not None}
    ranked = rank_cases({name: entry.measures for name, entry in done.items() if entry.measures is not None})
    return [*failed, *(done[name] for name in ranked)]


def write_cases(folder: Path, entries: Sequence[Entry], *, parquet: bool = False) -> tuple[Path, Path]:
    """Write the table and the page into a folder; earlier ones are replaced.

    Parameters
    ----------
    folder : Path
        An existing folder.
    entries : sequence of Entry
        One or more, in any order.
    parquet : bool
        Write the table as Parquet as well, for which pyarrow is needed.

    Returns
    -------
    table, page : Path
        What was written; the table as CSV.

    Raises
    ------
    InputError
        When a file cannot be written.
    """
    ordered = in_order(entries)
    rows = [_row(place, entry) for place, entry in enumerate(ordered, start=1)]
    write_whole(folder / CASES_CSV, as_csv(rows))
    if parquet:
        write_whole(folder / CASES_PARQUET, as_parquet(rows, {column: _KINDS.get(column, float) for column in rows[0]}))
    write_whole(folder / CASES_HTML, _page(ordered))
    return folder / CASES_CSV, folder / CASES_HTML


def read_cases(folder: Path) -> list[tuple[Path, str]]:
    """Read which scans of a run there are, those first that need a look, each with why.

    Parameters
    ----------
    folder : Path
        In which :func:`write_cases` has written. Scans that were given by a relative path are looked for from the current folder, from
        this folder, and from the one above.

    Returns
    -------
    list of (Path, str)
        Empty where there is no table. Scans that are not where they were are left out.

    Raises
    ------
    InputError
        When the table cannot be read, or none of its scans is there.
    """
    path = folder / CASES_CSV
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(row["input"], row["error"] or row["oddities"] or _expected(row)) for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is no table of cases ({error}); make it again with segment --summary.") from error
    found: list[tuple[Path, str]] = []
    for source, why in rows:
        at = next((at for at in (Path(source), folder / source, folder.parent / source) if at.exists()), None)
        if at is not None:
            found.append((at.absolute(), why))
    if not found:
        raise InputError(f"None of the scans that {path} names is there any more.")
    return found


def _expected(row: dict[str, str]) -> str:
    """The expected error of a row, in words."""
    return next((f"expected error {row[f'expected_error_{unit}']} {sign}" for unit, sign in _UNITS if row[f"expected_error_{unit}"]), "")


def _row(place: int, entry: Entry) -> Row:
    measures = entry.measures
    row: Row = {"rank": place, "case": entry.name, "input": entry.source, "output": entry.output}
    for column, digits in {"right_ml": 1, "left_ml": 1, "volume_ml": 1, "right_left": 3}.items():
        row[column] = _rounded(getattr(measures, column, None), digits)
    row["parts"] = None if measures is None else measures.parts
    for column in ("expected_error_ml", "expected_error_percent"):
        row[column] = _rounded(getattr(measures, column, None), 2)
    row["unlike_percent"] = _rounded(None if measures is None else measures.unlike_percent, 1)
    row["oddities"] = "" if measures is None else " ".join(oddity.text for oddity in measures.oddities)
    return row | {"error": entry.error}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _page(ordered: Sequence[Entry]) -> str:
    buttons = "".join(
        f'<button type="button" data-sort="{key}" aria-pressed="{"true" if key == "need" else "false"}">{text}</button> '
        for key, text in _SORTS.items()
    )
    cards = "".join(_card(place, entry) for place, entry in enumerate(ordered, start=1))
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Cases</title>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'unsafe-inline'\"><style>{_STYLE}</style></head><body>"
        f'<h1>{len(ordered)} cases</h1><p class="note">napari-lungseg {escape(__version__)}. For research, not for diagnosis. The expected '
        "error comes from the network's own doubt; oddities say what is unusual, not what is wrong. The commands are for the folder "
        "in which the run was started; a mask that opens as an image becomes a mask by Convert to Labels in the menu of its layer.</p>"
        f"<div>Sort by: {buttons}</div><main>{cards}</main><script>{_SCRIPT}</script></body></html>\n"
    )


def _card(place: int, entry: Entry) -> str:
    name, measures = escape(entry.name), entry.measures
    if measures is None:
        data, body = ("", "", ""), f'<p class="odd">Not segmented: {escape(entry.error)}</p>'
    else:
        data = (_text(measures.volume_ml, 1), _text(measures.right_left, 3), _text(measures.expected_error_ml, 2))
        code = base64.b64encode(entry.picture).decode()
        body = f'<img alt="{name}" src="data:image/png;base64,{code}"><p>{escape(_figures(measures))}</p>'
        body += "".join(f'<p class="odd">{escape(oddity.text)}</p>' for oddity in measures.oddities)
    opened = shlex.join(["napari", "--plugin", "napari-lungseg", entry.source, *filter(None, [entry.output])])
    return (
        f'<article data-need="{place}" data-name="{name}" data-volume="{data[0]}" data-ratio="{data[1]}" data-error="{data[2]}">'
        f"<h2>{place}. {name}</h2>{body}<code>{escape(opened)}</code></article>"
    )


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _figures(measures: CaseMeasures) -> str:
    told = []
    if measures.right_ml is not None and measures.left_ml is not None:
        told.append(f"right {measures.right_ml:.0f} mL, left {measures.left_ml:.0f} mL")
    elif measures.volume_ml is not None:
        told.append(f"lungs {measures.volume_ml:.0f} mL")
    if measures.expected_error_ml is not None:
        told.append(f"expected error {measures.expected_error_ml:.1f} mL")
    elif measures.expected_error_percent is not None:
        told.append(f"expected error {measures.expected_error_percent:.1f} % of the mask")
    return "; ".join(told)
