"""Watch an archive: segment each new series once, also after a restart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_lungseg.archive.client import Archive, ArchiveSeries, UnreachableError
from napari_lungseg.archive.segmenting import ArchiveSettings, Stored, segment_series, segmentation_uids
from napari_lungseg.errors import InputError, memory_sentence
from napari_lungseg.files import make_folder, read_whole, write_whole

#: In the folder of a watch: series that could not be segmented, and why.
FAILED_FILE = "failed.json"
_MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class Watched:
    """What became of a series, or of a look at the archive (no series).

    Attributes
    ----------
    series : ArchiveSeries or None
        Which.
    stored : Stored or None
        What was stored.
    error : str
        Why nothing was.
    """

    series: ArchiveSeries | None
    stored: Stored | None = None
    error: str = ""


def watch(
    archive: Archive,
    settings: ArchiveSettings,
    folder: Path,
    wanted: Mapping[str, str],
    *,
    every_s: float = 30.0,
    fewest: int = 10,
    once: bool = False,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[Watched]:
    """Segment each series of an archive that has no segmentation by the same model and settings yet.

    What is done is seen in the archive itself: a segmentation has a number that follows from the images, the model and the settings. So
    nothing is done twice after a restart, or where two watch the same archive at different times. Series that cannot be segmented are
    kept in ``folder``, and tried again once they have other images, or there is another model.

    Parameters
    ----------
    archive : Archive
        Where.
    settings : ArchiveSettings
        How.
    folder : Path
        Where the failures are kept; one for each watch.
    wanted : mapping
        Attributes of the series, as for :meth:`Archive.find`.
    every_s : float
        Seconds between two looks. A series whose images are not the same in two looks is still arriving, and is left for the next.
    fewest : int
        Series of fewer images are left alone: scouts.
    once : bool
        End when nothing is left to be done.
    wait : callable
        Waits so many seconds; what it raises ends the watch.

    Yields
    ------
    Watched
        After each series, and where the archive does not answer; then it is asked again at the next look (with ``once``, it ends).

    Raises
    ------
    InputError
        When the model or the folder cannot be used.
    """
    make_folder(folder)
    failed = _Failures(folder / FAILED_FILE)
    before: dict[str, list[str]] = {}
    #: Images of series that need nothing more.
    settled: dict[str, int] = {}
    while True:
        looked: dict[str, list[str]] = {}
        arriving = False
        try:
            for series in archive.find(**wanted):
                if 0 < series.images < fewest or 0 < series.images == settled.get(series.uid):
                    continue
                images = looked[series.uid] = archive.images(series)
                uid, _ = segmentation_uids(series, images, settings)
                if len(images) < fewest:
                    continue
                if uid not in failed.reasons and not archive.holds(series.study, uid):
                    if before.get(series.uid) != images:
                        arriving = True
                        continue
                    result = _segment(archive, series, settings, images)
                    if result.error:
                        failed.add(uid, series, result.error)
                    yield result
                settled[series.uid] = len(images)
        except InputError as error:
            yield Watched(None, error=str(error))
            if once:
                return
        before = looked
        if once and not arriving:
            return
        wait(every_s)


def _segment(archive: Archive, series: ArchiveSeries, settings: ArchiveSettings, images: list[str]) -> Watched:
    try:
        return Watched(series, segment_series(archive, series, settings, images))
    except UnreachableError:
        raise
    except InputError as error:
        return Watched(series, error=str(error))
    except MemoryError as error:
        return Watched(series, error=memory_sentence(error))


class _Failures:
    """Series that could not be segmented, on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.reasons: dict[str, dict[str, str]] = {}
        if path.exists():
            try:
                self.reasons = dict(json.loads(read_whole(path, _MOST_BYTES)))
            except ValueError as error:
                raise InputError(f"{path} is damaged ({error}); delete it, and what failed is tried again.") from error

    def add(self, uid: str, series: ArchiveSeries, reason: str) -> None:
        self.reasons[uid] = {"series": series.uid, "reason": reason}
        write_whole(self._path, json.dumps(self.reasons, indent=2) + "\n")
