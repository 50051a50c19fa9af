"""The report: one HTML page about a planning session, and its pictures."""

from __future__ import annotations

from .page import write_report

__all__ = ["write_report"]
