"""Where a job finds what to learn from: plain values, which the engine opens."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from napari_lungseg.training.sources import CasesSource, FolderSource, TrainingSource, WorkspaceSource
from napari_lungseg.volume import Volume
from napari_lungseg.workspace import Workspace


@dataclass(frozen=True)
class DatasetFolder:
    """A data set folder."""

    folder: Path


@dataclass(frozen=True, eq=False)
class WorkspaceFolder:
    """All that was reviewed in a workspace.

    Attributes
    ----------
    folder : Path
        The workspace.
    images : dict
        Images that are at hand, by their content; the others are read from their files.
    """

    folder: Path
    images: dict[str, Volume] = field(default_factory=dict)


#: What a job can be given.
TrainingInput = CasesSource | DatasetFolder | WorkspaceFolder


@contextmanager
def opened(training_input: TrainingInput) -> Generator[TrainingSource]:
    """Open what there is to learn from (InputError where there is nothing)."""
    if isinstance(training_input, DatasetFolder):
        yield FolderSource(training_input.folder)
    elif isinstance(training_input, WorkspaceFolder):
        with Workspace(training_input.folder) as workspace:
            yield WorkspaceSource(workspace, training_input.images)
    else:
        yield training_input
