"""Bring the catalogues of the window in step with the sources, and compile them.

    python tools/translations.py

Texts that are new stand untranslated in ``src/napari_lungseg/locale/*/LC_MESSAGES/napari_lungseg.po`` then, and are printed; those that
are gone are dropped. Translate what is empty, and run it again: it also writes the ``.mo`` beside it, which is what is read at run time.
For another language, make the folder ``locale/LANGUAGE/LC_MESSAGES`` first.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

SOURCES = Path(__file__).parents[1] / "src" / "napari_lungseg"
LOCALE = SOURCES / "locale"
#: Where the texts stand among the arguments of what takes them.
TEXTS = {
    **dict.fromkeys(("tr", "say", "mark"), (0,)),
    **dict.fromkeys(("tr_n", "say_n"), (0, 1)),
    # Label and text of a setting.
    **dict.fromkeys(("setting", "_count", "_share", "_rare", "_chance", "_amount", "_factor"), (1, 2)),
    "Tool": (0, 1, 2),
    "Parameter": (0, 1),
}
#: Of the header; always the same, so that the files change only with their texts.
WHEN = datetime(2026, 1, 1, tzinfo=UTC)
UNUSED = (b'"Report-Msgid', b'"POT-Creation', b'"PO-Revision', b'"Last-Translator', b'"Language-Team', b'"Generated-By')
PLURALS = frozenset({"tr_n", "say_n"})

Key = str | tuple[str, str]


def texts_in(source: str) -> Iterator[Key]:
    """All texts for the catalogue in a module; those with a plural as a pair."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        given = [node.args[place] for place in TEXTS.get(name, ()) if place < len(node.args)]
        texts = [argument.value for argument in given if isinstance(argument, ast.Constant) and isinstance(argument.value, str)]
        if name in PLURALS and len(texts) == 2:
            yield texts[0], texts[1]
        elif name not in PLURALS:
            yield from filter(None, texts)


@cache
def extracted() -> dict[Key, list[str]]:
    """The files of each text. The terminal, which is English, has a function of the name ``say`` too."""
    found: dict[Key, list[str]] = {}
    for path in sorted(SOURCES.rglob("*.py")):
        name = path.relative_to(SOURCES).as_posix()
        if not name.startswith("cli/"):
            for text in texts_in(path.read_text(encoding="utf-8")):
                found.setdefault(text, []).append(name)
    return found


def catalogue(language: str) -> Catalog:
    """The catalogue of a language, as its file has it."""
    with _file(language).open("rb") as file:
        return read_po(file, language)


def in_step(known: Catalog, language: str) -> Catalog:
    """A catalogue with the texts of the sources, and the translations that are known of them."""
    made = Catalog(language, project="napari-lungseg", version="", fuzzy=False, header_comment="# Texts of the window.")
    made.creation_date = made.revision_date = WHEN
    for text, files in extracted().items():
        before = known.get(text if isinstance(text, str) else text[0])
        made.add(text, before.string if before is not None else None, locations=[(file, 0) for file in dict.fromkeys(files)])
    return made


def as_po(made: Catalog) -> bytes:
    """The file of a catalogue, to be edited."""
    stream = BytesIO()
    write_po(stream, made, width=140, include_lineno=False)
    return b"".join(line for line in stream.getvalue().splitlines(keepends=True) if not line.startswith(UNUSED))


def as_mo(made: Catalog) -> bytes:
    """The file of a catalogue that is read at run time."""
    stream = BytesIO()
    write_mo(stream, made)
    return stream.getvalue()


def languages() -> list[str]:
    """All languages but English."""
    return sorted(path.name for path in LOCALE.iterdir())


def is_translated(message: Message) -> bool:
    """Whether a text has its translation, for each number of things where it has a plural."""
    return bool(message.string) and (isinstance(message.string, str) or all(message.string))


def _file(language: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / "napari_lungseg.po"


def main() -> int:
    """Write all catalogues; 1 where a translation is missing."""
    missing = False
    for language in languages():
        path = _file(language)
        made = in_step(catalogue(language) if path.exists() else Catalog(language), language)
        path.write_bytes(as_po(made))
        path.with_suffix(".mo").write_bytes(as_mo(made))
        for message in made:
            if message.id and not is_translated(message):
                missing = True
                print(f"{language}: {message.id!r}")
    return int(missing)


if __name__ == "__main__":
    sys.exit(main())
