"""What is said to a language model, what comes back, and what can go wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...progress import CancelRequested, never


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Parameters
    ----------
    role : str
        "system", "user" or "assistant".
    text : str
    images : tuple of bytes
        PNG files that belong to the text.
    """

    role: str
    text: str
    images: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Usage:
    """Tokens that were read and written; 0 where a server tells nothing."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True)
class Reply:
    """One JSON object from a model.

    Parameters
    ----------
    value : dict
        The object; that it fits the schema is for the caller to check.
    text : str
        What the model wrote, as it came (reasoning included, where it is part of the text).
    model : str
        The model as the server names it.
    usage : Usage
        Of all requests that this reply took.
    seconds : float
        From question to reply, repeated requests and pauses included.
    how : str
        What made the model answer in JSON: "schema" (the server was sent the schema), "json" (the
        server's JSON mode, schema in the prompt) or "prompt" (the prompt alone).
    pictures : int
        Pictures that the server took; 0 where it refused those that were given.
    notes : tuple of str
        What was left out of the question because the server refuses it, for the log.
    """

    value: dict[str, Any]
    text: str
    model: str
    usage: Usage
    seconds: float
    how: str
    pictures: int = 0
    notes: tuple[str, ...] = ()


class LanguageModel(Protocol):
    """What planner and evaluator are given."""

    @property
    def name(self) -> str:
        """Model and server, for logs; holds no secret."""

    @property
    def sees_pictures(self) -> bool:
        """Whether pictures are worth sending, as far as is known now."""

    def ask(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any],
        schema_name: str,
        cancel_requested: CancelRequested = never,
    ) -> Reply:
        """Ask for one JSON object.

        Parameters
        ----------
        messages : sequence of Message
            The conversation; the last one asks.
        schema : mapping
            JSON schema of the object. All servers understand this subset: every field required,
            nullable instead of optional, ``additionalProperties`` false, no bounds on numbers or
            lengths.
        schema_name : str
            Letters, digits, ``_`` and ``-``.
        cancel_requested : callable
            Asked several times a second.

        Raises
        ------
        ReplyError
            If the server answered, but with no JSON object.
        ServerError
            If no usable server was reached in time.
        CancelledError
            If `cancel_requested` turned true; the request is aborted then.
        """


class ReplyError(RuntimeError):
    """A server answered, but not with a JSON object; asking again may help.

    Parameters
    ----------
    message : str
        What is wrong with the reply, one line.
    text : str
        The reply as it came.
    usage : Usage
        What it cost nevertheless.
    """

    def __init__(self, message: str, text: str = "", usage: Usage = Usage()) -> None:
        super().__init__(message)
        self.text = text
        self.usage = usage


class ServerError(RuntimeError):
    """No usable server; the text, one line, says what would fix it."""
