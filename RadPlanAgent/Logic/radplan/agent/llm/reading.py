"""What a server answered, read without trusting it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .messages import Usage

#: Reasoning that some models write into their reply.
THOUGHTS = re.compile(r"<(think|thinking|thought|reasoning)\b[^>]*>.*?(</\1\s*>|\Z)", re.S | re.I)
#: Its end, where the chat template has already opened it.
END_OF_THOUGHT = re.compile(r"</(think|thinking|thought|reasoning)\s*>", re.I)
ERROR_LENGTH = 300


@dataclass(frozen=True)
class Completion:
    """The parts of a chat completion that matter.

    Parameters
    ----------
    text : str
        What the model wrote; "" if nothing.
    value : dict or None
        The JSON object in it.
    finish_reason : str
    refusal : str
        Why the model would not answer, if it says so.
    model : str
    usage : Usage
    """

    text: str
    value: dict[str, Any] | None
    finish_reason: str
    refusal: str
    model: str
    usage: Usage


def read_completion(body: dict[str, Any]) -> Completion:
    """Read the body of a chat completion; what is missing or of a wrong type counts as empty."""
    choices = body.get("choices")
    choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
    message = _mapping(choice.get("message"))
    text = _content(message.get("content"))
    value = find_object(text)
    if not text.strip():
        # Some servers file the whole answer under reasoning. Objects inside of reasoning proper
        # are drafts, so that only an answer that begins as one counts.
        reasoning = _content(message.get("reasoning_content") or message.get("reasoning"))
        if re.match(r"\s*(```\w*\s*)?\{", reasoning):
            text, value = reasoning, find_object(reasoning)
    usage = _mapping(body.get("usage"))
    return Completion(
        text=text,
        value=value,
        finish_reason=_string(choice.get("finish_reason")),
        refusal=_string(message.get("refusal")),
        model=_string(body.get("model")),
        usage=Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))),
    )


def find_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text, without its reasoning; None if there is no whole one.

    Code fences and prose around it do no harm. An object that is cut off gives None, not one of
    the objects inside of it.
    """
    if not text.lstrip().startswith("{"):
        text = THOUGHTS.sub("", text)
        ends = list(END_OF_THOUGHT.finditer(text))
        if ends:
            text = text[ends[-1].end() :]
    for candidate in _balanced(text):
        value = _parsed(candidate)
        if isinstance(value, dict):
            return value
    return None


def _balanced(text: str) -> Iterator[str]:
    """The outermost stretches from ``{`` to the ``}`` that closes it, braces in strings aside."""
    start, depth, in_string, escaped = 0, 0, False, False
    for position, character in enumerate(text):
        if depth and in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == "{":
            if not depth:
                start = position
            depth += 1
        elif depth and character == '"':
            in_string = True
        elif depth and character == "}":
            depth -= 1
            if not depth:
                yield text[start : position + 1]


def _parsed(text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_no_number)
        # What cannot be written to a log is no reply (halves of surrogate pairs).
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def _content(value: Any) -> str:
    """Text of a message: a string, or a list of parts."""
    if isinstance(value, list):
        return "".join(_string(_mapping(part).get("text")) for part in value)
    return _string(value)


def error_in(body: Any) -> str:
    """What an error body says, one line of printable text; "" if it says nothing.

    Only the fields that explain are taken: some servers repeat the whole question in others.
    """
    error = body.get("error") or body if isinstance(body, dict) else body
    if isinstance(error, dict):
        said = [error.get(name) for name in ("message", "detail", "code", "param", "type")]
        details = error.get("detail")
        if isinstance(details, list):
            for detail in map(_mapping, details):
                said += [detail.get("msg"), *_strings(detail.get("loc"))]
        text = ", ".join(dict.fromkeys(_string(part) for part in said if _string(part)))
    else:
        text = _string(error)
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    if text.startswith("<"):  # a gateway's web page
        return ""
    return text if len(text) <= ERROR_LENGTH else f"{text[:ERROR_LENGTH]}..."


def _strings(value: Any) -> list[Any]:
    return [part for part in value if isinstance(part, str)] if isinstance(value, list) else []
