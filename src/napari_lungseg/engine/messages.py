"""Messages between a window and its engine: plain values both ways, so that the engine may also be on another machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from napari_lungseg.volume import Array

#: Raised when a message is added, or changes its meaning.
PROTOCOL = 1

#: What failed: input that cannot be used, memory that does not suffice, or anything else.
Kind = Literal["input", "memory", "other"]


@dataclass(frozen=True)
class Hello:
    """The engine is ready; the first message of the child.

    Attributes
    ----------
    protocol : int
        The child's :data:`PROTOCOL`.
    devices : tuple of str
        Devices of the machine, as in :func:`napari_lungseg.runtimes.list_devices`.
    """

    protocol: int
    devices: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Start:
    """Start a job.

    Attributes
    ----------
    number : int
        Of the call; all other messages about it have the same.
    job : str
        Name of the job in :mod:`napari_lungseg.engine.jobs`.
    args : tuple
        Plain values, dataclasses of this package, and arrays.
    """

    number: int
    job: str
    args: tuple[Any, ...]


@dataclass(frozen=True)
class Cancel:
    """End a job; its result is not wanted."""

    number: int


@dataclass(frozen=True)
class Pause:
    """Hold a job before its next step."""

    number: int


@dataclass(frozen=True)
class Resume:
    """Let a paused job go on."""

    number: int


@dataclass(frozen=True)
class Stop:
    """Let a job end early, with the result it has so far."""

    number: int


@dataclass(frozen=True)
class Wanted:
    """A job asks for a part of an array that its caller kept.

    Attributes
    ----------
    number : int
        Of the call.
    axis, index : int
        The slice ``array.take(index, axis)``.
    """

    number: int
    axis: int
    index: int


@dataclass(frozen=True, eq=False)
class Put:
    """The answer to :class:`Wanted`.

    Attributes
    ----------
    number : int
        Of the call.
    array : array or None
        The slice; None where it cannot be read.
    problem : str
        Why not.
    """

    number: int
    array: Array | None
    problem: str = ""


@dataclass(frozen=True)
class Kept:
    """Stands for an array that stays with the caller, from which the job asks slice by slice.

    Attributes
    ----------
    shape : tuple of int
        Its shape.
    dtype : str
        As numpy's.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


@dataclass(frozen=True, eq=False)
class Yielded:
    """One item of a job's stream."""

    number: int
    item: Any


@dataclass(frozen=True, eq=False)
class Returned:
    """A job ended and returned a value."""

    number: int
    value: Any


@dataclass(frozen=True)
class Failed:
    """A job ended with an error.

    Attributes
    ----------
    number : int
        Of the call.
    text : str
        What went wrong. For "input" a sentence for a person, else the error's own text and type.
    kind : {"input", "memory", "other"}
        What failed.
    details : str
        The traceback, for the log; empty for "input".
    """

    number: int
    text: str
    kind: Kind
    details: str = ""


@dataclass(frozen=True)
class Cancelled:
    """A job ended because it was cancelled."""

    number: int


@dataclass(frozen=True)
class Bye:
    """The engine is not needed any more; without it the end of the pipe means that the window's process has died."""
