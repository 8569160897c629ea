"""Share between commands: exit statuses, output, complaints, and options made from settings."""

from __future__ import annotations

import errno
import inspect
import os
import sys
import unicodedata
from collections.abc import Callable
from typing import Annotated, Any

import typer

from napari_lungseg.errors import InputError
from napari_lungseg.setting import Setting

#: Exit statuses; 0 is success.
SOME_FAILED, UNUSABLE, INTERRUPTED = 1, 2, 130


#: Streams that could not be written, stderr as True.
_cut_off: set[bool] = set()

#: Option for where a network runs.
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def with_settings(settings: dict[str, Setting]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command an option for each setting, None where it is not given; the command takes them as ``**settings``."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        made = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[about.kind | None, _option(name, about)]
            )
            for name, about in settings.items()
            if about.terminal
        ]
        command.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
        command.__annotations__.pop("settings")
        return command

    return decorate


def flag(name: str, about: Setting) -> str:
    """Name the option of a setting."""
    own = f"--{name.replace('_', '-')}"
    return f"{own}/--{about.opposite}" if about.opposite else own


def _option(name: str, about: Setting) -> Any:
    choices = f": {', '.join(about.choices[:-1])} or {about.choices[-1]}" if about.choices else ""
    return typer.Option(flag(name, about), help=f"{about.text.removesuffix('.')}{choices}.")


def say(text: str, *, err: bool = False) -> None:
    """Print text as a line; what would command the terminal, and what it cannot show, is escaped: names come from files.

    Where nobody reads it any more, or its disk is full, the work goes on without it: results go into files.
    """
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        typer.echo(printable(text).encode(encoding, "backslashreplace").decode(encoding), err=err)
    except OSError as error:
        _cut_off.add(err)
        # What is left in the stream's buffer must not fail again.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        if not err and error.errno != errno.EPIPE:
            complain(f"What is printed cannot be written: {error.strerror or error}.")


def is_cut_off() -> bool:
    """Whether not all could be printed."""
    return bool(_cut_off)


def printable(text: str) -> str:
    """Escape control and format characters in text, but not line breaks and tabs."""
    return "".join(
        character
        if character in "\n\t" or not unicodedata.category(character).startswith("C")
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def complain(text: str) -> int:
    """Print in one line what is wrong, and return the exit status for it."""
    say(f"napari-lungseg: {' '.join(text.split())}", err=True)
    return UNUSABLE


def named_labels(given: list[str] | None) -> dict[int, str] | None:
    """Parse names of labels, given as NUMBER=NAME each; None where none were given (InputError where one cannot be understood)."""
    return dict(map(_named, given)) if given else None


def _named(text: str) -> tuple[int, str]:
    number, _, name = text.partition("=")
    if not number.strip().isdecimal() or int(number) == 0 or not name.strip():
        raise InputError(f"--label {text} cannot be understood; give a number above 0 and a name, such as 3=tumour.")
    return int(number), name.strip()
