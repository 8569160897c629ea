"""A real archive: Orthanc, on this machine, with a store of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import requests
from dicom_files import write_ct_slice
from phantom import SPACING, chest
from pydicom.uid import generate_uid

#: Where Debian's package orthanc-dicomweb puts it.
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
# Programs of services lie where not everybody looks for them.
PROGRAM = shutil.which("Orthanc", path=os.pathsep.join((os.environ["PATH"], "/usr/sbin")))
START_S = 60.0
CT, LUNGS = chest(slices=12)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Orthanc:
    """Orthanc as a process that can be stopped and started again with the same store."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.root}/dicom-web"
        self._config, self._log = folder / "orthanc.json", folder / "orthanc.log"
        settings = {
            "StorageDirectory": str(folder / "store"),
            "IndexDirectory": str(folder / "store"),
            "HttpPort": self.port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        self._config.write_text(json.dumps(settings))
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, str(self._config)], stdout=log, stderr=log)
        end = time.monotonic() + START_S
        while True:
            try:
                requests.get(f"{self.root}/system", timeout=5).raise_for_status()
                return
            except requests.RequestException:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(self._log.read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def post(self, folder: Path) -> None:
        """Send files as a scanner does."""
        for file in sorted(folder.iterdir()):
            requests.post(f"{self.root}/instances", data=file.read_bytes(), timeout=60).raise_for_status()

    def clear(self) -> None:
        for patient in self.get("/patients"):
            requests.delete(f"{self.root}/patients/{patient}", timeout=60).raise_for_status()

    def get(self, path: str):
        answer = requests.get(f"{self.root}{path}", timeout=60)
        answer.raise_for_status()
        return answer.json()


def is_installed() -> bool:
    return PROGRAM is not None and PLUGIN.exists()


def write_chest(folder: Path, *, slices: int = 12, **attributes) -> Path:
    """The phantom as a series, as an archive gets it from a scanner."""
    folder.mkdir()
    own = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": "1.2.3.9", **attributes}
    for index in range(slices):
        where = CT.affine @ (index, 0, 0, 1)
        write_ct_slice(
            folder / f"{index:03d}.dcm",
            CT.array[index],
            where[:3].tolist(),
            PixelSpacing=list(SPACING[1:]),
            InstanceNumber=index + 1,
            **own,
        )
    return folder


def segmentations(orthanc: Orthanc) -> list[dict]:
    return [one for one in orthanc.get("/series?expand") if one["MainDicomTags"]["Modality"] == "SEG"]


def stored_file(orthanc: Orthanc, one: dict, tmp_path: Path) -> Path:
    (instance,) = one["Instances"]
    path = tmp_path / "stored.dcm"
    path.write_bytes(requests.get(f"{orthanc.root}/instances/{instance}/file", timeout=60).content)
    return path
