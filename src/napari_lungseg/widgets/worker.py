"""What went wrong off the GUI thread, as a sentence for a person."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from psygnal import EmitLoopError

from napari_lungseg.errors import InputError
from napari_lungseg.widgets.language import tr

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """The end, with one sentence for the person."""

    text: str


def sentence(error: Exception, what: str) -> str:
    """Say what went wrong, for a person; the log keeps the traceback of what is not their doing.

    Parameters
    ----------
    error : Exception
        An InputError speaks for itself.
    what : str
        What failed, as the subject of the sentence: "The segmentation", "Saving ct".
    """
    if isinstance(error, EmitLoopError) and isinstance(error.__cause__, Exception):
        # Its own text is that of the code around the error.
        error = error.__cause__
    if isinstance(error, InputError):
        return tr(str(error))
    logger.exception("%s failed", what, exc_info=error)
    if getattr(error, "winerror", None) == 1114 or "WinError 1114" in str(error):
        return tr(
            "PyTorch could not be loaded after the window (WinError 1114); close napari and start it with "
            'python -c "import torch, napari; napari.Viewer(); napari.run()".'
        )
    if isinstance(error, MemoryError):
        return tr(
            "{what} failed: there is not enough memory; close other programs, or take fewer slices or a smaller image.", what=tr(what)
        )
    reason = f"{error} ({type(error).__name__})" if str(error) else type(error).__name__
    return tr("{what} failed: {reason}; the log has the details.", what=tr(what), reason=reason)
