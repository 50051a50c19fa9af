"""Stand-ins for the qMRML widgets that the panel uses."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QComboBox, QWidget


class qMRMLWidget(QWidget):  # noqa: N801 - Slicer's name
    """A widget that hands its scene to those that its .ui file connects, and to no others."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene, self.receivers = None, []

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        """Use a scene."""
        self._scene = scene
        for receiver in self.receivers:
            receiver.setMRMLScene(scene)

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        """The scene."""
        return self._scene


class qMRMLNodeComboBox(QComboBox):  # noqa: N801 - Slicer's name
    """A choice among the scene's nodes of certain classes."""

    currentNodeChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._types: list[str] = []
        self._properties: dict[str, Any] = {"noneEnabled": False, "noneDisplay": "None"}
        self._scene, self._tags, self._ids = None, [], []
        self._attributes: list[tuple[str, str, Any]] = []
        changed = self.currentNodeChanged
        self.currentIndexChanged.connect(lambda _: changed.emit(self.currentNode()))

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        """Choose among the nodes of a scene."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent)
            self._tags = [scene.AddObserver(e, lambda *_: self._fill()) for e in events]
        self._fill()

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        """Offer only nodes that have an attribute."""
        self._attributes.append((node_type, name, value))
        self._fill()

    def currentNode(self) -> Any:
        """The node chosen; None if there is none."""
        index = self.currentIndex
        node_id = self._ids[index] if 0 <= index < len(self._ids) else None
        return self._scene.GetNodeByID(node_id) if self._scene and node_id else None

    def setCurrentNode(self, node: Any) -> None:
        """Choose a node."""
        node_id = node.GetID() if hasattr(node, "GetID") else node
        self.setCurrentIndex(self._ids.index(node_id) if node_id in self._ids else -1)

    def _offered(self, node: Any) -> bool:
        classes = (self._types, [] if self._properties.get("showChildNodeTypes", True) else None)
        fits = any(node.IsA(t) for t in classes[0])
        if classes[1] is None:
            fits = node.GetClassName() in self._types
        return (
            fits
            and not node.GetHideFromEditors()
            and all(
                node.GetAttribute(name) == (None if value is None else str(value))
                for kind, name, value in self._attributes
                if node.IsA(kind)
            )
        )

    def _fill(self) -> None:
        before = self.currentNode()
        before_id = before.GetID() if before else None
        self.blockSignals(True)
        self.clear()
        self._ids = []
        if self._properties["noneEnabled"]:
            self._ids.append(None)
            self.addItem(self._properties["noneDisplay"])
        for i in range(self._scene.GetNumberOfNodes() if self._scene else 0):
            node = self._scene.GetNthNode(i)
            if self._offered(node):
                self._ids.append(node.GetID())
                self.addItem(node.GetName())
        now = self._ids.index(before_id) if before_id in self._ids else -1
        if now < 0 and self._ids and not self._properties["noneEnabled"]:
            now = 0  # Slicer's takes the first node where none is not allowed
        self.setCurrentIndex(now)
        self.blockSignals(False)
        after = self.currentNode()
        if (after.GetID() if after else None) != before_id:
            self.currentNodeChanged.emit(after)

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)
        self._fill()

    def _named(name: str, kind: type) -> Any:  # noqa: N805 - makes a property of the class
        def write(self: qMRMLNodeComboBox, value: Any) -> None:
            self._properties[name] = value
            self._fill()

        return Property(kind, lambda self: self._properties.get(name), write)

    nodeTypes = Property("QStringList", lambda self: self._types, _set_types)
    noneEnabled = _named("noneEnabled", bool)
    noneDisplay = _named("noneDisplay", str)
    showChildNodeTypes = _named("showChildNodeTypes", bool)
    addEnabled = _named("addEnabled", bool)
    removeEnabled = _named("removeEnabled", bool)
    renameEnabled = _named("renameEnabled", bool)
    editEnabled = _named("editEnabled", bool)
