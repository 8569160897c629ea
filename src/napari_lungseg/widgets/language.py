"""The language of the window."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import QLocale

from napari_lungseg.translation import mark, say, say_all, say_n, translated
from napari_lungseg.widgets.preferences import preferences

#: Languages of the window by what the preferences call them; anything else there is the system's.
LANGUAGES = {"English": "en", "简体中文": "zh_CN"}

#: Names that labels of lung models have; other models' stay as they are.
LABEL_NAMES = (
    *(mark("right"), mark("left"), mark("lung"), mark("lungs"), mark("right lung"), mark("left lung")),
    *(mark("left upper lobe"), mark("left lower lobe")),
    *(mark("right upper lobe"), mark("right middle lobe"), mark("right lower lobe")),
)

_used: list[str] = []


def tr(text: str, /, **values: Any) -> str:
    """Say something in the language of the window: ``tr("Saved {path}.", path=path)``, or a text that was made elsewhere."""
    return translated(say(text, **values) if values else text, language())


def tr_n(one: str, many: str, /, count: int, **values: Any) -> str:
    """As :func:`tr`, of one thing or of ``count`` things."""
    return translated(say_n(one, many, count=count, **values), language())


def tr_all(parts: Iterable[str]) -> str:
    """Say several things one after the other, as a list in a sentence."""
    return tr(say_all(parts))


def language() -> str:
    """The language of this process, as a folder of the catalogue is called; chosen with the first text that is shown."""
    if not _used:
        use_language(chosen_language(preferences().window.language, QLocale.system().uiLanguages()))
    return _used[0]


def use_language(name: str) -> None:
    """Show all texts from now on in a language; what is shown already stays."""
    _used[:] = [name]


def chosen_language(preferred: str, of_system: list[str]) -> str:
    """Tell the language: the preferred one, else that of the system where it is simplified Chinese, else English.

    Parameters
    ----------
    preferred : str
        What the preferences say.
    of_system : list of str
        Languages of the system, the first before the others.
    """
    if preferred in LANGUAGES:
        return LANGUAGES[preferred]
    first = QLocale(of_system[0]) if of_system else QLocale.c()
    is_chinese = first.language() == QLocale.Language.Chinese and first.script() == QLocale.Script.SimplifiedHanScript
    return "zh_CN" if is_chinese else "en"
