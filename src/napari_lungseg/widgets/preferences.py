"""What a person has set in napari's Preferences for this plugin; declared in the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.settings import get_plugin_settings

from napari_lungseg.workspace import default_folder


def preferences() -> Any:
    """All settings of the plugin, by the keys of the manifest's configurations."""
    return get_plugin_settings("napari-lungseg")


def workspace_folder() -> Path:
    """Where the work is kept."""
    chosen = preferences().workspace.folder
    return Path(chosen) if chosen else default_folder()


def user_name() -> str | None:
    """Who makes the corrections; None for the name this person is logged in with."""
    return preferences().workspace.user or None


def cluster_address() -> str:
    """Address of the scheduler of a cluster that may be segmented and trained on; empty for none."""
    address: str = preferences().cluster.address.strip()
    return address if "://" in address or not address else f"tcp://{address}"
