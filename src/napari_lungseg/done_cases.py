"""Keep what was done of each scan of a run, so that an interrupted run goes on where it stopped.

Beside the results lies a small file for each case. A case is done when that file was made from the same image, model and settings,
and the results still are what was written.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from napari_lungseg import __version__
from napari_lungseg.card import Card
from napari_lungseg.content import content_hash
from napari_lungseg.files import make_folder, read_whole, write_whole
from napari_lungseg.mask import MaskSettings
from napari_lungseg.run_files import remove_empty
from napari_lungseg.volume import Volume

# What these bring along is not needed where a scan goes into a file, which keeps no record.
if TYPE_CHECKING:
    from napari_lungseg.cases import CaseMeasures, Entry

#: No record is larger, its picture included.
_MOST_BYTES = 1 << 26
_LOCK = "run.lock"
#: Names of files and folders that were being written when a process was killed.
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\.\w+)*")


def case_key(volume: Volume, card: Card, mask: MaskSettings, source: str = "") -> str:
    """SHA-256 of all that the result of a scan depends on: voxels and geometry, weights and what the card says of their use, settings.

    Parameters
    ----------
    volume : Volume
        As it is given to the network; hence series, filled gaps and unit are in it. Its names and notes make no difference.
    card : Card
        Of the model.
    mask : MaskSettings
        From probability to labels.
    source : str
        What a result takes from the scan's files besides (DICOM-SEG).
    """
    used = ("architecture", "preprocessing", "classes", "labels", "sides", "weights_sha256")
    facts = {
        "version": __version__,
        "voxels": content_hash(volume.array),
        "geometry": [volume.affine.tolist(), volume.spacing_known, volume.oriented],
        "unit": volume.unit,
        "model": {name: value for name, value in json.loads(card.to_json()).items() if name in used},
        "mask": asdict(mask),
        "source": source,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def write_done(path: Path, key: str, written: Mapping[str, Path], record: Mapping[str, Any], entry: Entry | None) -> None:
    """Keep what was done of a case, after its results were written.

    Parameters
    ----------
    path : Path
        The case's own file.
    key : str
        From :func:`case_key`.
    written : mapping of str to Path
        Its results, by what they are in ``record``.
    record : mapping
        For the report.
    entry : Entry, optional
        For the table and page of all cases.

    Raises
    ------
    InputError
        When it cannot be written.
    """
    case = None
    if entry is not None and entry.measures is not None:
        case = {"measures": asdict(entry.measures), "picture": base64.b64encode(entry.picture).decode()}
    results = {what: [file.name, file_hash(file)] for what, file in written.items()}
    kept = {"key": key, "results": results, "record": dict(record), "case": case}
    make_folder(path.parent)
    write_whole(path, json.dumps({"sha256": _checksum(kept), "done": kept}))


def read_done(path: Path, key: str, labels: Path, *, probability: bool) -> tuple[dict[str, Any], CaseMeasures | None, bytes] | None:
    """Read what was done of a case.

    Parameters
    ----------
    path, key : Path, str
        As for :func:`write_done`.
    labels : Path
        Where the labels go.
    probability : bool
        Whether the probability is wanted too.

    Returns
    -------
    record, measures, picture
        As they were kept; None and empty where the case was not measured. None in all where it is not done, or a result is not there
        or not what was written.
    """
    try:
        file = json.loads(read_whole(path, _MOST_BYTES))
        kept = file["done"]
        if file["sha256"] != _checksum(kept) or kept["key"] != key:
            return None
        results = kept["results"]
        if probability and "probability" not in results:
            return None
        for what in ("output", *(("probability",) if probability else ())):
            name, sha256 = results[what]
            if file_hash(labels.with_name(name)) != sha256:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    record = kept["record"]
    record |= {"output": str(labels.with_name(results["output"][0])), "probability": None}
    if probability:
        record["probability"] = str(labels.with_name(results["probability"][0]))
    if kept["case"] is None:
        return record, None, b""
    from napari_lungseg.cases import CaseMeasures, Oddity

    measures = kept["case"]["measures"]
    oddities = tuple(Oddity(**{**oddity, "bounds": tuple(oddity["bounds"])}) for oddity in measures["oddities"])
    return record, CaseMeasures(**{**measures, "oddities": oddities}), base64.b64decode(kept["case"]["picture"])


def file_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and bytes of the files in a folder (OSError where it cannot be read)."""
    if path.is_dir():
        parts = "".join(f"{file.name}\0{file_hash(file)}\n" for file in sorted(path.iterdir()) if file.is_file())
        return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Make a folder of records for a run; where no other run is at work there, remove what a killed one left half-written.

    Raises
    ------
    InputError
        When the folder cannot be made.
    """
    new = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
    make_folder(folder)
    lock = FileLock(folder / _LOCK, blocking=False, thread_local=False)
    try:
        lock.acquire()
    except (Timeout, OSError, NotImplementedError):
        # Another run, or a file system without locks; one that cannot be written is told by the first result.
        yield
        return
    try:
        for place in (folder, folder.parent):
            _remove_temporaries(place)
        yield
    finally:
        lock.release(force=True)
        with suppress(OSError):
            if [path.name for path in folder.iterdir()] == [_LOCK]:
                # Nothing was done.
                (folder / _LOCK).unlink()
                remove_empty(new)


def _checksum(kept: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _remove_temporaries(folder: Path) -> None:
    for path in folder.iterdir():
        if not _TEMPORARY.fullmatch(path.name):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
