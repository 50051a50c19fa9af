"""Stand-ins for the CTK widgets that the panel uses."""

from __future__ import annotations

import os
from collections.abc import Callable

from PySide6.QtCore import Property, QSize, Qt, Signal
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionToolButton,
    QStylePainter,
    QToolButton,
    QWidget,
)


class ctkCollapsibleButton(QWidget):  # noqa: N801 - CTK's name
    """A title over its content, which a click hides."""

    contentsCollapsed = Signal(bool)
    _TITLE_HEIGHT = 24

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._button = _Title(self)
        self._button.clicked.connect(lambda: self._set_collapsed(not self._collapsed))
        self._collapsed = False
        self.setContentsMargins(0, self._TITLE_HEIGHT, 0, 0)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def resizeEvent(self, event: object) -> None:
        self._button.setGeometry(0, 0, self.geometry.width(), self._TITLE_HEIGHT)
        super().resizeEvent(event)

    def minimumSizeHint(self) -> QSize:
        if self._collapsed:
            return QSize(80, self._TITLE_HEIGHT)
        return super().minimumSizeHint()

    def sizeHint(self) -> QSize:
        return self.minimumSizeHint() if self._collapsed else super().sizeHint()

    def _set_collapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        for child in self.children():
            if isinstance(child, QWidget) and child is not self._button:
                child.setVisible(not collapsed)
        self._button.setArrowType(
            Qt.ArrowType.RightArrow if collapsed else Qt.ArrowType.DownArrow
        )
        self.setMaximumHeight(self._TITLE_HEIGHT if collapsed else 16777215)
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    def _set_text(self, text: str) -> None:
        self._button.setText(text)

    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed)
    text = Property(str, lambda self: self._button.text, _set_text)


class ctkMessageBox(QMessageBox):  # noqa: N801 - CTK's name
    """A message, without the box that says not to show it again."""


class _Title(QToolButton):
    """The title, drawn as wide as it is, its text on the left."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setArrowType(Qt.ArrowType.DownArrow)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def paintEvent(self, _event: object) -> None:
        painter, option = QStylePainter(self), QStyleOptionToolButton()
        self.initStyleOption(option)
        option.text, arrow = "", option.arrowType
        option.arrowType = Qt.ArrowType.NoArrow
        painter.drawComplexControl(QStyle.ComplexControl.CC_ToolButton, option)
        area = option.rect.adjusted(6, 0, -6, 0)
        mark = "▾" if arrow == Qt.ArrowType.DownArrow else "▸"
        painter.drawText(
            area,
            Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft,
            f"{mark}  {self.text}",
        )
        painter.end()  # before the widget's paint device goes


class ctkPathLineEdit(QWidget):  # noqa: N801 - CTK's name
    """A path, typed or browsed for."""

    currentPathChanged = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._edit, browse = QLineEdit(self), QPushButton("…", self)
        browse.setFixedWidth(28)
        browse.clicked.connect(self._browse)
        layout.addWidget(self._edit)
        layout.addWidget(browse)
        self._edit.textChanged.connect(self.currentPathChanged.emit)

    def _browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self)
        if path:
            self._edit.setText(path)

    def addCurrentPathToHistory(self) -> None:
        """Remember the path; not done here."""

    currentPath = Property(
        str, lambda self: self._edit.text, lambda self, path: self._edit.setText(os.fspath(path))
    )


def __getattr__(name: str) -> Callable:
    """Other CTK widgets do not exist here."""
    raise AttributeError(f"the stand-in for ctk has no {name}")
