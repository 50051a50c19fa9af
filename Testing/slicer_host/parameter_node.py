"""Stand-in for ``slicer.parameterNodeWrapper``: typed choices kept in a scene's node.

Values are kept as desktop Slicer keeps them: text in parameters, nodes as references.
"""

from __future__ import annotations

import enum
import json
import typing
from typing import Any

import qt
import slicer
import vtk

SlicerParameterNamePropertyName = "SlicerParameterName"


def parameterNodeWrapper(cls: type) -> type:  # noqa: N802 - Slicer's name
    """Give a class of annotated fields the properties that read and write a parameter node."""
    types = typing.get_type_hints(cls)
    defaults = {name: getattr(cls, name, None) for name in types}

    def start(self: Any, node: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode = node
        self._connections: dict[int, list] = {}

    cls.__init__ = start
    cls.connectGui, cls.disconnectGui = _connect_gui, _disconnect_gui
    cls.AddObserver = lambda self, event, call, priority=0.0: self.parameterNode.AddObserver(
        event, call, priority
    )
    cls.RemoveObserver = lambda self, tag: self.parameterNode.RemoveObserver(tag)
    cls.StartModify = lambda self: self.parameterNode.StartModify()
    cls.EndModify = lambda self, was: self.parameterNode.EndModify(was)
    for name, kind in types.items():
        setattr(cls, name, _property(name, kind, defaults[name]))
    return cls


def _property(name: str, kind: Any, default: Any) -> property:
    is_node = isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)

    def read(self: Any) -> Any:
        node = self.parameterNode
        if is_node:
            return node.GetNodeReference(name)
        if not node.HasParameter(name):
            return _zero(kind) if default is None else default
        return _from_text(kind, node.GetParameter(name))

    def write(self: Any, value: Any) -> None:
        node = self.parameterNode
        if is_node:
            if value is not None and not isinstance(value, kind):
                raise ValueError(f"{name} must be a {kind.__name__}")
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
            node.SetParameter(name, "")
        else:
            node.SetParameter(name, _to_text(kind, value))

    return property(read, write)


def _zero(kind: Any) -> Any:
    kind = typing.get_origin(kind) or kind
    return next(iter(kind)) if issubclass(kind, enum.Enum) else kind()


def _to_text(kind: Any, value: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return value.name
    if (typing.get_origin(kind) or kind) in (dict, list):
        return json.dumps(value)
    return str(value)


def _from_text(kind: Any, text: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind[text]
    if (typing.get_origin(kind) or kind) in (dict, list):
        return json.loads(text)
    return text == "True" if kind is bool else kind(text)


class _Connection:
    """One widget kept equal to one parameter."""

    _SIGNALS = (
        (qt.QCheckBox, "toggled", "checked"),
        (qt.QSpinBox, "valueChanged", "value"),
        (qt.QDoubleSpinBox, "valueChanged", "value"),
        (qt.QLineEdit, "textChanged", "text"),
    )

    def __init__(self, wrapper: Any, name: str, widget: Any) -> None:
        self.wrapper, self.name, self.widget = wrapper, name, widget
        self.kind = typing.get_type_hints(type(wrapper))[name]
        if hasattr(widget, "currentNodeChanged"):
            self.signal = widget.currentNodeChanged
        elif isinstance(widget, qt.QComboBox):
            self.signal = widget.currentIndexChanged
            widget.clear()
            label = getattr(self.kind, "label", lambda choice: choice.name)
            for choice in self.kind:
                widget.addItem(label(choice))
        else:
            self.signal, self.property = next(
                (getattr(widget, s), p) for c, s, p in self._SIGNALS if isinstance(widget, c)
            )
        self.show()
        self.signal.connect(self.store)

    def store(self, *_: Any) -> None:
        if hasattr(self.widget, "currentNodeChanged"):
            value = self.widget.currentNode()
        elif isinstance(self.widget, qt.QComboBox):
            value = list(self.kind)[self.widget.currentIndex]
        else:
            value = getattr(self.widget, self.property)
        if value != getattr(self.wrapper, self.name):
            setattr(self.wrapper, self.name, value)

    def show(self) -> None:
        value = getattr(self.wrapper, self.name)
        if hasattr(self.widget, "currentNodeChanged"):
            self.widget.setCurrentNode(value)
        elif isinstance(self.widget, qt.QComboBox):
            self.widget.currentIndex = list(self.kind).index(value)
        elif getattr(self.widget, self.property) != value:
            setattr(self.widget, self.property, value)


def _connect_gui(self: Any, gui: Any) -> int:
    widgets = {}
    for widget in vars(gui).values():
        name = widget.property(SlicerParameterNamePropertyName)
        if name:
            widgets[name] = widget
    connections = [_Connection(self, name, widget) for name, widget in widgets.items()]
    tag = self.AddObserver(
        vtk.vtkCommand.ModifiedEvent, lambda *_: [c.show() for c in connections]
    )
    self._connections[tag] = connections
    return tag


def _disconnect_gui(self: Any, tag: int) -> None:
    for connection in self._connections.pop(tag, ()):
        connection.signal.disconnect(connection.store)
    self.RemoveObserver(tag)
