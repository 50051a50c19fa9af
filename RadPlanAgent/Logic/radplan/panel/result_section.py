"""Section 4: the goals of one or two steps, what the views show, review and export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .goal_rows import MARKS, goal_rows, summary
from .i18n import _
from .tables import AMBER, GREEN, GREY, RED, set_cell, show_note, stretch_column

_COLORS = {True: GREEN, False: RED, None: GREY}


class ResultSection:
    """Widgets of section 4 and what they say.

    Parameters
    ----------
    ui : object
        Widgets of Result.ui by name.
    changed : callable
        Called when name or comment of the reviewer change.
    """

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self.ui = ui
        stretch_column(ui.scorecardTable, 1)
        for edit in (ui.reviewerEdit, ui.commentEdit):
            edit.textChanged.connect(lambda *_args: changed())
        self.show_scorecard("", None)
        self.show_review(None)
        show_note(ui.exportNote, "")

    @property
    def reviewer(self) -> str:
        """Name as entered."""
        return self.ui.reviewerEdit.text

    @property
    def author(self) -> str:
        """Who does things by hand: the reviewer's name if one is entered, else the user."""
        return self.reviewer.strip() or _("panel user")

    @property
    def comment(self) -> str:
        """Comment as entered."""
        return self.ui.commentEdit.text

    def show_scorecard(
        self,
        title: str,
        scorecard: Mapping | None,
        compared: str = "",
        other: Mapping | None = None,
    ) -> None:
        """Show the goals of a step, and what another one reaches beside them.

        Parameters
        ----------
        title, compared : str
            What the two are called, such as ``Step 3``.
        scorecard, other : mapping or None
            As ``scorecard.json``.
        """
        table = self.ui.scorecardTable
        rows = goal_rows(scorecard, other) if scorecard else ()
        table.setRowCount(len(rows))
        table.setColumnHidden(4, other is None)
        header = table.horizontalHeaderItem(4)
        if other is not None:
            header.setText(compared)
        arrows = {1: "▲ ", -1: "▼ ", 0: ""}
        for i, row in enumerate(rows):
            tip = _("priority {priority}").format(priority=row.priority)
            tip += f"\n{row.note}" if row.note else ""
            set_cell(table, i, 0, MARKS[row.met], color=_COLORS[row.met], tip=tip)
            set_cell(table, i, 1, row.label, tip=tip, bold=row.priority == 1)
            set_cell(table, i, 2, row.reached, right=True, tip=tip)
            tight = row.met and row.margin.startswith("+0.0")
            color = RED if row.met is False else (AMBER if tight else "")
            set_cell(table, i, 3, row.margin, right=True, tip=tip, color=color)
            set_cell(
                table, i, 4, row.compared, right=True, tip=tip,
                color=_COLORS[row.compared_met] if other and row.compared else "",
            )  # fmt: skip
            if other is not None:
                table.item(i, 2).setText(arrows[row.better] + row.reached)
        if scorecard is None:
            text = _("Nothing is planned yet.")
        else:
            text = f"{title}: {summary(scorecard)}"
            if other is not None:
                text += f"\n{compared}: {summary(other)}"
        show_note(self.ui.resultTitle, text)

    def show_review(self, review: Mapping | None) -> None:
        """Say who decided what; without a verdict a plan is not approved."""
        if review is None:
            text = _("NOT APPROVED. No person has reviewed this plan.")
        else:
            verdict = (
                _("APPROVED") if review["verdict"] == "approved" else _("REJECTED")
            )
            text = _("{verdict} by {name}, step {step}, {time}: {comment}").format(
                verdict=verdict,
                name=review["name"],
                step=review["step"],
                time=review["time"].replace("T", " ").replace("+00:00", " UTC"),
                comment=review["comment"],
            )
            if review.get("void"):
                text = _("NOT APPROVED. The review is void: {why}.").format(
                    why=review["void"]
                ) + "\n" + _("It was: {text}").format(text=text)
            else:
                text += "\n" + _("Bound to SHA-256 {digest}…").format(
                    digest=review["digest"][:16]
                )
        show_note(self.ui.reviewNote, text)

    def show_export(self, text: str) -> None:
        """What was written where."""
        show_note(self.ui.exportNote, text)
