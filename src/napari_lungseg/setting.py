"""Describe each setting once, in the metadata of its dataclass field; checks, forms, the terminal and the docs read it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cache
from numbers import Real
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from napari_lungseg.errors import InputError

_KEY = "setting"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Describe one setting.

    Attributes
    ----------
    label : str
        Name in a form; settings of one label share a row and its switch.
    text : str
        What it does; one or two short sentences.
    at_least, above, at_most : float or None
        Range of a number; ``above`` is itself not allowed.
    unit : str
        Of a number; "%" for a share or a factor that a form shows in percent.
    step : float
        Of its spin box.
    none : str
        What None means; None is allowed only where this is given.
    fine_tuning : object
        Default for teaching a model from a few slices; ``...`` for the usual one.
    folded : bool
        Whether a form shows it only on demand.
    terminal : bool
        Whether it is an option of the terminal, where it is one of a command.
    opposite : str
        Option that switches it off.
    shown_to : float or None
        Largest number in a form, where there is no ``at_most``.
    either_way : bool
        Whether it is the half width of a range about the middle.
    kind : type
        int, float, bool or str; from the annotation.
    choices : tuple of str
        From the annotation.
    default : object
        The field's.
    """

    label: str
    text: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    unit: str = ""
    step: float = 1.0
    none: str = ""
    fine_tuning: Any = ...
    folded: bool = False
    terminal: bool = True
    opposite: str = ""
    shown_to: float | None = None
    either_way: bool = False
    kind: type = str
    choices: tuple[str, ...] = ()
    default: Any = None

    @property
    def range(self) -> str:
        """The range in words, to follow "must"."""
        be = "be a whole number" if self.kind is int else "be a number"
        if self.above is not None:
            return f"{be} above {self.above:g}"
        return f"{be} of at least {self.at_least:g}" if self.at_most is None else f"{be} from {self.at_least:g} to {self.at_most:g}"

    def allows(self, value: Any) -> bool:
        """Whether a value is one of the choices, or a number in the range and of the kind."""
        if self.choices:
            return value in self.choices
        if self.kind is bool or value is None:
            return value is None and bool(self.none) if self.kind is not bool else value in (True, False)
        if not isinstance(value, Real) or not math.isfinite(value) or (self.kind is int and float(value) % 1 != 0):
            return False
        number = float(value)
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
        )


def setting(default: Any, label: str, text: str, **more: Any) -> Any:
    """Make a dataclass field with a default and a :class:`Setting`, whose other attributes are ``more``."""
    return dataclasses.field(default=default, metadata={_KEY: Setting(label=label, text=text, **more)})


def settings_of(group: type) -> dict[str, Setting]:
    """Describe the settings of a dataclass by their names; fields that are no settings are left out."""
    return dict(_described(group))


# Settings are made anew for every batch of a training, and annotations take a millisecond to understand.
@cache
def _described(group: Any) -> dict[str, Setting]:
    hints = get_type_hints(group)
    found = {}
    for field in dataclasses.fields(group):
        if _KEY in field.metadata:
            hint = hints[field.name]
            choices = get_args(hint) if get_origin(hint) is Literal else ()
            kind = str if choices else next(one for one in (get_args(hint) or (hint,)) if one is not NoneType)
            found[field.name] = dataclasses.replace(field.metadata[_KEY], kind=kind, choices=choices, default=field.default)
    return found


def check(group: Any, what: str) -> None:
    """Check the settings of a dataclass against their choices and ranges.

    Parameters
    ----------
    group : dataclass
        The values.
    what : str
        What is set, for the message.

    Raises
    ------
    InputError
        When one is not allowed.
    """
    kind: Any = type(group)
    for name, about in _described(kind).items():
        value = getattr(group, name)
        if about.allows(value):
            continue
        words = name.replace("_", " ").replace(" px", " in pixels").replace(" mm", " in mm").replace(" ml", " in mL")
        if about.choices:
            raise InputError(f"There is no {words} {value!r}; choose from {', '.join(about.choices)}.")
        if about.kind is bool:
            raise InputError(f"The {words} of the {what} must be on or off, not {value!r}.")
        raise InputError(f"The {words} of the {what} must {about.range}, not {value!r}.")
