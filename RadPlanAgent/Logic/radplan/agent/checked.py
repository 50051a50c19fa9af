"""Reading the replies of language models: every field checked, every problem told at once.

Servers differ in how strictly they keep to a schema, so what comes back is checked as if they had
been told nothing. Schemas are built here too, from the subset that all of them take: every field
required, nullable in place of optional, no bounds, no open objects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

#: What stands in place of something unreadable while the other problems are looked for.
_NOTHING = ""


class RejectedReplyError(ValueError):
    """A reply cannot be used; `problems` says why, each a sentence that helps to repair it."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Checker:
    """One object of a reply; reading a field that is not as it must be is noted, not raised."""

    def __init__(self, value: object, where: str, problems: list[str]) -> None:
        self._where, self._problems = where, problems
        self._fields: Mapping[str, Any] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            problems.append(f"{where or 'the reply'} must be a JSON object")

    def problem(self, text: str) -> None:
        """Note what is wrong with this object."""
        self._problems.append(f"{self._where}: {text}" if self._where else text)

    def __contains__(self, name: str) -> bool:
        return self._fields.get(name) is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all fields."""
        return tuple(str(name) for name in self._fields)

    def peek(self, name: str) -> str:
        """A text as it is, in lower case; empty if it is none. Notes nothing."""
        value = self._fields.get(name)
        return value.strip().lower() if isinstance(value, str) else ""

    def text(self, name: str, longest: int) -> str:
        """A text, cut after `longest` characters."""
        value = self._fields.get(name)
        if not isinstance(value, str) or not value.strip():
            self.problem(f'"{name}" must be a text that is not empty')
            return _NOTHING
        value = " ".join(value.split())
        return value if len(value) <= longest else value[: longest - 1] + "…"

    def word(self, name: str, allowed: Sequence[str]) -> str:
        """One of the words allowed."""
        value = self._fields.get(name)
        if not isinstance(value, str) or value not in allowed:
            self.problem(f'"{name}" is {_shown(value)}; it must be one of: {", ".join(allowed)}')
            return _NOTHING
        return value

    def number(self, name: str) -> float:
        """A finite number, not a text, not a formula; NaN if it is none."""
        value = self._fields.get(name)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        try:
            if good and math.isfinite(value):
                return float(value)
        except OverflowError:
            pass  # JSON has integers of any length
        self.problem(
            f'"{name}" is {_shown(value)}; it must be a plain number, without unit or formula'
        )
        return math.nan

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._fields.get(name)
        if not isinstance(value, bool):
            self.problem(f'"{name}" must be true or false')
        return value is True

    def objects(self, name: str) -> list[Checker]:
        """The objects of a list."""
        return [
            Checker(item, f"{self._prefix}{name}[{index}]", self._problems)
            for index, item in enumerate(self._list(name))
        ]

    def texts(self, name: str, longest: int) -> list[str]:
        """The texts of a list."""
        items = self._list(name)
        if not all(isinstance(item, str) for item in items):
            self.problem(f'"{name}" must be a list of texts')
            return []
        return [" ".join(item.split())[:longest] for item in items if item.strip()]

    def _list(self, name: str) -> list:
        value = self._fields.get(name)
        if not isinstance(value, list):
            self.problem(f'"{name}" must be a list')
            return []
        return value

    @property
    def _prefix(self) -> str:
        return f"{self._where}." if self._where else ""


@contextmanager
def check_object(value: object) -> Iterator[Checker]:
    """Read a reply; on leaving, all problems that were noted are raised together.

    Raises
    ------
    RejectedReplyError
    """
    problems: list[str] = []
    yield Checker(value, "", problems)
    if problems:
        raise RejectedReplyError(problems)


def _shown(value: object) -> str:
    if value is None:
        return "missing"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def object_schema(**fields: Mapping) -> dict:
    """Schema of an object: all fields required, no others."""
    return {
        "type": "object",
        "properties": dict(fields),
        "required": list(fields),
        "additionalProperties": False,
    }


def list_schema(items: Mapping, description: str = "") -> dict:
    """Schema of a list."""
    return {"type": "array", "items": dict(items)} | _described(description)


def text_schema(description: str = "", nullable: bool = False) -> dict:
    """Schema of a text."""
    return {"type": ["string", "null"] if nullable else "string"} | _described(description)


def number_schema(description: str = "", nullable: bool = False) -> dict:
    """Schema of a number."""
    return {"type": ["number", "null"] if nullable else "number"} | _described(description)


def flag_schema(description: str = "") -> dict:
    """Schema of true or false."""
    return {"type": "boolean"} | _described(description)


def word_schema(words: Sequence[str]) -> dict:
    """Schema of one of several words."""
    return {"type": "string", "enum": list(words)}


def _described(description: str) -> dict:
    return {"description": description} if description else {}
