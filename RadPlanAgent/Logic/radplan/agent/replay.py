"""A language model that answers what it answered before, from an audit log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..progress import CancelRequested, never
from .exchange import EXCHANGE
from .llm.messages import Message, Reply, ReplyError, ServerError, Usage


class RecordingEndedError(RuntimeError):
    """The recording has no answer any more."""


#: Who asks when a plan is improved; others may ask in between, for a person.
VOICES = ("dvh expert", "vision expert", "evaluator", "planner")


def recorded_exchanges(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The exchanges that led to steps, in order.

    Those that led to none, because a step was cut short or the model stopped, are left out.
    """
    done: list[dict[str, Any]] = []
    pending: list[dict[str, Any]] = []
    for entry in entries:
        data = entry["data"]
        if entry["kind"] == EXCHANGE and data["voice"] in VOICES:
            pending.append(data)
        elif entry["kind"] in ("resumed", "cancelled", "stop"):
            pending = []
        elif entry["kind"] == "step":
            if not data["author"].startswith("person"):
                done += pending
            pending = []
    return done


class RecordedModel:
    """A `LanguageModel` that gives recorded answers in their order.

    Parameters
    ----------
    exchanges : sequence of dict
        Data of the audit lines (`recorded_exchanges`).
    """

    def __init__(self, exchanges: Sequence[Mapping[str, Any]]) -> None:
        self._exchanges = list(exchanges)
        self._next = 0
        #: Questions that are not those of the recording, each in a sentence.
        self.differences: list[str] = []

    @property
    def name(self) -> str:
        """The recorded model."""
        recorded = self._exchanges[0]["model"] if self._exchanges else "nothing"
        return f"recording of {recorded}"

    @property
    def sees_pictures(self) -> bool:
        """Whether pictures were shown next."""
        left = self._exchanges[self._next :]
        return bool(left) and left[0]["voice"] == "vision expert"

    def ask(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any],
        schema_name: str,
        cancel_requested: CancelRequested = never,
    ) -> Reply:
        """Give the next recorded answer, or raise the error that was.

        Raises
        ------
        RecordingEndedError
        """
        if self._next == len(self._exchanges):
            raise RecordingEndedError(f"{len(self._exchanges)} exchanges were recorded")
        recorded = self._exchanges[self._next]
        self._next += 1
        asked = [m.text for m in messages][-len(recorded["messages"]) :]
        if asked != [m["text"] for m in recorded["messages"]]:
            self.differences.append(
                f"exchange {self._next} ({recorded['voice']}): it is not the recorded question"
            )
        usage = Usage(**recorded["usage"])
        if recorded["failed"]:
            raise ServerError(recorded["failed"])
        if recorded["value"] is None:
            raise ReplyError("; ".join(recorded["rejected"]), recorded["raw"], usage)
        return Reply(
            recorded["value"],
            recorded["raw"],
            recorded["answered by"],
            usage,
            recorded["seconds"],
            recorded["how"],
            recorded["pictures taken"],
            tuple(recorded["left out"]),
        )
