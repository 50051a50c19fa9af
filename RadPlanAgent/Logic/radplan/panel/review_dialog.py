"""Asks a person whether they mean their verdict. No answer means no."""

from __future__ import annotations

import qt
import slicer

from .i18n import _


def confirmReview(verdict: str, name: str, plan: str) -> bool:
    """Whether a person confirms a verdict.

    Slicer's own confirmations answer themselves in testing mode; this one denies then, so that no
    script ever approves a plan.

    Parameters
    ----------
    verdict : str
        ``approved`` or ``rejected``.
    name : str
        Who gives it.
    plan : str
        What it is about, in words.
    """
    if slicer.app.testingEnabled():
        return False
    word = _("APPROVED") if verdict == "approved" else _("REJECTED")
    box = qt.QMessageBox()
    box.setIcon(qt.QMessageBox.Question)
    box.setWindowTitle(_("Review"))
    box.setText(
        _("{name} gives this verdict on {plan}: {word}").format(name=name, plan=plan, word=word)
    )
    box.setInformativeText(
        _("The verdict is bound to the plan's files and void after any change. RESEARCH USE ONLY.")
    )
    box.setStandardButtons(qt.QMessageBox.Yes | qt.QMessageBox.Cancel)
    box.setDefaultButton(qt.QMessageBox.Cancel)
    return box.exec_() == qt.QMessageBox.Yes
