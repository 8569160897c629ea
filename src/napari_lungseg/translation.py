"""Texts that the window shows in its language and everything else in English; no Qt, and no language of its own.

English is the key of the catalogue (``locale/LANGUAGE/LC_MESSAGES/napari_lungseg.po``), and what is printed, stored and compared. A text
made by :func:`say` is that English, and knows its template and values, so that the window can say it in another language.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, reduce
from gettext import NullTranslations, translation
from numbers import Integral, Real
from pathlib import Path
from typing import Any

DOMAIN = "napari_lungseg"
FOLDER = Path(__file__).parent / "locale"


class Text(str):
    """An English text that can be said in another language.

    Parameters
    ----------
    template : str
        With a named field in braces for each value; taken as it is where there are no values.
    plural : str
        The template for another number than one of the value ``count``; empty where the text has no plural.
    values : mapping, optional
        By the names of the fields; those that are texts themselves are translated too.
    capital : bool
        Whether the English begins with a capital, and has no other.
    """

    template: str
    plural: str
    values: Mapping[str, Any]
    capital: bool

    def __new__(cls, template: str, plural: str = "", values: Mapping[str, Any] | None = None, capital: bool = False) -> Text:
        """Make the text; see the class."""
        values = {name: _plain(value) for name, value in (values or {}).items()}
        chosen = plural if plural and values["count"] != 1 else template
        english = chosen.format(**values) if values else chosen
        made = super().__new__(cls, english.capitalize() if capital else english)
        made.template, made.plural, made.values, made.capital = template, plural, values, capital
        return made

    def __str__(self) -> str:
        # Else str(error) would forget how to be translated.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Text, (self.template, self.plural, self.values, self.capital)


def _plain(value: Any) -> Any:
    """A value that can be sent to another process and formatted there: numbers as they are, all else as text."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)


def mark(text: str) -> str:
    """Put a text into the catalogue that is translated later, where it is shown; returns it as it is."""
    return text


#: Templates of :func:`say_all`.
COMMA, SEMICOLON, SPACE = mark("{one}, {more}"), mark("{one}; {more}"), mark("{one} {more}")
OR, AND = mark("{one} or {more}"), mark("{one} and {more}")


def say(template: str, /, **values: Any) -> Text:
    """Say something in English that the window can translate: ``say("Reading {name}", name=path.name)``."""
    return Text(template, values=values)


def say_n(one: str, many: str, /, count: int, **values: Any) -> Text:
    """As :func:`say`, of one thing or of ``count`` things."""
    return Text(one, many, {"count": count, **values})


def capitalised(text: str) -> Text:
    """A text that stands at the beginning, as in a heading."""
    return Text(text.template, text.plural, text.values, True) if isinstance(text, Text) else Text(text, capital=True)


def say_all(parts: Iterable[str], template: str = COMMA) -> str:
    """Say several things one after the other, joined by a template with the fields ``one`` and ``more``; empty for none."""
    said = list(parts)
    return reduce(lambda one, more: say(template, one=one, more=more), said) if said else ""


@cache
def catalogue(language: str) -> NullTranslations:
    """The catalogue of a language, such as "zh_CN"; where there is none, English."""
    return translation(DOMAIN, FOLDER, [language], fallback=True)


def translated(text: str, language: str) -> str:
    """Say a text in a language; what is not in its catalogue stays as it is.

    Parameters
    ----------
    text : str
        A :class:`Text`, or a text without values.
    language : str
        As of the folders in ``locale``.
    """
    known = catalogue(language)
    if not isinstance(text, Text):
        return known.gettext(text) if text else text
    values = {name: translated(value, language) if isinstance(value, Text) else value for name, value in text.values.items()}
    if text.plural:
        return known.ngettext(text.template, text.plural, text.values["count"]).format(**values)
    template = known.gettext(text.template) if text.template else ""
    said = template.format(**values) if values else template
    return said.capitalize() if text.capital and template == text.template else said
