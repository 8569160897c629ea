"""Undo and redo by whole copies, which the compact history is compared with, and the boxes that are changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st


@dataclass
class UndoOracle:
    """Keeps each replaced value; subclasses have the values as fields."""

    done: list[tuple[str, Any, Any]] = field(default_factory=list, kw_only=True)
    undone: list[tuple[str, Any, Any]] = field(default_factory=list, kw_only=True)

    def put(self, name: str, new: Any) -> None:
        """Replace a field's value, as one step."""
        before = getattr(self, name)
        if not np.array_equal(before, new):
            self.done.append((name, before, new))
            self.undone.clear()
        setattr(self, name, new)

    def undo(self) -> None:
        """Take the last step back."""
        self._move(self.done, self.undone, 1)

    def redo(self) -> None:
        """Do the step that was taken back last again."""
        self._move(self.undone, self.done, 2)

    def _move(self, source: list[tuple[str, Any, Any]], target: list[tuple[str, Any, Any]], which: int) -> None:
        if source:
            step = source.pop()
            setattr(self, step[0], step[which])
            target.append(step)


def boxes_in(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[tuple[int, int], ...]]:
    """First and end index along each axis of boxes in an array."""
    return st.tuples(
        *(st.integers(0, size - 1).flatmap(lambda low, size=size: st.tuples(st.just(low), st.integers(low + 1, size))) for size in shape)
    )
