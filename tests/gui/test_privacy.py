"""Nothing in a DICOM file that tells who the patient is gets anywhere else."""

from __future__ import annotations

import gzip
import logging

import numpy as np
from dicom_files import PATIENT, write_ct_slice
from phantom import chest

from napari_lungseg.formats import WRITABLE
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.widgets.writers import save_layer
from napari_lungseg.workspace import export_nnunet, export_record

#: What is too short to be looked for among other bytes has no meaning without the rest.
SECRETS = [value for value in PATIENT.values() if len(value) > 3]


def told(data: bytes) -> list[str]:
    """Which of the secrets are in some bytes."""
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    return [value for value in SECRETS for form in ("ascii", "utf-16-le") if value.encode(form) in data]


def test_no_trace_of_the_patient_in_layers_workspace_exports_and_messages(open_desk, workspace_folder, tmp_path, messages, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    source, out = tmp_path / "ct", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    volume, _ = chest(slices=4)
    for index, plane in enumerate(np.asarray(volume.array)):
        about = {"PixelSpacing": [4.0, 4.0], "SeriesDescription": "Thorax"}
        write_ct_slice(source / f"{index}.dcm", plane, (0, 0, 6.0 * index), **about)
    assert told((source / "0.dcm").read_bytes()) == SECRETS  # what is looked for can be found

    desk = open_desk()
    desk.viewer.open(str(source), plugin="napari-lungseg")
    assert desk.segment() == ""
    assert desk.lungs.data.any()
    desk.lungs.data_setitem((np.array([1]), np.array([5]), np.array([5])), 2)
    desk.wait(lambda: session_of(desk.viewer).workspace is not None and len(session_of(desk.viewer).workspace.cases()) == 1)
    for layer in desk.viewer.layers:
        state = repr([layer.name, layer.metadata, layer.source, layer.properties if hasattr(layer, "properties") else ""])
        assert not told(state.encode())
    for ending in WRITABLE:
        save_layer(desk.lungs, out / f"lungs{ending}")
    workspace = session_of(desk.viewer).workspace
    (summary,) = workspace.cases()
    workspace.set_state(summary.case, 0, "reviewed")
    export_nnunet(workspace, out / "nnunet")
    export_record(workspace, out / "record.csv")
    written = [path for folder in (workspace_folder, out) for path in folder.rglob("*") if path.is_file()]
    assert len(written) > len(WRITABLE) + 4
    assert {path.name: told(path.read_bytes()) for path in written if told(path.read_bytes())} == {}
    said = [*messages, caplog.text, *capfd.readouterr()]
    assert not told("\n".join(said).encode())
