"""Write the reference of the terminal's commands from what they say of themselves.

    python tools/make_command_reference.py docs/commands.md

A test holds the file against this. Signatures are read, and not what typer makes of them, which differs between its versions.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
from typer.models import ArgumentInfo

from napari_lungseg.cli import app

HEAD = """# Commands

Made by `python tools/make_command_reference.py docs/commands.md` from what the commands say of themselves, as with `--help`.
How they are used is under [Segment in the terminal](howto/terminal.md).
Exit status: 0 success, 1 some of many inputs failed, 2 unusable arguments or input.
"""


def reference() -> str:
    """The whole page."""
    return HEAD + "".join(_commands(app, ""))


def _commands(group: typer.Typer, prefix: str) -> Iterator[str]:
    for known in group.registered_commands:
        assert known.callback is not None
        yield _command(known.callback, f"{prefix}{known.name or known.callback.__name__}")
    for below in group.registered_groups:
        assert below.typer_instance is not None
        yield from _commands(below.typer_instance, f"{prefix}{below.name} ")


def _command(function: Any, name: str) -> str:
    parameters = [
        (name, *get_args(parameter.annotation)[:2], parameter.default)
        for name, parameter in inspect.signature(function, eval_str=True).parameters.items()
    ]
    arguments = [_value(name, kind, info) for name, kind, info, _ in parameters if isinstance(info, ArgumentInfo)]
    usage = " ".join(["napari-lungseg", name, *arguments, "[OPTIONS]"])
    text = f"\n## {name}\n\n{_plain(inspect.getdoc(function))}\n\n```\n{usage}\n```\n"
    return text + "\n| | |\n|---|---|\n" + "".join(_row(*parameter) for parameter in parameters)


def _row(name: str, kind: Any, info: Any, default: Any) -> str:
    text = _plain(info.help)
    if isinstance(info, ArgumentInfo):
        return f"| `{_value(name, kind, info)}` | {text} |\n"
    # Of what is given in Annotated the first is kept as the default.
    given = tuple(one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str) and one.startswith("-"))
    names = given or (f"--{name.replace('_', '-')}",)
    if kind is bool:
        names = names if not default else (*names, names[0].replace("--", "--no-", 1))
        return f"| `{', '.join(names)}` | {text} |\n"
    if isinstance(default, int | float | str):
        text += f" Default: {default}."
    return f"| `{', '.join(names)} {_value(name, kind, info)}` | {text} |\n"


def _value(name: str, kind: Any, info: Any) -> str:
    """What stands for a value."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    known = " or ".join(map(str, get_args(kind))) if get_origin(kind) is Literal else ""
    return (info.metavar or known or name.upper()).replace("|", " or ")


def _plain(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
