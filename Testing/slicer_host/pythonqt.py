"""PySide6 with the habits of PythonQt: properties in place of getters, `name`, no Signal class.

PySide6 does not let ``object.connect("signal()", slot)`` be replaced; the panel connects with
``object.signal.connect(slot)``, which both know.

Where PySide6 forgives what PythonQt does not, this module does not either: new attributes of Qt
objects, None for a text, a completer that nobody owns, buttons for a button box's constructor. How
PythonQt behaves was found by trying (its commit is in ``Docs/slicer-panel.md``).
"""

from __future__ import annotations

import inspect
import re
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

#: Properties that are virtual functions too: Qt calls them in widgets written in Python.
_VIRTUAL = ("sizeHint", "minimumSizeHint")
#: A property and a static function of one name; PythonQt knows them apart.
_STATIC = ("singleShot",)


def make_qt() -> ModuleType:
    """The module ``qt``: all of QtCore, QtGui and QtWidgets under one name."""
    module = ModuleType("qt")
    for source in (QtCore, QtGui, QtWidgets):
        for name in dir(source):
            value = getattr(source, name)
            # PythonQt has no Signal and no Property; code that uses them must fail here too.
            if not name.startswith("_") and name not in ("Signal", "Slot", "Property"):
                setattr(module, name, value)
            if inspect.isclass(value) and issubclass(value, QtCore.QObject):
                give_properties(value)
    QtCore.QObject.name = QtCore.QObject.objectName  # a property by now
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.__setattr__ = _set_attribute
    module.QUiLoader = UiLoader
    for cls in (QCompleter, QDialogButtonBox, QProcess):
        setattr(module, cls.__name__, cls)
    return module


def _set_attribute(self: QtCore.QObject, name: str, value: Any) -> None:
    """PythonQt lets only classes made in Python have attributes that Qt does not know."""
    if type(self).__module__.startswith("PySide6.") and not hasattr(type(self), name):
        raise AttributeError(f"{name!r} does not exist on {type(self).__name__}")
    object.__setattr__(self, name, value)


def give_properties(cls: type) -> None:
    """Turn the Qt properties that a class declares into Python properties, as PythonQt does."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        if name in (*_VIRTUAL, *_STATIC):
            continue
        getter = cls.__dict__.get(name)
        setter = getattr(cls, f"set{name[0].upper()}{name[1:]}", None)
        if not callable(getter):
            getter = _by_name(name)
        if setter is None:
            setter = _set_by_name(name)
        if meta.property(index).typeName() == "QString":
            setter = _not_none(name, setter)
        setattr(cls, name, property(getter, setter))


def _by_name(name: str) -> Any:
    return lambda self: self.property(name)


def _set_by_name(name: str) -> Any:
    return lambda self, value: self.setProperty(name, value)


def _not_none(name: str, setter: Any) -> Any:
    def write(self: Any, value: Any) -> None:
        if value is None:
            raise TypeError(f"{name}: PythonQt would show the word None")
        setter(self, value)

    return write


class QCompleter(QtWidgets.QCompleter):
    """PythonQt deletes it with the last reference in Python, unless a Qt object is its parent."""

    def __init__(self, content: Any, parent: QtCore.QObject) -> None:
        super().__init__(content, parent)


class QDialogButtonBox(QtWidgets.QDialogButtonBox):
    """Buttons that are combined are a number in PythonQt, which is taken for an orientation."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        if not isinstance(parent, QtWidgets.QWidget | None):
            raise TypeError("use setStandardButtons: PythonQt takes this for an orientation")
        super().__init__(parent)


class QProcess(QtCore.QProcess):
    """Of the two signals of Qt 5, PythonQt takes the one without the exit status."""

    @property
    def finished(self) -> SimpleNamespace:
        """What a slot can be connected to."""
        both = super().finished
        return SimpleNamespace(connect=lambda slot: both.connect(lambda code, _status: slot(code)))


class UiLoader(QtUiTools.QUiLoader):
    """Loads .ui files that hold the host's widgets.

    Connections between widgets in the file are left out: their signatures speak of MRML classes,
    which these widgets do not have as Qt types. `qMRMLWidget.setMRMLScene` does the work of those
    that hand on the scene.
    """

    def __init__(self) -> None:
        super().__init__()
        from . import ctk_widgets, mrml_widgets

        for module in (ctk_widgets, mrml_widgets):
            for cls in vars(module).values():
                if inspect.isclass(cls) and cls.__module__ == module.__name__:
                    self.registerCustomWidget(cls)

    def load(self, file: QtCore.QFile, parent: Any = None) -> Any:
        """The widget that the file describes; None if it cannot be made."""
        source = bytes(file.readAll()).decode("utf-8")
        text = re.sub(r"<connections>.*?</connections>", "", source, flags=re.DOTALL)
        buffer = QtCore.QBuffer()
        buffer.setData(text.encode("utf-8"))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        for connection in ElementTree.fromstring(source).iter("connection"):
            if connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)":
                assert connection.findtext("sender") == widget.name
                receiver = widget.findChild(QtWidgets.QWidget, connection.findtext("receiver"))
                widget.receivers.append(receiver)
        return widget
