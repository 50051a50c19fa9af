"""The fields of a request, each checked when it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import InputError

_MISSING: Any = object()


class Fields:
    """Reads the fields of one request.

    Parameters
    ----------
    do : str
        The request, for error messages.
    values : mapping
        None counts as not given.
    """

    def __init__(self, do: str, values: Mapping[str, Any]) -> None:
        self._do = do
        self._values = {k: v for k, v in values.items() if v is not None}
        self._known: list[str] = []

    def check_all_read(self) -> None:
        """Refuse fields that the request does not have."""
        unknown = [name for name in self._values if name not in self._known]
        if unknown:
            known = ", ".join(self._known) or "none"
            raise InputError(f"{self._do} has no field {unknown[0]!r}; its fields: {known}")

    def text(self, name: str, default: Any = _MISSING) -> str:
        """A text that is not empty."""
        return self._read(name, lambda v: isinstance(v, str) and v.strip(), "a text", default)

    def choice(self, name: str, choices: tuple[str, ...], default: Any = _MISSING) -> str:
        """One of some texts."""
        wanted = "one of " + ", ".join(choices)
        return self._read(name, lambda v: v in choices, wanted, default)

    def whole(self, name: str, low: int, high: int, default: Any = _MISSING) -> int:
        """A whole number between bounds."""
        wanted = f"a whole number, {low} … {high}"
        return self._read(name, lambda v: _is_whole(v) and low <= v <= high, wanted, default)

    def length(self, name: str, default: Any = _MISSING) -> float:
        """A positive length in mm."""
        return self._read(name, lambda v: _is_number(v) and v > 0, "a length in mm", default)

    def flag(self, name: str) -> bool:
        """Yes or no; no when not given."""
        return self._read(name, lambda v: isinstance(v, bool), "true or false", False)

    def mapping(self, name: str, default: Any = _MISSING) -> dict[str, Any]:
        """An object."""
        return self._read(name, lambda v: isinstance(v, dict), "an object", default)

    def texts(self, name: str) -> dict[str, str]:
        """An object whose values are texts."""
        wanted = "an object of texts"
        return self._read(name, _is_dict_of_texts, wanted, {})

    def list_of_texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(self._read(name, _is_list_of_texts, "a list of texts", ()))

    def any(self, name: str, default: Any = _MISSING) -> Any:
        """Whatever it is; who takes it checks it."""
        return self._read(name, lambda v: True, "given", default)

    def _read(self, name: str, fits: Any, wanted: str, default: Any) -> Any:
        self._known.append(name)
        if name not in self._values:
            if default is _MISSING:
                raise InputError(f"{self._do} needs {name!r}: {wanted}")
            return default
        value = self._values[name]
        if not fits(value):
            raise InputError(f"{self._do}: {name!r} must be {wanted}, got {str(value)[:80]!r}")
        return value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_dict_of_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)
