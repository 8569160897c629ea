"""The README in both languages says the same: headings, commands, links, pictures and figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def levels(text: str) -> list[int]:
    return [len(mark) for mark in re.findall(r"^(#+) ", BLOCK.sub("", text), re.MULTILINE)]


def commands(text: str) -> list[str]:
    """Lines of the code blocks without their comments."""
    lines = (line.partition("#")[0].rstrip() for block in BLOCK.findall(text) for line in block.splitlines())
    return [line for line in lines if line]


def links(text: str) -> list[str]:
    return sorted(target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith("README"))


def code(text: str) -> list[str]:
    return sorted(re.findall(r"`[^`\n]+`", BLOCK.sub("", text)))


def decimals(text: str) -> list[str]:
    return sorted(re.findall(r"\d+\.\d+", text))


@pytest.mark.parametrize("part", [levels, commands, links, code, decimals])
def test_both_languages_have_the_same(part):
    assert part(ENGLISH) == part(CHINESE) != []


def test_each_language_leads_to_the_other():
    assert "(README.zh-CN.md)" in ENGLISH
    assert "(README.md)" in CHINESE


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
def test_links_into_the_repository_lead_to_files(text):
    for target in links(text):
        if not target.startswith("http"):
            assert (ROOT / target.partition("#")[0]).exists(), target
