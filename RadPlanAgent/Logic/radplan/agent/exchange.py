"""Asking a language model so that nothing is said or heard without a line in the log.

Each question is one *exchange* in the audit log: who asked, the messages with their pictures (as
files, by their SHA-256), the raw reply, what was read from it, what was rejected and why, what it
cost. A reply that cannot be used is sent back with what is wrong with it, a few times.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..files import written_by_rename
from ..progress import CancelRequested, check_cancelled, never
from .checked import RejectedReplyError
from .guard import approvals
from .llm.messages import LanguageModel, Message, Reply, ReplyError, Usage

#: Kind of the audit line of an exchange.
EXCHANGE = "llm exchange"
#: How often a reply that cannot be used is sent back.
REPAIRS = 3
#: So much of a reply that cannot be used is sent back with what is wrong with it, characters.
LONGEST_ECHO = 8000

T = TypeVar("T")


class GivenUpError(RuntimeError):
    """A model gave no usable reply, however often it was asked; the text says why."""


@dataclass(frozen=True)
class Spent:
    """What was asked of a model so far.

    Parameters
    ----------
    prompt_tokens, completion_tokens : int
    seconds : float
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def plus(self, usage: Usage, seconds: float) -> Spent:
        """With one more exchange."""
        return Spent(
            self.prompt_tokens + usage.prompt_tokens,
            self.completion_tokens + usage.completion_tokens,
            self.seconds + seconds,
        )


def spent_in(entries: Sequence[Mapping[str, Any]]) -> Spent:
    """What the exchanges of an audit log cost, so that a resumed session goes on counting."""
    spent = Spent()
    for entry in entries:
        if entry["kind"] == EXCHANGE:
            data = entry["data"]
            spent = spent.plus(Usage(**data["usage"]), data["seconds"])
    return spent


class Exchanges:
    """Asks one model, logs every exchange, and counts what they cost.

    Parameters
    ----------
    model : LanguageModel
    log : callable
        Writes a line to the audit log: ``log(kind, data)``.
    folder : Path
        Where pictures that were sent are kept.
    spent : Spent, optional
        By earlier runs of the session.
    clock : callable
        Seconds, for exchanges that end in an error.
    """

    def __init__(
        self,
        model: LanguageModel,
        log: Callable[[str, dict], None],
        folder: Path,
        spent: Spent | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self.spent = spent or Spent()
        self._log, self._folder = log, folder
        self._clock = clock

    def ask(
        self,
        voice: str,
        messages: Sequence[Message],
        schema: Mapping[str, Any],
        read: Callable[[dict], T],
        cancel_requested: CancelRequested = never,
    ) -> T:
        """Ask until a reply can be used, sending back what is wrong with those that cannot.

        Parameters
        ----------
        voice : str
            Who asks, for the log: ``dvh expert``, ``planner`` …
        messages : sequence of Message
        schema : mapping
        read : callable
            Makes the answer of a reply's value; raises `RejectedReplyError` to send it back. What
            it returns may have ``ignored`` or ``notes``, which are logged.
        cancel_requested : callable

        Raises
        ------
        GivenUpError
            If no reply could be used.
        ServerError
            If there is no usable server.
        CancelledError
        """
        conversation, sent = list(messages), 0
        why = ""
        for attempt in range(1 + REPAIRS):
            check_cancelled(cancel_requested)
            record = {
                "voice": voice,
                "attempt": attempt,
                "model": self.model.name,
                # An attempt after the first goes on from the messages before it.
                "messages": [self._recorded(m) for m in conversation[sent:]],
            }
            sent = len(conversation)
            began = self._clock()
            try:
                reply = self.model.ask(
                    conversation, schema, voice.replace(" ", "_"), cancel_requested
                )
            except ReplyError as error:
                why, said = str(error), error.text[:LONGEST_ECHO]
                problems = [why]
                self._finish(
                    record,
                    raw=error.text,
                    usage=error.usage,
                    seconds=self._clock() - began,
                    rejected=problems,
                )
            except BaseException as error:
                # Whatever ended it, what was sent is told.
                failed = str(error) or type(error).__name__
                self._finish(record, seconds=self._clock() - began, failed=failed)
                raise
            else:
                # What it thought is not repeated to it.
                said = json.dumps(reply.value, ensure_ascii=False, sort_keys=True)[:LONGEST_ECHO]
                try:
                    answer = read(reply.value)
                except RejectedReplyError as error:
                    problems = list(error.problems)
                    why = "; ".join(problems)
                    self._replied(record, reply, problems, ())
                else:
                    notes = getattr(answer, "ignored", None) or getattr(answer, "notes", ())
                    self._replied(record, reply, [], notes)
                    return answer
            conversation += [Message("assistant", said or "(nothing)"), _repair(problems)]
        raise GivenUpError(f"no usable reply after {1 + REPAIRS} attempts; the last: {why}")

    def _replied(
        self, record: dict, reply: Reply, rejected: Sequence[str], notes: Sequence[str]
    ) -> None:
        ignored = dict.fromkeys((*notes, *approvals(reply.text)))
        self._finish(
            record,
            raw=reply.text,
            value=reply.value,
            usage=reply.usage,
            seconds=reply.seconds,
            rejected=rejected,
            ignored=ignored,
            extra={"how": reply.how, "answered by": reply.model, "left out": list(reply.notes)}
            | {"pictures taken": reply.pictures},
        )

    def _finish(
        self,
        record: dict,
        *,
        raw: str = "",
        value: dict | None = None,
        usage: Usage = Usage(),  # noqa: B008 - frozen
        seconds: float = 0.0,
        rejected: Sequence[str] = (),
        ignored: Sequence[str] = (),
        failed: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.spent = self.spent.plus(usage, seconds)
        self._log(
            EXCHANGE,
            record
            | {
                "raw": raw,
                "value": value,
                "rejected": list(rejected),
                "ignored": list(ignored),
                "failed": failed,
                "usage": {
                    "prompt_tokens": usage.prompt_tokens,
                    "completion_tokens": usage.completion_tokens,
                },
                "seconds": round(seconds, 3),
            }
            | dict(extra or {}),
        )

    def _recorded(self, message: Message) -> dict:
        """A message for the log; its pictures are written to the folder, each once."""
        pictures = []
        for png in message.images:
            digest = hashlib.sha256(png).hexdigest()
            path = self._folder / f"{digest[:16]}.png"
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                with written_by_rename(path) as file:
                    file.write(png)
            pictures.append({"file": f"{self._folder.name}/{path.name}", "sha256": digest})
        return {"role": message.role, "text": message.text, "pictures": pictures}


def _repair(problems: Sequence[str]) -> Message:
    listed = "\n".join(f"- {p}" for p in problems)
    return Message(
        "user",
        f"Your reply cannot be used:\n{listed}\n"
        "Answer again with one complete JSON object in which all of this is put right.",
    )
