"""Find the folder of this user's data."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

#: Given where the user has no home, as in a container: nothing can be there, and making it fails with an OSError that names it.
_NOWHERE = Path(os.devnull) / "HOME is not set"


def user_data() -> Path:
    """Folder for models and work that belong to this user; it need not exist, and cannot be made where no home is known."""
    try:
        folder = user_data_path("napari-lungseg", appauthor=False)
    except RuntimeError:  # older versions of platformdirs leave the "~" as it is
        return _NOWHERE
    return folder if folder.is_absolute() else _NOWHERE
