"""What becomes of a new model: it is taken under a name, or removed."""

from __future__ import annotations

from napari_lungseg.library import accept_model, remove_model, user_folder
from napari_lungseg.model import import_model
from napari_lungseg.widgets.train.run import why
from napari_lungseg.widgets.worker import Failed


def accept(name: str, wanted: str) -> str | Failed:
    """Make a candidate a model like the others, under the wanted name; gives that name."""
    try:
        if wanted != name:
            import_model(user_folder() / name, wanted)
        accept_model(wanted)
        if wanted != name:
            remove_model(name)
    except Exception as error:
        return Failed(why(error, f"Accepting {name}"))
    return wanted


def roll_back(name: str) -> str | Failed:
    """Remove a new model; gives no name."""
    try:
        remove_model(name)
    except Exception as error:
        return Failed(why(error, f"Removing {name}"))
    return ""
