"""The request that is sent, and what of it can be left out."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .messages import Message
from .settings import ModelSettings

#: Ways to get JSON, from the surest to the one that every server knows.
WAYS = ("schema", "json", "prompt")
JSON_ONLY = "Answer with one JSON object and nothing else. It must fit this JSON schema:"


@dataclass(frozen=True)
class Terms:
    """What a server takes, as far as is known.

    Parameters
    ----------
    way : str
        How JSON is asked for, one of `WAYS`.
    refused : frozenset of str
        "pictures" and names of parameters.
    """

    way: str = WAYS[0]
    refused: frozenset[str] = frozenset()

    @property
    def is_last_way(self) -> bool:
        """Whether nothing is left to try but the prompt."""
        return self.way == WAYS[-1]

    def without(self, part: str) -> Terms:
        """The terms without one part; for "response_format" the next way to get JSON."""
        if part == "response_format":
            return replace(self, way=WAYS[WAYS.index(self.way) + 1])
        return replace(self, refused=self.refused | {part})


@dataclass(frozen=True)
class Question:
    """A request.

    Parameters
    ----------
    body : dict
        Of the request, as sent.
    pictures : int
        How many pictures it holds.
    """

    body: dict[str, Any]
    pictures: int


def build_question(
    settings: ModelSettings,
    messages: Sequence[Message],
    schema: Mapping[str, Any],
    schema_name: str,
    terms: Terms,
) -> Question:
    """Put a question into the words of Chat Completions.

    Parameters
    ----------
    settings : ModelSettings
    messages : sequence of Message
    schema : mapping
    schema_name : str
    terms : Terms
    """
    with_pictures = settings.vision != "no" and "pictures" not in terms.refused
    turns = [_turn(message, with_pictures) for message in messages]
    body: dict[str, Any] = {"model": settings.model, "messages": turns}
    if terms.way == "schema":
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": schema_name, "strict": True, "schema": dict(schema)},
        }
    else:
        told = f"{messages[-1].text}\n\n{JSON_ONLY}\n{json.dumps(schema)}"
        turns[-1] = _turn(replace(messages[-1], text=told), with_pictures)
        if terms.way == "json":
            body["response_format"] = {"type": "json_object"}
    # OpenAI's newer models want another name for the limit than everybody else.
    limit = "max_tokens" if "max_tokens" not in terms.refused else "max_completion_tokens"
    parameters = {
        "temperature": settings.temperature,
        "seed": settings.seed,
        limit: settings.max_tokens,
    }
    for name, value in parameters.items():
        if value is not None and name not in terms.refused:
            body[name] = value
    return Question(body, sum(len(m.images) for m in messages) if with_pictures else 0)


def _turn(message: Message, with_pictures: bool) -> dict[str, Any]:
    if not (message.images and with_pictures):
        return {"role": message.role, "content": message.text}
    pictures = [
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png).decode()}"},
        }
        for png in message.images
    ]
    return {"role": message.role, "content": [{"type": "text", "text": message.text}, *pictures]}
