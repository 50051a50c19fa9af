"""A test double: an OpenAI-compatible server on loopback that answers from a script.

A real HTTP server, to be driven through the real client:

    with ScriptedServer([says('{"a": 1}'), fails(500)]) as server:
        model = open_model(ModelSettings(url=server.url, model=MODEL))
"""

from __future__ import annotations

import json
import select
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "scripted"


@dataclass
class Exchange:
    """One request that came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    #: Set when the client closes the connection before it has its answer.
    abandoned: threading.Event = field(default_factory=threading.Event)

    @property
    def way(self) -> str:
        """How JSON was asked for, in the words of Reply.how."""
        kind = self.body.get("response_format", {}).get("type")
        return {"json_schema": "schema", "json_object": "json", None: "prompt"}[kind]

    @property
    def pictures(self) -> int:
        parts = [p for m in self.body["messages"] for p in m["content"] if isinstance(p, dict)]
        return sum(part["type"] == "image_url" for part in parts)

    @property
    def last_text(self) -> str:
        content = self.body["messages"][-1]["content"]
        return content if isinstance(content, str) else content[0]["text"]


#: Answers one request over the handler it is given.
Behaviour = Callable[["_Handler", Exchange], None]


def says(
    text: str | None,
    finish_reason: str = "stop",
    usage: tuple[int, int] = (10, 5),
    **message: Any,
) -> Behaviour:
    """Answer as a model: `text` and other fields of the message, such as reasoning_content."""
    return sends(completion(text, finish_reason, usage, **message))


def completion(
    text: str | None, finish_reason: str = "stop", usage: tuple[int, int] = (10, 5), **message: Any
) -> dict[str, Any]:
    """The body of a chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
        },
    }


def fails(status: int, message: str = "out of order", headers=None, **error: Any) -> Behaviour:
    """Answer with an error in OpenAI's form."""
    return sends({"error": {"message": message, **error}}, status, headers)


def sends(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Behaviour:
    """Answer with any body: bytes as they are, all else as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda handler, exchange: handler.answer(status, raw, headers)


def hangs(handler: _Handler, exchange: Exchange) -> None:
    """Never answer."""
    handler.wait_until_abandoned(exchange)


def dribbles(text: str = '{"a": 1}', every_s: float = 0.05) -> Behaviour:
    """Answer one byte at a time, each soon enough for a timeout that counts single reads."""

    def behave(handler: _Handler, exchange: Exchange) -> None:
        raw = json.dumps(completion(text)).encode()
        handler.start(200, len(raw), None)
        for position in range(len(raw)):
            try:
                handler.wfile.write(raw[position : position + 1])
            except OSError:
                exchange.abandoned.set()
                return
            if handler.server.stopping.wait(every_s):
                return

    return behave


def drops(handler: _Handler, exchange: Exchange) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


class ScriptedServer:
    """The server; a context manager.

    Parameters
    ----------
    script : iterable of Behaviour, or callable
        One for each question, in order; or a function from Exchange to Behaviour. A question
        more than the script has is answered by an error and fails the test at the end.
    models : sequence of str or None
        What ``/v1/models`` lists; None: the server has no such list.
    """

    def __init__(
        self,
        script: Iterable[Behaviour] | Callable[[Exchange], Behaviour],
        models: Iterable[str] | None = (MODEL,),
    ) -> None:
        self._next = script if callable(script) else self._from(iter(script))
        self._overrun = False
        self.models = models
        self.requests: list[Exchange] = []

    def _from(self, script) -> Callable[[Exchange], Behaviour]:
        def following(exchange: Exchange) -> Behaviour:
            behaviour = next(script, None)
            if behaviour is None:
                self._overrun = True
                return fails(418, "the script is over")
            return behaviour

        return following

    def behaviour(self, exchange: Exchange) -> Behaviour:
        self.requests.append(exchange)
        return self._next(exchange)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def ways(self) -> list[str]:
        return [exchange.way for exchange in self.requests]

    def __enter__(self) -> ScriptedServer:
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.script, self._http.stopping = self, threading.Event()
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self._http.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        if kind is None:
            assert not self._overrun, "more questions than the script has answers"


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close waits for them

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is part of the script."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        exchange = Exchange(self.path, dict(self.headers), json.loads(raw))
        self.server.script.behaviour(exchange)(self, exchange)

    def do_GET(self) -> None:
        models = self.server.script.models
        if models is None or self.path != "/v1/models":
            self.answer(404, b'{"detail": "Not Found"}')
        else:
            data = [{"id": name, "object": "model"} for name in models]
            self.answer(200, json.dumps({"object": "list", "data": data}).encode())

    def start(self, status: int, length: int, headers: dict[str, str] | None) -> None:
        self.send_response(status)
        # Said, and not only done: a client that does not know would send its next question into
        # a connection that is about to close.
        named = {
            "Content-Type": "application/json",
            "Content-Length": str(length),
            "Connection": "close",
        }
        for name, value in (named | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()

    def answer(self, status: int, raw: bytes, headers: dict[str, str] | None = None) -> None:
        self.start(status, len(raw), headers)
        self.wfile.write(raw)

    def wait_until_abandoned(self, exchange: Exchange, at_most_s: float = 20.0) -> None:
        over = time.monotonic() + at_most_s
        while time.monotonic() < over and not self.server.stopping.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable and not self.connection.recv(1):
                exchange.abandoned.set()
                return
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Say nothing on standard error."""
