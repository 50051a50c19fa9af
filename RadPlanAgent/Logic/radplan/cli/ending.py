"""How commands end: their exit codes, and what stands below every verdict."""

from __future__ import annotations

DONE, BAD_INPUT, MUST_GOALS_UNMET, CANCELLED = 0, 2, 3, 4
BANNER = "RESEARCH USE ONLY - not for clinical use. Plans are UNAPPROVED and fluence-only."
