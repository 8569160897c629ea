"""Texts of the window: English as they are made, said in another language by the catalogue, and all of them in it."""

from __future__ import annotations

import ast
import importlib.util
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from types import ModuleType

import pytest

from napari_lungseg.errors import InputError
from napari_lungseg.translation import Text, capitalised, say, say_all, say_n, translated

ROOT = Path(__file__).parents[1]
WINDOW = ROOT / "src" / "napari_lungseg" / "widgets"


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("translations", ROOT / "tools" / "translations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool()
LANGUAGES = tool.languages()


def fields(template: str) -> list[tuple[str, str, str | None]]:
    return sorted((name, form or "", how) for _, name, form, how in Formatter().parse(template) if name is not None)


# ---- texts


def test_a_text_is_english_wherever_it_is_not_translated():
    text = say("Saved {path}.", path=Path("a.nii"))
    assert text == "Saved a.nii."
    assert json.loads(json.dumps({"text": text})) == {"text": "Saved a.nii."}
    assert translated(text, "xx") == "Saved a.nii."


def test_a_text_is_said_in_another_language_with_the_texts_in_it():
    problem = say("The journal in {folder} cannot be read ({error}); check the disk, or open the workspace again.", folder="f", error="e")
    text = translated(say("Saving {name} failed: {problem}", name="ct", problem=problem), "zh_CN")
    assert text == "保存 ct 失败：f 中的日志库无法读取（e）；请检查磁盘，或重新打开工作区。"


@pytest.mark.parametrize(("count", "english"), [(1, "1 slice"), (2, "2 slices")])
def test_a_text_has_its_plural(count, english):
    text = say_n("{count} slice", "{count} slices", count)
    assert text == english
    assert translated(text, "zh_CN") == f"{count} 层"


def test_names_with_braces_are_shown_as_they_are():
    assert translated(say("Saved {path}.", path="{0}{x}"), "zh_CN") == "已保存 {0}{x}。"
    assert translated(say("a {strange} name"), "zh_CN") == "a {strange} name"


def test_several_texts_are_joined_in_the_language():
    assert say_all([say("right"), say("left")]) == "right, left"
    assert translated(say_all([say("right"), say("left")]), "zh_CN") == "右、左"
    assert say_all([]) == ""


def test_a_capital_is_for_english_alone():
    assert capitalised("right lung") == "Right lung"
    assert translated(capitalised("right lung"), "zh_CN") == "右肺"
    assert translated(capitalised("liver"), "zh_CN") == "Liver"


def test_an_error_keeps_how_it_is_translated():
    assert isinstance(str(InputError(say("Saved {path}.", path="a"))), Text)


def test_a_text_comes_through_a_pipe_with_all_it_needs():
    from multiprocessing import Pipe

    from napari_lungseg.engine.wire import Wire

    here, there = (Wire(end) for end in Pipe())
    text = say("Saving {name} failed: {problem}", name="ct", problem=say("Not saved"))
    here.send(text)
    received = there.receive()
    assert received == text
    assert translated(received, "zh_CN") == translated(text, "zh_CN") == "保存 ct 失败：未保存"
    assert pickle.loads(pickle.dumps(capitalised("right"))) == "Right"


# ---- catalogues


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated_with_the_same_values(language):
    for message in tool.catalogue(language):
        if not message.id:
            continue
        assert tool.is_translated(message), f"{language} lacks {message.id!r}: run python tools/translations.py"
        assert not message.fuzzy, message.id
        given = message.id if isinstance(message.id, str) else message.id[-1]
        for text in [message.string] if isinstance(message.string, str) else message.string:
            assert fields(text) == fields(given), f"{language}: other values in {text!r} than in {given!r}"
            assert text.count("\n") == given.count("\n"), message.id


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_catalogue_has_the_texts_of_the_sources(language):
    known = {message.id for message in tool.catalogue(language) if message.id}
    assert known == set(tool.extracted()), "run: python tools/translations.py"


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_read_at_run_time_is_the_catalogue(language):
    made = tool.in_step(tool.catalogue(language), language)
    compiled = (tool.LOCALE / language / "LC_MESSAGES" / "napari_lungseg.mo").read_bytes()
    assert compiled == tool.as_mo(made), "run: python tools/translations.py"


# ---- texts of the window that go past the catalogue

#: What looks like a text and is none for a person: keys, roles, styles, threads; layers that are also known by their names; the
#: messages of a window that cannot open.
NO_TEXT = re.compile(
    r"font-weight|</|<span|<table|<tr>|style='|^napari-lungseg|^ValueWidget|^ComboBox$|^heading:|WinError 1114"
    r"|^ (scores\.|probability)$|^chest CT$|^; export$"
    r"|^(Left|Right|Up|Down|PgUp|PgDown|Home|End|Return|Enter|Del|Backspace|Ins|Tab|Space|Select|Ctrl|Alt|Meta|Shift|Escape)$"
    r"|^(batch|training|validation)? ?(loss|Dice)$|^English$|^other reader$|^(label|image) layer$|^a layer of labels$"
    r"|^taken from $|^new model$"
)
TEXT = re.compile(r"[A-Za-z]{2,}[,:;]? [A-Za-z]|^[A-Z][a-z]+|[a-z]{2,}[.:!?]$| [a-z]{2,}|^[a-z]{3,} ")
#: Their arguments are no texts.
NO_SINKS = frozenset({"setStyleSheet", "exception", "bind_key", "Request", "getattr", "strftime"})


def strings_past_the_catalogue(source: str, known: set[str]) -> Iterator[tuple[int, str]]:
    tree = ast.parse(source)
    passed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr):
            passed.add(id(node.body[0].value))
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name in tool.TEXTS:
                passed.update(map(id, node.args))
            elif name in NO_SINKS:
                passed.update(id(part) for argument in node.args for part in ast.walk(argument))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
            text = node.value
            if TEXT.search(text) and not NO_TEXT.search(text) and text not in known:
                yield node.lineno, text


def test_every_text_of_the_window_goes_through_the_catalogue():
    # A key that is in the catalogue is translated where it is shown.
    known = {text for key in tool.extracted() for text in ([key] if isinstance(key, str) else key)}
    found = [
        f"{path.relative_to(WINDOW)}:{line}: {text!r}"
        for path in sorted(WINDOW.rglob("*.py"))
        if path.name != "demo.py"
        for line, text in strings_past_the_catalogue(path.read_text(encoding="utf-8"), known)
    ]
    assert not found, "wrap these in tr(), say() or mark():\n" + "\n".join(found)


def test_a_text_past_the_catalogue_is_found():
    source = "def show(self):\n    self.status.setText('All slices are done.')\n    self.run.setText('Segment now')\n"
    assert [text for _, text in strings_past_the_catalogue(source, set())] == ["All slices are done.", "Segment now"]
