"""What the commands of the terminal share: exit statuses, and how they complain."""

from __future__ import annotations

import sys
import unicodedata

import typer

from napari_lungseg.errors import InputError

#: Exit statuses; 0 is success.
SOME_FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130


def say(text: str, *, err: bool = False) -> None:
    """Print text as a line; what would command the terminal, and what it cannot show, is escaped: names come from files."""
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    typer.echo(printable(text).encode(encoding, "backslashreplace").decode(encoding), err=err)


def printable(text: str) -> str:
    """The text with control and format characters escaped, but line breaks and tabs."""
    return "".join(
        character
        if character in "\n\t" or not unicodedata.category(character).startswith("C")
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def complain(text: str) -> int:
    """Say in one line what is wrong; gives the exit status for it."""
    say(f"napari-lungseg: {' '.join(text.split())}", err=True)
    return UNUSABLE


def memory_sentence(error: MemoryError) -> str:
    """What to say where memory is short; readers name the file themselves."""
    said = str(error)
    return said if said.startswith("There is not") else "There is not enough memory; close other programs, or run fewer jobs."


def named_labels(given: list[str] | None) -> dict[int, str] | None:
    """Names of labels, given as NUMBER=NAME each; None where none were given (InputError where one cannot be understood)."""
    return dict(map(_named, given)) if given else None


def _named(text: str) -> tuple[int, str]:
    number, _, name = text.partition("=")
    if not number.strip().isdecimal() or int(number) == 0 or not name.strip():
        raise InputError(f"--label {text} cannot be understood; give a number above 0 and a name, such as 3=tumour.")
    return int(number), name.strip()
