"""The keys of a module: they work while it is seen, over the whole window, but not where the focus has its own use for the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import ref

from qtpy.QtCore import QObject
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QListWidget,
    QPlainTextEdit,
    QTableWidget,
    QTextEdit,
    QTreeWidget,
    QWidget,
)

_MOVES = frozenset({"Left", "Right", "Up", "Down", "PgUp", "PgDown", "Home", "End"})
_ENTER = frozenset({"Return", "Enter"})
#: Keys without a letter that a combo box leaves alone.
_NOT_OF_COMBO = frozenset({*_ENTER, "Del", "Backspace", "Ins", "Tab", "Left", "Right"})

_all: list[ModuleKeys] = []


class ModuleKeys(QObject):
    """Shortcuts of a module. Of several modules of one window with the same keys, only those of the one used last work.

    Parameters
    ----------
    module : QWidget
        Tells of :meth:`shown` and :meth:`hidden`.
    actions : mapping
        What each shortcut does, by its name.
    also_in : mapping, optional
        Text field by the name of a shortcut that works in it too, unless its key types a letter.
    """

    def __init__(self, module: QWidget, actions: Mapping[str, Callable[[], None]], also_in: Mapping[str, QWidget] | None = None) -> None:
        super().__init__(module)
        self._also_in = also_in or {}
        self.shortcuts: dict[str, QShortcut] = {}
        for name, slot in actions.items():
            shortcut = self.shortcuts[name] = QShortcut(module)
            shortcut.setEnabled(False)
            shortcut.activated.connect(slot)
        self._module = module
        QApplication.instance().focusChanged.connect(self._focus_changed)
        # Not a method of self, nor self, which does not live to hear of it.
        module.destroyed.connect(partial(_release, ref(self), self.shortcuts))

    @property
    def window(self) -> QWidget:
        """The window that the module is in now."""
        return self._module.window()

    def set_key(self, name: str, key: str) -> None:
        """Give a shortcut another key."""
        self.shortcuts[name].setKey(QKeySequence(key))
        _arrange()

    def shown(self) -> None:
        """The module is seen now."""
        for shortcut in self.shortcuts.values():
            # Also over the canvas, whose window this is.
            shortcut.setParent(self.window)
        self.take()

    def hidden(self) -> None:
        """And no longer."""
        if self in _all:
            _all.remove(self)
        for shortcut in self.shortcuts.values():
            shortcut.setEnabled(False)
        _arrange()

    def take(self) -> None:
        """The module is used: the keys are its own from now on."""
        if self in _all:
            _all.remove(self)
        if self._module.isVisible():
            _all.append(self)
        _arrange()

    def _focus_changed(self, _: QWidget | None, now: QWidget | None) -> None:
        if now is not None and self in _all and self._module.isAncestorOf(now):
            self.take()
        else:
            _arrange()

    def _enable(self, ours: bool) -> None:
        focus = QApplication.focusWidget()
        for name, shortcut in self.shortcuts.items():
            free = focus is not None and focus is self._also_in.get(name)
            shortcut.setEnabled(ours and (free or not has_use_for(focus, shortcut.key())))


def _release(known: ref[ModuleKeys], shortcuts: dict[str, QShortcut], *_: Any) -> None:
    """End the shortcuts, which belong to the window, with their module."""
    keys = known()
    if keys in _all:
        _all.remove(keys)
    for shortcut in shortcuts.values():
        with suppress(RuntimeError):  # the window may be gone first
            shortcut.deleteLater()
    _arrange()


def _arrange() -> None:
    """Of each window, enable the keys of the module that was used last."""
    taken: list[QWidget] = []
    for keys in reversed(_all):
        keys._enable(keys.window not in taken)
        taken.append(keys.window)


def has_use_for(widget: QWidget | None, keys: QKeySequence) -> bool:
    """Whether a widget that has the focus does something of its own with a key."""
    *modifiers, key = keys.toString(QKeySequence.SequenceFormat.PortableText).replace("++", "+Plus").split("+")
    command = not {"Ctrl", "Alt", "Meta"}.isdisjoint(modifiers)
    if isinstance(widget, QLineEdit | QTextEdit | QPlainTextEdit | QAbstractSpinBox):
        return True
    if isinstance(widget, QAbstractItemView):
        if command:
            return key in {"A", "C", "Space", *_MOVES}
        # napari's list of layers, which is no list of items, passes Return on.
        return key not in _ENTER or isinstance(widget, QListWidget | QTreeWidget | QTableWidget)
    if isinstance(widget, QComboBox):
        return widget.isEditable() or not (command or key in _NOT_OF_COMBO)
    if isinstance(widget, QAbstractSlider):
        return key in _MOVES
    return isinstance(widget, QAbstractButton) and key in {"Space", "Select"}
