"""Small helpers for tables, buttons and notes."""

from __future__ import annotations

from collections.abc import Sequence

import qt

#: Backgrounds that stay readable with black text, in light and dark themes.
GREEN, AMBER, RED, GREY = "#d3efd7", "#ffe3a6", "#f9cfca", "#e3e5e8"


def set_available(widget: qt.QWidget, why_not: str, tip: str) -> None:
    """Enable a control, or disable it and let its tooltip say why."""
    widget.enabled = not why_not
    widget.toolTip = why_not or tip


def show_note(label: qt.QLabel, text: str) -> None:
    """Show a text below controls; without text it takes no room."""
    label.text = text
    label.visible = bool(text)


def stretch_column(table: qt.QTableWidget, stretched: int | Sequence[int]) -> None:
    """Let some columns take the room that the others leave."""
    header = table.horizontalHeader()
    wide = (stretched,) if isinstance(stretched, int) else stretched
    for column in range(table.columnCount):
        mode = qt.QHeaderView.Stretch if column in wide else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(column, mode)
    table.verticalHeader().setDefaultSectionSize(24)


def set_cell(
    table: qt.QTableWidget,
    row: int,
    column: int,
    text: str,
    *,
    editable: bool = False,
    color: str = "",
    tip: str = "",
    right: bool = False,
    bold: bool = False,
) -> None:
    """Put a text into a cell; cells are not editable unless said so."""
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        table.setItem(row, column, item)
    item.setText(text)
    flags = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable
    item.setFlags(flags | qt.Qt.ItemIsEditable if editable else flags)
    item.setToolTip(tip)
    if right:
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    if color:
        item.setBackground(qt.QBrush(qt.QColor(color)))
        item.setForeground(qt.QBrush(qt.QColor("#1c1c1c")))
    else:
        item.setData(qt.Qt.BackgroundRole, None)
        item.setData(qt.Qt.ForegroundRole, None)
    font = item.font()
    font.setBold(bold)
    item.setFont(font)


def choose_row(table: qt.QTableWidget, row: int) -> None:
    """Select a row without telling anyone, and scroll to it."""
    before = table.blockSignals(True)
    table.selectRow(row)
    table.blockSignals(before)
    if 0 <= row < table.rowCount:
        table.scrollToItem(table.item(row, 0))


def selected_row(table: qt.QTableWidget) -> int | None:
    """The row that is selected; None if there is none."""
    rows = table.selectionModel().selectedRows()
    return rows[0].row() if rows else None
