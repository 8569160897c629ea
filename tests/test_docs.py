"""What the docs say of commands, modules and files is so."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from napari_lungseg.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "CONTRIBUTING.md"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def reference() -> str:
    spec = importlib.util.spec_from_file_location("make_command_reference", ROOT / "tools" / "make_command_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.reference()


def blocks(language: str) -> list[tuple[str, str]]:
    """Page and text of all code blocks in a language."""
    found = [(page, *block) for page in PAGES for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
    return [(page.name, text) for page, spoken, text in found if spoken == language]


def test_the_reference_of_commands_is_as_the_commands_are():
    made = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert made == reference(), "run: python tools/make_command_reference.py docs/commands.md"


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_in_the_docs_imports_what_there_is(page, text):
    imports = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    code = "\n".join(ast.unparse(node) for node in imports)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page}: {done.stderr}"


def test_commands_in_the_docs_have_options_that_exist():
    sections = re.split(r"^## ", (ROOT / "docs" / "commands.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    known = {section.partition("\n")[0]: set(re.findall(r"--?[a-z][a-z-]*", section)) for section in sections}
    assert len(known) >= len(app.registered_commands)
    called = 0
    for page in PAGES:
        for line in re.findall(r"^(?:\$ )?napari-lungseg ([a-z].*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            words = line.partition(" #")[0].split()
            name = next((" ".join(words[:count]) for count in (2, 1) if " ".join(words[:count]) in known), None)
            if name is None or "[OPTIONS]" in words:
                assert "[OPTIONS]" in words, f"{page.name}: there is no command {line}"
                continue
            called += 1
            given = {word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
            assert given <= known[name], f"{page.name}: {name} has no {given - known[name]}"
    assert called > 10
