"""The fields of a protocol's JSON, each checked when it is taken."""

from __future__ import annotations

import difflib

from .errors import InputError
from .metrics import Metric, parse_metric

_MAX_NAME_LENGTH = 64
#: More than any dose in cGy, volume in cc or index that a protocol can mean.
_LARGEST_NUMBER = 100_000
_REQUIRED = object()


class ProtocolFields:
    """Takes typed fields out of one JSON object; what is left over at the end is an error.

    Parameters
    ----------
    document : object
        What the JSON text says, which is to be an object.
    where : str
        What to call it in error messages.
    """

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, dict):
            raise InputError(f"{where}: must be a JSON object, got {_kind(document)}")
        self.document = document
        self.where = where
        self.taken: set[str] = set()

    def error(self, key: str, problem: str) -> InputError:
        """What to raise about a field."""
        return InputError(f"{self.where}: field {key}: {problem}")

    def finish(self) -> None:
        """Refuse fields that nobody has taken."""
        unknown = [key for key in self.document if key not in self.taken]
        if unknown:
            close = difflib.get_close_matches(unknown[0], self.taken, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise self.error(unknown[0], f"is not known{hint}")

    def _take(self, key: str, default: object = _REQUIRED) -> object:
        self.taken.add(key)
        if key not in self.document:
            if default is _REQUIRED:
                raise self.error(key, "is missing")
            return default
        return self.document[key]

    def text(self, key: str, default: object = _REQUIRED, may_be_empty: bool = False) -> str:
        """A text."""
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"must be text, got {_kind(value)}")
        if not value.strip() and key in self.document and not may_be_empty:
            raise self.error(key, "must not be empty")
        return value

    def structure(self, key: str) -> str:
        """A structure name."""
        value = self.text(key)
        if value != value.strip() or len(value) > _MAX_NAME_LENGTH or not value.isprintable():
            raise self.error(key, f"is not a structure name: {value!r}")
        return value

    def number(self, key: str, positive: bool = False, optional: bool = False) -> float | None:
        """A number from 0 on; None where an optional one is not given."""
        value = self._take(key, None if optional else _REQUIRED)
        if optional and key not in self.document:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(key, f"must be a number, got {_kind(value)}")
        if not 0 <= value <= _LARGEST_NUMBER or (positive and value == 0):
            least = "above" if positive else "at least"
            raise self.error(key, f"must be {least} 0 and at most {_LARGEST_NUMBER}, got {value}")
        return float(value)

    def integer(self, key: str, default: object = _REQUIRED, minimum: int = 0) -> int:
        """A whole number."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"must be a whole number, got {_kind(value)}")
        if value < minimum:
            raise self.error(key, f"must be at least {minimum}, got {value}")
        return value

    def flag(self, key: str, default: object = _REQUIRED) -> bool:
        """True or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, got {_kind(value)}")
        return value

    def metric(self, key: str, default: object = _REQUIRED) -> Metric:
        """A metric from its text."""
        text = self.text(key, default)
        try:
            return parse_metric(text)
        except InputError as error:
            raise self.error(key, str(error)) from None

    def items(self, key: str) -> list:
        """A list with at least one entry."""
        value = self._take(key)
        if not isinstance(value, list) or not value:
            raise self.error(key, "must be a list with at least one entry")
        return value

    def name_lists(self, key: str) -> dict[str, tuple[str, ...]]:
        """An object of lists of structure names."""
        value = self._take(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"must be an object, got {_kind(value)}")
        for name, others in value.items():
            if not isinstance(others, list) or not all(isinstance(o, str) and o for o in others):
                raise self.error(key, f"{name}: must be a list of structure names")
        return {name: tuple(others) for name, others in value.items()}


def _kind(value: object) -> str:
    """A value in the words of someone who writes JSON."""
    words = {dict: "an object", list: "a list", str: "text", bool: "true/false"}
    if isinstance(value, float):
        return f"{value!r}"
    return words.get(type(value), "null" if value is None else repr(value))
