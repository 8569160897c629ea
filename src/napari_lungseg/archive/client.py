"""Find series in a DICOM archive, get them and store segmentations, by DICOMweb (extra ``dicomweb``).

QIDO-RS, WADO-RS and STOW-RS (DICOM PS3.18), by way of dicomweb-client. Nothing else of this package uses a network, and this only
with the archive that a person names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import UID

from napari_lungseg.errors import InputError
from napari_lungseg.files import make_folder
from napari_lungseg.translation import mark, say

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient
    from requests import Session

#: Environment variable with a bearer token; a name and password come from ~/.netrc.
TOKEN_VARIABLE = "NAPARI_LUNGSEG_DICOMWEB_TOKEN"
#: Seconds until there is a connection, and until more of an answer comes.
_PATIENCE_S = (10.0, 120.0)
#: Answers that are asked for at once.
_PAGE = 200
_FIELDS = ("PatientID", "StudyDate", "StudyInstanceUID", "SeriesDescription", "NumberOfSeriesRelatedInstances", "Modality")
#: HTTP statuses, and what to do.
_ADVICE = {
    401: mark("it wants a name and password (~/.netrc) or a token"),
    403: mark("you may not do this there"),
    404: mark("there is nothing of that address or number; check both"),
    413: mark("it takes no file of this size"),
}
_OTHERWISE = mark("its log says why")


@dataclass(frozen=True)
class ArchiveSeries:
    """Describe a series in an archive.

    Attributes
    ----------
    study, uid : str
        StudyInstanceUID and SeriesInstanceUID.
    patient, date, modality, description : str
        PatientID, StudyDate, Modality and SeriesDescription; empty where the archive does not tell.
    images : int
        Number of its images; 0 where the archive does not tell.
    """

    study: str
    uid: str
    patient: str
    date: str
    modality: str
    description: str
    images: int


class UnreachableError(InputError):
    """The archive does not answer now; later it may."""


class Archive:
    """A DICOM archive that speaks DICOMweb.

    Parameters
    ----------
    url : str
        Where its DICOMweb services begin, as ``https://pacs.example.org/dicom-web``.

    Raises
    ------
    InputError
        When dicomweb-client is not installed, or that is no address of the web.
    """

    def __init__(self, url: str) -> None:
        if find_spec("dicomweb_client") is None:
            raise InputError(
                say("An archive needs dicomweb-client, which is not installed; install it with: pip install 'napari-lungseg[dicomweb]'")
            )
        if not url.startswith(("http://", "https://")):
            raise InputError(say("{url} is no address of an archive; give one that begins with https:// or http://.", url=url))
        from dicomweb_client import DICOMwebClient

        self.url = url
        token = os.environ.get(TOKEN_VARIABLE)
        headers = {"Authorization": f"Bearer {token}"} if token else None
        self._client: DICOMwebClient = DICOMwebClient(url.rstrip("/"), session=_session(), headers=headers, timeout=_PATIENCE_S)
        # A person sees at once that an address is wrong, and a watch asks again by itself.
        self._client.set_http_retry_params(retry=False)

    def find(self, **wanted: str) -> Iterator[ArchiveSeries]:
        """Find series (QIDO-RS).

        Parameters
        ----------
        **wanted
            Attributes by their DICOM keywords, such as ``Modality="CT"``; ``*`` stands for anything in a text, ``-`` parts a range
            of dates. Empty ones are left out.

        Raises
        ------
        InputError
            When the archive cannot be asked.
        """
        filters = {keyword: value for keyword, value in wanted.items() if value}
        ask = partial(self._client.search_for_series, fields=_FIELDS, search_filters=filters)
        return map(_series, self._all(ask, "SeriesInstanceUID"))

    def series(self, uid: str) -> ArchiveSeries:
        """The series of a SeriesInstanceUID (InputError where there is none)."""
        found = next(self.find(SeriesInstanceUID=uid), None)
        if found is None or found.uid != uid:
            raise InputError(say("There is no series {uid} in {url}.", uid=uid, url=self.url))
        return found

    def images(self, series: ArchiveSeries) -> list[str]:
        """SOPInstanceUIDs of the images of a series, sorted (InputError when the archive cannot be asked)."""
        ask = partial(self._client.search_for_instances, series.study, series.uid)
        return sorted(_text(one, "SOPInstanceUID") for one in self._all(ask, "SOPInstanceUID"))

    def fetch(self, series: ArchiveSeries, folder: Path) -> Iterator[int]:
        """Get the images of a series into a folder (WADO-RS), as they are stored, each under its SOPInstanceUID.

        Yields
        ------
        int
            The number of images that are there, after each.

        Raises
        ------
        InputError
            When the archive cannot be asked, or the disk refuses.
        """
        make_folder(folder)
        with self._answering():
            found = self._client.iter_series(series.study, series.uid, media_types=(("application/dicom", "*"),))
            for done, image in enumerate(found, 1):
                uid = UID(image.SOPInstanceUID)
                if not uid.is_valid:
                    raise InputError(
                        say("{url} gives an image without a number of its own; export the series there, and open the files.", url=self.url)
                    )
                try:
                    image.save_as(folder / f"{uid}.dcm", enforce_file_format=True)
                except OSError as error:
                    raise InputError(say("{folder} cannot be written: {reason}.", folder=folder, reason=error.strerror or error)) from error
                yield done

    def holds(self, study: str, series_uid: str) -> bool:
        """Whether there is a series in a study (InputError when the archive cannot be asked)."""
        with self._answering():
            found = self._client.search_for_series(study, search_filters={"SeriesInstanceUID": series_uid})
        return any(_text(one, "SeriesInstanceUID") == series_uid for one in found)

    def store(self, path: Path) -> None:
        """Store a file in its study (STOW-RS; InputError when the archive does not take it)."""
        data = pydicom.dcmread(path)
        with self._answering():
            answer = self._client.store_instances([data], data.StudyInstanceUID)
        refused = answer.get("FailedSOPSequence")
        if refused:
            reason = refused[0].get("FailureReason", 0)
            raise InputError(
                say("{url} does not take the segmentation (reason {reason}); its log says why.", url=self.url, reason=f"{reason:#06x}")
            )

    def _all(self, ask: Callable[..., list[dict[str, Any]]], key: str) -> Iterator[dict[str, Any]]:
        """Ask page by page, until one brings nothing new: some archives give fewer than they are asked for, some know no pages."""
        seen: set[str] = set()
        while True:
            with self._answering():
                page = ask(limit=_PAGE, offset=len(seen))
            new = {uid: one for one in page if (uid := _text(one, key)) not in seen}
            if not new:
                return
            yield from new.values()
            seen |= new.keys()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Say in a sentence why the archive does not answer."""
        import requests

        try:
            yield
        except InputError:
            raise
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            kind = UnreachableError if status >= 500 else InputError
            advice = say(_ADVICE.get(status, _OTHERWISE))
            raise kind(say("{url} refuses (HTTP {status}): {advice}.", url=self.url, status=status, advice=advice)) from error
        except requests.exceptions.SSLError as error:
            raise UnreachableError(
                say("The certificate of {url} is not trusted; name its authority's file in the variable REQUESTS_CA_BUNDLE.", url=self.url)
            ) from error
        except requests.Timeout as error:
            raise UnreachableError(say("{url} does not answer in time; try again later.", url=self.url)) from error
        except requests.JSONDecodeError as error:
            raise InputError(say("What {url} answers is no DICOMweb; check the address.", url=self.url)) from error
        except requests.RequestException as error:
            raise UnreachableError(say("{url} cannot be reached or broke off; check the address and try again.", url=self.url)) from error
        except (ValueError, KeyError, InvalidDicomError) as error:
            raise InputError(say("What {url} answers is no DICOMweb; check the address.", url=self.url)) from error


def _session() -> Session:
    from requests import PreparedRequest, Response, Session

    class PlainStars(Session):
        """Keeps wildcards as they are, which an address allows: DICOMweb of Orthanc 1.7 takes %2A for text."""

        def send(self, request: PreparedRequest, **keywords: Any) -> Response:
            request.url = (request.url or "").replace("%2A", "*")
            return super().send(request, **keywords)

    return PlainStars()


def _series(found: dict[str, Any]) -> ArchiveSeries:
    images = _text(found, "NumberOfSeriesRelatedInstances")
    return ArchiveSeries(
        _text(found, "StudyInstanceUID"),
        _text(found, "SeriesInstanceUID"),
        _text(found, "PatientID"),
        _text(found, "StudyDate"),
        _text(found, "Modality"),
        _text(found, "SeriesDescription"),
        int(images) if images.isdecimal() else 0,
    )


def _text(found: dict[str, Any], keyword: str) -> str:
    """The first value of an attribute in DICOM's JSON (PS3.18 F); empty where there is none."""
    tag = Tag(keyword)
    values = found.get(f"{tag.group:04X}{tag.element:04X}", {}).get("Value") or [""]
    return str(values[0])
