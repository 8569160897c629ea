"""The annotator's folder: a journal of every correction, review and mask, and its exports."""

from napari_lungseg.content import content_hash
from napari_lungseg.workspace.acceptance import Accepted
from napari_lungseg.workspace.damage import damaged
from napari_lungseg.workspace.failures import WorkspaceError
from napari_lungseg.workspace.journal import JOURNAL
from napari_lungseg.workspace.masks import export_labels, import_mask, read_mask
from napari_lungseg.workspace.nnunet import ExportReport, export_nnunet, image_of
from napari_lungseg.workspace.record_csv import export_record
from napari_lungseg.workspace.records import (
    SAID,
    Blind,
    Case,
    CaseSummary,
    Damage,
    Event,
    Labelled,
    Revision,
    Saved,
    SliceState,
    Source,
    State,
    case_key,
)
from napari_lungseg.workspace.workspace import FOLDER_VARIABLE, Workspace, default_folder

__all__ = [
    "FOLDER_VARIABLE",
    "JOURNAL",
    "SAID",
    "Accepted",
    "Blind",
    "Case",
    "CaseSummary",
    "Damage",
    "Event",
    "ExportReport",
    "Labelled",
    "Revision",
    "Saved",
    "SliceState",
    "Source",
    "State",
    "Workspace",
    "WorkspaceError",
    "case_key",
    "content_hash",
    "damaged",
    "default_folder",
    "export_labels",
    "export_nnunet",
    "export_record",
    "image_of",
    "import_mask",
    "read_mask",
]
