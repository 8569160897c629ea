"""napari's notifications, with text that may hold names from files.

napari shows a notification in a label that guesses whether its text is HTML, and would then also load the pictures that it names.
"""

from __future__ import annotations

import re

from napari.utils import notifications

#: Where Qt sees a tag. A space of no width after the bracket makes it text.
_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def as_text(message: str) -> str:
    """Make a message that Qt does not take for HTML; it looks the same."""
    return _TAG.sub("<\u200b", message)


def show_info(message: str) -> None:
    """Tell something."""
    notifications.show_info(as_text(message))


def show_warning(message: str) -> None:
    """Tell something that the person should look at."""
    notifications.show_warning(as_text(message))


def show_error(message: str) -> None:
    """Tell what went wrong."""
    notifications.show_error(as_text(message))
