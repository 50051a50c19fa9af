"""A language model behind an OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import InputError
from ...progress import CancelRequested, never
from .keys import Key, find_key
from .messages import Message, Reply, ReplyError, ServerError, Usage
from .question import Question, Terms, build_question
from .reading import Completion, error_in, read_completion
from .refusals import Refusal, explain
from .settings import ModelSettings
from .waiting import DeadlineError, wait_for

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Result = TypeVar("Result")

#: A server that does not take up a connection for so long is not there, seconds.
CONNECT_S = 10.0
#: How long the list of models may take where it only makes an error text better, seconds.
LIST_S = 3.0


def open_model(settings: ModelSettings) -> ServerModel:
    """Make a model ready to be asked; nothing is sent yet.

    Raises
    ------
    InputError
        If the server is remote and not allowed, no model is named, the key cannot be one, or the
        client library is missing.
    """
    if not settings.model:
        raise InputError(
            f"no model is named for {settings.base_url}; use --model or $RADPLAN_LLM_MODEL "
            "(radplan llm models lists what the server has)"
        )
    return ServerModel(settings, _allowed_key(settings))


def list_models(
    settings: ModelSettings, cancel_requested: CancelRequested = never
) -> tuple[str, ...]:
    """Names of the models that a server says it has, sorted; none needs to be set.

    Raises
    ------
    InputError, ServerError, CancelledError
        As `open_model` and `LanguageModel.ask`.
    """
    return ServerModel(settings, _allowed_key(settings)).list_models(cancel_requested)


def _allowed_key(settings: ModelSettings) -> Key:
    settings.check_allowed()
    try:
        import openai  # noqa: F401
    except ImportError:
        raise InputError(
            "language models need the openai package: pip install 'radplan[llm]'"
        ) from None
    return find_key(settings)


class ServerModel:
    """A `LanguageModel` on a server; remembers what the server refuses.

    Parameters
    ----------
    settings : ModelSettings
    key : Key
    """

    def __init__(self, settings: ModelSettings, key: Key) -> None:
        self.settings = settings
        self._key = key
        self._terms = Terms()

    @property
    def name(self) -> str:
        """Model and server, for logs."""
        return self.settings.name

    @property
    def sees_pictures(self) -> bool:
        """Whether pictures are sent: as set, and not refused by the server yet."""
        return self.settings.vision != "no" and "pictures" not in self._terms.refused

    def ask(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any],
        schema_name: str,
        cancel_requested: CancelRequested = never,
    ) -> Reply:
        """Ask for one JSON object; see `LanguageModel.ask`."""
        started = time.monotonic()
        reply = self._wait_for(self._ask(messages, schema, schema_name), cancel_requested)
        return replace(reply, seconds=time.monotonic() - started)

    def list_models(self, cancel_requested: CancelRequested = never) -> tuple[str, ...]:
        """Names of the models that the server says it has, sorted."""
        return self._wait_for(self._list_models(), cancel_requested)

    def _wait_for(
        self, work: Coroutine[Any, Any, Result], cancel_requested: CancelRequested
    ) -> Result:
        try:
            return wait_for(work, time.monotonic() + self.settings.timeout_s, cancel_requested)
        except DeadlineError:
            raise ServerError(
                f"{self.settings.base_url} did not answer within {self.settings.timeout_s:g} s; "
                "allow more with --timeout-s or $RADPLAN_LLM_TIMEOUT_S, or take a faster model"
            ) from None

    async def _list_models(self) -> tuple[str, ...]:
        async with self._client() as client:
            try:
                # Once: a person waits, and can ask again.
                return _model_names(await self._sent(client.models.with_raw_response.list))
            except Refusal as refusal:
                raise ServerError(explain(refusal, self.settings, self._key, None)) from None

    async def _ask(
        self, messages: Sequence[Message], schema: Mapping[str, Any], schema_name: str
    ) -> Reply:
        """Ask, and leave out what the server refuses, until there is a reply.

        Ends, because each round returns, raises, or leaves out one thing more.
        """
        terms, notes, spent = self._terms, [], Usage()
        async with self._client() as client:
            while True:
                question = build_question(self.settings, messages, schema, schema_name, terms)
                try:
                    body = await self._post(client, question)
                except Refusal as refusal:
                    part = refusal.part(question)
                    if part is None:
                        raise ServerError(await self._explained(refusal, client)) from None
                    notes.append(f"refused {part.replace('_', ' ')}: {refusal.text}")
                    terms = terms.without(part)
                    continue
                completion = read_completion(body)
                spent += completion.usage
                self._remember(replace(terms, way=self._terms.way))
                if completion.value is not None:
                    self._remember(terms)
                    return Reply(
                        value=completion.value,
                        text=completion.text,
                        model=completion.model or self.settings.model,
                        usage=spent,
                        seconds=0.0,
                        how=terms.way,
                        pictures=question.pictures,
                        notes=tuple(notes),
                    )
                fault = _fault(completion, body)
                if not _is_prose(completion) or terms.is_last_way:
                    raise ReplyError(f"{self.name}: {fault}", completion.text, spent)
                notes.append(f"asked for JSON by {terms.way}: {fault}")
                terms = terms.without("response_format")

    def _remember(self, terms: Terms) -> None:
        """Start the next question from these terms; with vision "yes" pictures are tried anew."""
        if self.settings.vision == "yes":
            terms = replace(terms, refused=terms.refused - {"pictures"})
        self._terms = terms

    async def _post(self, client: AsyncOpenAI, question: Question) -> dict[str, Any]:
        create = client.chat.completions.with_raw_response.create
        body = await self._with_retries(lambda: create(**question.body), question)
        if "choices" in body:
            return body
        raise Refusal(200, "its answer is no chat completion")

    async def _with_retries(
        self, send: Callable[[], Awaitable[Any]], question: Question
    ) -> dict[str, Any]:
        """Send a request, again after a pause if that may help.

        Parameters
        ----------
        send : callable
        question : Question
            What is sent; after a refusal of one of its parts it is not sent again.

        Returns
        -------
        dict
            The body of the answer.

        Raises
        ------
        Refusal
        """
        pause_s = self.settings.backoff_s
        for left in range(self.settings.retries, -1, -1):
            try:
                return await self._sent(send)
            except Refusal as refusal:
                leave_out = refusal.part(question)
                wait_s = pause_s if refusal.retry_after_s is None else refusal.retry_after_s
                too_long = wait_s > self.settings.timeout_s
                if not left or not refusal.may_pass or leave_out or too_long:
                    raise
            await asyncio.sleep(wait_s)
            pause_s *= 2
        raise AssertionError("the last try returns or raises")

    async def _sent(self, send: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        """Send a request once; every way to fail becomes a `Refusal` without the key in it."""
        import openai

        try:
            answer = (await send()).http_response
        except openai.APIStatusError as error:
            answer = error.response
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            text = f"{type(cause).__name__} {cause}".strip()
            raise Refusal(None, error_in(self._key.hidden_in(text))) from None
        except openai.OpenAIError as error:
            raise Refusal(None, error_in(self._key.hidden_in(str(error)))) from None
        text = self._key.hidden_in(answer.text)
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            body = text
        status = answer.status_code
        if status == 200 and isinstance(body, dict) and not body.get("error"):
            return body
        if status == 200:
            status = _status_in(body)
        if 300 <= status < 400:
            body = self._key.hidden_in(answer.headers.get("location", ""))
        raise Refusal(status, error_in(body), _retry_after_s(answer.headers))

    async def _explained(self, refusal: Refusal, client: AsyncOpenAI) -> str:
        """What a refusal means, with the models that the server has where that is of use."""
        models = None
        if refusal.is_unknown_model:
            try:
                listing = self._sent(client.models.with_raw_response.list)
                models = _model_names(await asyncio.wait_for(listing, LIST_S))
            except (Refusal, asyncio.TimeoutError):
                pass
        return explain(refusal, self.settings, self._key, models)

    def _client(self) -> AsyncOpenAI:
        """A client for one question; connections belong to the loop that the question runs in."""
        from openai import AsyncOpenAI, DefaultAsyncHttpx2Client, Omit, Timeout

        # Its details hold headers, in which a server could repeat the key.
        logging.getLogger("httpcore2").setLevel(logging.INFO)
        key = self._key.reveal()
        # Given here, it also wins over a header meant for another server in the environment.
        headers: dict[str, Any] = {"Authorization": f"Bearer {key}"}
        if not self.settings.is_openai:
            headers |= {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
        return AsyncOpenAI(
            base_url=self.settings.base_url,
            api_key=key,
            default_headers=headers,
            max_retries=0,
            timeout=Timeout(self.settings.timeout_s, connect=CONNECT_S),
            # A proxy cannot reach a loopback server. A redirect could lead to a server that the
            # user has not allowed.
            http_client=DefaultAsyncHttpx2Client(
                trust_env=not self.settings.is_local, follow_redirects=False
            ),
        )


def _status_in(body: Any) -> int:
    """The status that an answer 200 with an error in its body should have had, else 200."""
    error = body.get("error") if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if type(code) is int and 400 <= code < 600 else 200


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long the server asks to wait: seconds or a date; None if it does not say."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _model_names(body: dict[str, Any]) -> tuple[str, ...]:
    models = body.get("data")
    entries = [m for m in models if isinstance(m, dict)] if isinstance(models, list) else []
    return tuple(sorted({m["id"] for m in entries if isinstance(m.get("id"), str)}))


def _is_prose(completion: Completion) -> bool:
    """Whether the model answered to the end, but not in JSON: another way to ask may help."""
    ended = completion.finish_reason not in ("length", "content_filter")
    return ended and not completion.refusal and bool(completion.text.strip())


def _fault(completion: Completion, body: dict[str, Any]) -> str:
    """Why there is no JSON object in a completion."""
    if not body.get("choices"):
        return "the server sent no answer (empty choices)"
    if completion.refusal or completion.finish_reason == "content_filter":
        reason = error_in(completion.refusal) or "content filter"
        return f"the model refuses to answer: {reason}"
    if completion.finish_reason == "length":
        return "the answer is cut off; raise max_tokens or the server's context"
    if not completion.text.strip():
        return "the answer is empty"
    return "the answer holds no JSON object"
