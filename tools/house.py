"""Print how the package is built: lines and imports by folder, the largest files, and names that occur twice.

    python tools/house.py [src/napari_lungseg]

For an earlier state: ``git worktree add OTHER COMMIT`` and ``python tools/house.py OTHER/src/napari_lungseg``.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter, defaultdict
from pathlib import Path

LARGEST = 12
#: What is no code: comments, line ends, and indentation.
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}


def code_lines(text: str, tree: ast.Module) -> int:
    """Lines that hold code, not only a comment or a docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def imported(tree: ast.Module, package: str) -> list[str]:
    """Modules of the package that a module imports, also where only a type checker reads it."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == package]
    return found


def folder_of(parts: tuple[str, ...], root: Path) -> str:
    """Folder of a module, "." for the package's own."""
    path = root.joinpath(*parts)
    return ("/".join(parts) if path.is_dir() else "/".join(parts[:-1])) or "."


def print_table(heading: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Print rows in aligned columns."""
    cells = [heading, *[tuple(str(cell) for cell in row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heading))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


def main(root: Path) -> None:
    """Print all tables for the package in a folder."""
    lines: Counter[str] = Counter()
    files: Counter[str] = Counter()
    sizes: list[tuple[int, int, str]] = []
    arrows: dict[str, Counter[str]] = defaultdict(Counter)
    bases: dict[str, list[str]] = defaultdict(list)
    classes: dict[str, list[str]] = defaultdict(list)
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        folder = path.parent.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        count = text.count("\n")
        lines[folder] += count
        files[folder] += 1
        sizes.append((count, code_lines(text, tree), name))
        if not path.stem.startswith("__"):
            bases[path.stem].append(name)
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(name)
        for module in imported(tree, root.name):
            other = folder_of(tuple(module.split(".")[1:]), root)
            if other != folder:
                arrows[folder][other] += 1
    rows = [
        (folder, lines[folder], files[folder], " ".join(f"{to}:{n}" for to, n in arrows[folder].most_common())) for folder in sorted(lines)
    ]
    print_table(("folder", "lines", "files", "imports from"), [*rows, ("all", sum(lines.values()), sum(files.values()), "")])
    print(f"code lines, without docstrings and comments: {sum(code for _, code, _ in sizes)}\n")
    print_table(("largest files", "lines"), [(name, count) for count, _, name in sorted(sizes, reverse=True)[:LARGEST]])
    for title, found in (("base names that occur twice", bases), ("class names that occur twice", classes)):
        print_table((title, "where"), [(name, ", ".join(where)) for name, where in sorted(found.items()) if len(where) > 1])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "src/napari_lungseg"))
