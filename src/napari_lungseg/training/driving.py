"""Work in steps: generators that give a result at the end, and can be left between their steps."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

_Told = TypeVar("_Told")
_Result = TypeVar("_Result")


def telling(steps: Generator[Any, None, _Result], told: Callable[[], _Told]) -> Generator[_Told, None, _Result]:
    """Drive a generator to its result, yielding what ``told`` gives after each of its steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result
        yield told()


def finish(steps: Generator[Any, None, _Result]) -> _Result:
    """Drive a generator to its result."""
    driven = telling(steps, lambda: None)
    while True:
        try:
            next(driven)
        except StopIteration as end:
            result: _Result = end.value
            return result
