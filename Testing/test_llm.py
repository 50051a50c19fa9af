"""The door to language models, driven against a scripted server over real HTTP."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radplan.agent.llm import (
    Message,
    ModelSettings,
    ReplyError,
    ServerError,
    Usage,
    load_settings,
    open_model,
)
from radplan.agent.llm.check import COLOURS, LEFT, RIGHT, check, two_colour_png
from radplan.agent.llm.keys import Key, find_key
from radplan.agent.llm.reading import find_object, read_completion
from radplan.cli import BAD_INPUT, DONE, main
from radplan.errors import CancelledError, InputError
from scripted_llm import (
    MODEL,
    ScriptedServer,
    completion,
    dribbles,
    drops,
    fails,
    hangs,
    says,
    sends,
)

pytest.importorskip("openai")

KEY = "sk-verysecret0123456789"
GOOD = '{"weight": 3}'
SCHEMA = {
    "type": "object",
    "properties": {"weight": {"type": "integer"}},
    "required": ["weight"],
    "additionalProperties": False,
}
QUESTION = (Message("system", "You plan."), Message("user", "Which weight?"))
PICTURE = b"\x89PNG picture"
WITH_PICTURE = (Message("user", "What do you see?", (PICTURE,)),)


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("RADPLAN_LLM_", "OPENAI_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RADPLAN_LLM_SETTINGS", str(tmp_path / "llm.json"))


def model_of(server, **changes):
    return open_model(
        ModelSettings(
            **{"url": server.url, "model": MODEL, "backoff_s": 0.01, "timeout_s": 10.0} | changes
        )
    )


def ask(model, messages=QUESTION, **more):
    return model.ask(messages, SCHEMA, "answer", **more)


def answer_to(*script, messages=QUESTION, **changes):
    with ScriptedServer(script) as server:
        return ask(model_of(server, **changes), messages)


# ---- What is asked ----


def test_question_as_sent():
    with ScriptedServer([says(GOOD)]) as server:
        reply = ask(model_of(server, temperature=0.4, seed=7, max_tokens=900))
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.body == {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You plan."},
            {"role": "user", "content": "Which weight?"},
        ],
        "temperature": 0.4,
        "seed": 7,
        "max_tokens": 900,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
        },
    }
    assert (reply.value, reply.text, reply.model) == ({"weight": 3}, GOOD, MODEL)
    assert (reply.usage, reply.how, reply.pictures, reply.notes) == (Usage(10, 5), "schema", 0, ())
    assert 0 < reply.seconds < 10


def test_parameters_not_set_are_not_sent():
    with ScriptedServer([says(GOOD)]) as server:
        ask(model_of(server, temperature=None))
    assert set(server.requests[0].body) == {"model", "messages", "response_format"}


def test_pictures_as_sent():
    with ScriptedServer([says(GOOD)]) as server:
        model = model_of(server)
        assert model.sees_pictures
        assert ask(model, WITH_PICTURE).pictures == 1
    text, picture = server.requests[0].body["messages"][0]["content"]
    assert text == {"type": "text", "text": "What do you see?"}
    kind, data = picture["image_url"]["url"].split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == PICTURE


def test_no_pictures_for_a_model_without_eyes():
    with ScriptedServer([says(GOOD)]) as server:
        model = model_of(server, vision="no")
        assert not model.sees_pictures
        assert ask(model, WITH_PICTURE).pictures == 0
    assert server.requests[0].pictures == 0


# ---- What is read ----


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}```",
        f"Here you are: {GOOD} I hope this helps {{}}",
        f'<think>perhaps {{"weight": 9}}?</think>\n{GOOD}',
        f'<Thinking effort="high">{{</Thinking >{GOOD}',
        f'perhaps {{"weight": 9}}? no.</think>{GOOD}',
        f"Values in {{braces}} matter: {GOOD}",
        f"\n\n {GOOD}",
    ],
)
def test_first_object_is_found(text):
    reply = answer_to(says(text))
    assert reply.value == {"weight": 3}
    assert reply.text == text


@pytest.mark.parametrize(
    "value",
    [
        {"weight": "three"},
        {"weight": None, "why": "</think> is text here"},
        {"weight": [1, {"deep": '} { " \\'}]},
        {},
        {"weight": 10**400},
    ],
)
def test_wrong_types_are_for_the_caller(value):
    assert answer_to(says(json.dumps(value))).value == value


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_fields(field):
    thought = 'Weight 9 is wrong: {"weight": 9}'
    assert answer_to(says(GOOD, **{field: thought})).value == {"weight": 3}
    # The whole answer filed under reasoning counts, a draft in the reasoning does not.
    assert answer_to(says("", **{field: f"```json\n{GOOD}\n```"})).value == {"weight": 3}
    with pytest.raises(ReplyError, match="empty"):
        answer_to(says("", **{field: thought}))


def test_content_in_parts():
    parts = [{"type": "text", "text": '{"weight":'}, {"type": "text", "text": " 3}"}, 4, None]
    assert answer_to(says(parts)).value == {"weight": 3}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(max_size=6), json_values, max_size=4),
    st.text(st.characters(exclude_characters="{}<>", codec="utf-8"), max_size=30),
    st.booleans(),
)
def test_any_object_in_prose_is_found_whole(value, prose, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert find_object(f"{prose}{text}{prose}") == value


@given(st.dictionaries(st.text(max_size=6), json_values, min_size=1, max_size=4), st.data())
def test_no_part_of_a_cut_off_object_is_taken(value, data):
    text = json.dumps({"all": value})
    end = data.draw(st.integers(0, len(text) - 1))
    assert find_object(text[:end]) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1, 2]",
        '{"weight": NaN}',
        '{"weight": "\\ud800"}',
        "<think>" + GOOD,
        "{'a': 1}",
        '{"a":' * 100_000 + "1" + "}" * 100_000,
    ],
)
def test_no_object(text):
    assert find_object(text) is None


@given(json_values)
def test_any_body_is_read_without_an_exception(body):
    for hostile in (
        {"choices": body},
        {"choices": [body]},
        {"choices": [{"message": body}]},
        {"choices": [{"message": {"content": body}}], "usage": body, "model": body},
    ):
        read = read_completion(hostile)
        assert isinstance(read.text, str)
        assert read.usage.prompt_tokens >= 0


# ---- Replies without an answer ----


@pytest.mark.parametrize(
    ("behaviour", "fault", "text"),
    [
        (sends({"choices": []}), "empty choices", ""),
        (sends({"choices": None}), "empty choices", ""),
        (says('{"weight": {"a": 1}', finish_reason="length"), "cut off", '{"weight": {"a": 1}'),
        (says("<think>let me see", finish_reason="length"), "cut off", "<think>let me see"),
        (says(None, refusal="I will not plan."), "refuses to answer: I will not plan.", ""),
        (says("", finish_reason="content_filter"), "content filter", ""),
        (says(None), "empty", ""),
        (says("  "), "empty", "  "),
    ],
)
def test_reply_without_answer(behaviour, fault, text):
    with ScriptedServer([behaviour]) as server, pytest.raises(ReplyError, match=fault) as caught:
        ask(model_of(server))
    assert caught.value.text == text
    assert MODEL in str(caught.value)


def test_whole_object_before_the_cut_counts():
    """JSON modes are known to go on with blanks for ever."""
    assert answer_to(says(GOOD + " " * 50, finish_reason="length")).value == {"weight": 3}


# ---- Stepping down ----


def test_schema_then_json_then_prompt_and_remembered():
    script = [
        fails(400, "response_format of type json_schema is unavailable", param="response_format"),
        fails(400, "'response_format.type' must be 'text'"),
        says(GOOD),
        says(GOOD),
    ]
    with ScriptedServer(script) as server:
        model = model_of(server)
        first, second = ask(model), ask(model)
    assert server.ways == ["schema", "json", "prompt", "prompt"]
    assert (first.how, second.how) == ("prompt", "prompt")
    assert len(first.notes) == 2
    assert "json_schema is unavailable" in first.notes[0]
    assert second.notes == ()
    assert "json" not in server.requests[0].last_text.lower()
    for request in server.requests[1:]:
        assert json.dumps(SCHEMA) in request.last_text
        assert request.body["messages"][0] == server.requests[0].body["messages"][0]


def test_prose_although_a_schema_was_sent():
    script = [says("Three."), says("Three!"), says(GOOD), says("Prose"), says(GOOD)]
    with ScriptedServer(script) as server:
        model = model_of(server)
        reply = ask(model)
        assert reply.how == "prompt"
        assert reply.usage == Usage(30, 15)  # what was asked in vain is paid for, too
        with pytest.raises(ReplyError, match="no JSON object") as caught:
            ask(model)
        assert caught.value.text == "Prose"
        assert caught.value.usage == Usage(10, 5)
        ask(model)
    assert server.ways == ["schema", "json", "prompt", "prompt", "prompt"]


def test_a_question_refused_without_reason_is_tried_without_schema():
    with ScriptedServer(
        [fails(400, "Request contains an invalid argument."), says(GOOD)]
    ) as server:
        assert ask(model_of(server)).how == "json"


def test_a_way_that_never_worked_is_not_remembered():
    with ScriptedServer(
        [fails(400, "no"), fails(400, "no"), fails(400, "no"), says(GOOD)]
    ) as server:
        model = model_of(server)
        with pytest.raises(ServerError, match="refuses the question"):
            ask(model)
        assert ask(model).how == "schema"


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("temperature", fails(400, "Unsupported value", param="temperature")),
        ("temperature", fails(400, "'temperature' does not support 0.2 with this model")),
        (
            "seed",
            sends(
                {
                    "detail": [
                        {
                            "loc": ["body", "seed"],
                            "msg": "Extra inputs are not permitted",
                            "input": "image, schema, temperature",
                        }
                    ]
                },
                422,
            ),
        ),
    ],
)
def test_refused_parameter_is_left_out_and_remembered(name, refusal):
    with ScriptedServer([refusal, says(GOOD), says(GOOD)]) as server:
        model = model_of(server, seed=1)
        assert name in ask(model).notes[0]
        assert ask(model).notes == ()
    assert server.ways == ["schema"] * 3
    for request in server.requests[1:]:
        assert set(server.requests[0].body) - set(request.body) == {name}


def test_limit_of_tokens_under_its_other_name():
    refusal = fails(
        400,
        "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
        param="max_tokens",
        code="unsupported_parameter",
    )
    too_many = fails(400, "max_tokens is too large: 9000. This model supports at most 4096.")
    with ScriptedServer([refusal, says(GOOD), too_many, says(GOOD)]) as server:
        model = model_of(server, max_tokens=9000)
        ask(model), ask(model)
    limits = [{k: v for k, v in r.body.items() if k.startswith("max_")} for r in server.requests]
    assert limits == [
        {"max_tokens": 9000},
        {"max_completion_tokens": 9000},
        {"max_completion_tokens": 9000},
        {},
    ]


PICTURE_REFUSALS = [
    fails(400, "scripted is not a multimodal model"),
    fails(400, "this model does not support image input"),
    fails(500, "image input is not supported - hint: you may need to provide the mmproj"),
    fails(404, "No endpoints found that support image input"),
    fails(400, "messages.content.type is invalid, allowed values: ['text']"),
    sends({"error": {"code": 500, "message": "image input is not supported by this server"}}),
]


@pytest.mark.parametrize("refusal", PICTURE_REFUSALS)
def test_refused_pictures_are_left_out_and_told(refusal):
    with ScriptedServer([refusal, says(GOOD), says(GOOD)]) as server:
        model = model_of(server)
        reply = ask(model, WITH_PICTURE)
        assert reply.pictures == 0
        assert "refused pictures" in reply.notes[0]
        assert not model.sees_pictures
        ask(model, WITH_PICTURE)
    assert [request.pictures for request in server.requests] == [1, 0, 0]
    assert server.ways == ["schema"] * 3


def test_pictures_that_the_user_insists_on_are_tried_again():
    with ScriptedServer([PICTURE_REFUSALS[0], says(GOOD), says(GOOD)]) as server:
        model = model_of(server, vision="yes")
        assert ask(model, WITH_PICTURE).pictures == 0
        assert model.sees_pictures
        assert ask(model, WITH_PICTURE).pictures == 1


# ---- Trying again ----


def test_busy_server_is_asked_again_when_it_says(monkeypatch):
    with ScriptedServer([fails(429, "slow down", {"Retry-After": "0.3"}), says(GOOD)]) as server:
        started = time.monotonic()
        assert ask(model_of(server, backoff_s=60.0)).value == {"weight": 3}
    assert time.monotonic() - started >= 0.3


def test_retry_after_as_a_date():
    past = email.utils.formatdate(time.time() - 60, usegmt=True)
    reply = answer_to(fails(503, "busy", {"Retry-After": past}), says(GOOD), backoff_s=60.0)
    assert reply.value == {"weight": 3}


def test_broken_connection_is_tried_again():
    assert answer_to(drops, says(GOOD)).value == {"weight": 3}


def test_errors_to_the_end():
    with ScriptedServer([fails(500, "CUDA out of memory")] * 3) as server:
        with pytest.raises(ServerError, match=r"out of order \(500\): CUDA out of memory"):
            ask(model_of(server, retries=2))
    assert len(server.requests) == 3


def test_a_wait_longer_than_the_deadline_ends_at_the_deadline():
    with ScriptedServer([fails(429, "slow down", {"Retry-After": "3600"})]) as server:
        with pytest.raises(ServerError, match="3600 s"):
            ask(model_of(server))


@pytest.mark.parametrize("text", ["too many images per minute", "temperature of the GPU", "JSON"])
def test_nothing_is_left_out_for_a_busy_server(text):
    with ScriptedServer([fails(429, text), says(GOOD)]) as server:
        reply = ask(model_of(server), WITH_PICTURE)
    assert (reply.how, reply.pictures, reply.notes) == ("schema", 1, ())
    assert server.requests[0].body == server.requests[1].body


def test_used_up_account_is_not_asked_again():
    with ScriptedServer([fails(429, "quota", code="insufficient_quota")]) as server:
        with pytest.raises(ServerError, match="nothing left"):
            ask(model_of(server))


# ---- Clear errors ----


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [
        (fails(401, "Incorrect API key"), "does not accept the key"),
        (fails(403, "no access"), "does not let this key use 'scripted'"),
        (
            fails(
                400,
                "This model's maximum context length is 8192 tokens. However, you requested "
                "9000 tokens (8000 in the messages, 1000 in max_tokens).",
                code="context_length_exceeded",
            ),
            "too long for 'scripted'.*8192",
        ),
        (
            sends(
                {
                    "error": {
                        "code": 400,
                        "message": "request (33056 tokens) exceeds the available "
                        "context size (32768 tokens), try increasing it",
                        "type": "exceed_context_size_error",
                    }
                }
            ),
            "too long for 'scripted'.*larger context",
        ),
        (fails(500, "the request exceeds the available context size"), "too long"),
        (fails(413, "payload too large"), "too long"),
        (sends({"error": "model crashed"}), "model crashed"),
        (sends({"error": {"message": "upstream down", "code": 502}}), r"\(502\): upstream down"),
        (sends(b"<html>It works!</html>"), "no chat completion|refuses the question"),
        (sends({"hello": 1}), "its answer is no chat completion"),
        (sends(b'{"choices": ['), "refuses the question"),
        (sends(b"", 307, {"Location": "http://example.org/v1"}), "sends on.*example.org"),
        (sends(b"<html>Bad gateway</html>", 502), r"out of order \(502\); its log"),
    ],
)
def test_clear_server_errors(monkeypatch, behaviour, text):
    monkeypatch.setenv("RADPLAN_LLM_KEY", KEY)
    with ScriptedServer(lambda exchange: behaviour) as server:
        with pytest.raises(ServerError, match=text) as caught:
            ask(model_of(server, retries=0), WITH_PICTURE)
    assert "\n" not in str(caught.value)
    assert server.url in str(caught.value)


def test_missing_key_says_where_to_put_it():
    with pytest.raises(ServerError, match=r"needs a key \(401\).*RADPLAN_LLM_KEY"):
        answer_to(fails(401, "no key"))


def test_wrong_model_lists_those_the_server_has():
    refusal = fails(404, 'model "scripted" not found, try pulling it first')
    with ScriptedServer([refusal], models=["qwen3:8b", "gemma3"]) as server:
        with pytest.raises(ServerError, match="no model 'scripted'; it has gemma3, qwen3:8b"):
            ask(model_of(server))
    with ScriptedServer([refusal], models=None) as server:
        with pytest.raises(ServerError, match="does not serve model 'scripted'"):
            ask(model_of(server))


def test_wrong_address():
    with ScriptedServer([sends({"detail": "Not Found"}, 404)], models=None) as server:
        with pytest.raises(ServerError, match="no address of an OpenAI-compatible server"):
            ask(model_of(server))


def test_no_server():
    with ScriptedServer([]) as server:
        url = server.url
    with pytest.raises(ServerError, match=r"no server answers at .*; is it started\?"):
        ask(open_model(ModelSettings(url=url, model=MODEL, backoff_s=0.01)))


def test_control_characters_of_a_server_do_not_reach_the_terminal():
    with pytest.raises(ServerError) as caught:
        answer_to(
            fails(400, "bad \x1b[31mred\x07\nline" + "x" * 5000), retries=0, temperature=None
        )
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


# ---- Time ----


@pytest.mark.parametrize("behaviour", [hangs, dribbles()])
def test_deadline_is_on_the_clock(behaviour):
    with ScriptedServer([behaviour]) as server:
        with pytest.raises(ServerError, match=r"within 0\.5 s"):
            ask(model_of(server, timeout_s=0.5))
        assert server.requests[0].abandoned.wait(5)


@pytest.mark.parametrize("behaviour", [hangs, dribbles()])
def test_cancel_aborts_the_request(behaviour):
    before = threading.active_count()
    asked = threading.Event()
    with ScriptedServer([behaviour]) as server:
        with pytest.raises(CancelledError):
            ask(model_of(server), cancel_requested=lambda: asked.is_set() or bool(server.requests))
        assert server.requests[0].abandoned.wait(1)
    assert threading.active_count() == before


def test_cancel_during_a_pause():
    with ScriptedServer([fails(429, "wait", {"Retry-After": "8"})]) as server:
        with pytest.raises(CancelledError):
            ask(model_of(server), cancel_requested=lambda: bool(server.requests))


def test_cancelled_before_it_began():
    with ScriptedServer([]) as server, pytest.raises(CancelledError):
        ask(model_of(server), cancel_requested=lambda: True)
    assert not server.requests


def test_an_error_of_the_caller_aborts_the_request():
    def broken():
        raise ZeroDivisionError

    with ScriptedServer([hangs]) as server, pytest.raises(ZeroDivisionError):
        ask(model_of(server), cancel_requested=lambda: bool(server.requests) and broken())


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_aborts_the_request():
    """Where nobody has taken over Ctrl-C."""
    code = (
        # A shell that starts its tests in the background has them ignore Ctrl-C.
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from radplan.agent.llm import *\n"
        "model = open_model(ModelSettings(url=sys.argv[1], model='x'))\n"
        "try: model.ask([Message('user', 'x')], {}, 'x')\n"
        "except KeyboardInterrupt: print('stopped')"
    )
    with ScriptedServer([hangs]) as server:
        asking = subprocess.Popen(
            [sys.executable, "-c", code, server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while not server.requests and asking.poll() is None:
            time.sleep(0.02)
        asking.send_signal(signal.SIGINT)
        assert asking.communicate(timeout=20) == ("stopped\n", "")
        assert server.requests[0].abandoned.wait(5)


def test_works_inside_a_running_loop():
    """As in a notebook."""

    async def notebook():
        return answer_to(says(GOOD))

    assert asyncio.run(notebook()).value == {"weight": 3}


def test_no_thread_nor_socket_is_left(recwarn):
    before = threading.active_count()
    for _ in range(3):
        answer_to(says(GOOD))
    assert threading.active_count() == before
    assert not [w for w in recwarn if issubclass(w.category, ResourceWarning)]


# ---- Where it goes ----


def test_loopback_past_a_dead_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    assert answer_to(says(GOOD)).value == {"weight": 3}


def test_remote_through_the_proxy(monkeypatch):
    with ScriptedServer([says(GOOD)]) as server:
        monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
        settings = ModelSettings(
            url="http://model.example/v1", model=MODEL, allow_remote=("model.example",)
        )
        assert ask(open_model(settings)).value == {"weight": 3}
    assert server.requests[0].path == "http://model.example/v1/chat/completions"


def test_a_redirect_is_not_followed():
    """It could lead to a server that the user has not allowed."""
    with ScriptedServer([]) as other:
        to_other = sends(b"", 307, {"Location": f"{other.url}/chat/completions"})
        with pytest.raises(ServerError, match="sends on"):
            answer_to(to_other)
    assert not other.requests


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:11434/v1", True),
        ("http://LOCALHOST", True),
        ("http://127.8.8.8:1", True),
        ("http://[::1]:8080/v1", True),
        ("http://0.0.0.0:8080", False),
        ("http://10.0.0.1/v1", False),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
        ("http://2130706433", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_only_loopback_is_local(url, local):
    settings = ModelSettings(url=url, model=MODEL)
    assert settings.is_local == local
    if local:
        open_model(settings)
        return
    with pytest.raises(InputError, match=f"--allow-remote {settings.host}"):
        open_model(settings)
    with pytest.raises(InputError):
        open_model(replace(settings, allow_remote=("other.example", "*")))
    open_model(replace(settings, allow_remote=(settings.host,)))


@pytest.mark.parametrize(
    ("url", "base_url"),
    [
        ("http://localhost:11434", "http://localhost:11434/v1"),
        ("http://localhost:11434/", "http://localhost:11434/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://x.openai.azure.com", "https://x.openai.azure.com/openai/v1"),
        ("https://x.openai.azure.com/openai/v1/", "https://x.openai.azure.com/openai/v1"),
    ],
)
def test_addresses(url, base_url):
    assert ModelSettings(url=url).base_url == base_url


@pytest.mark.parametrize("url", ["", "localhost:11434", "ftp://x/v1", "http://", "http://x:99999"])
def test_wrong_addresses(url):
    with pytest.raises(InputError, match="http://localhost:11434/v1"):
        ModelSettings(url=url)


# ---- Settings ----


def test_options_before_environment_before_file(monkeypatch, tmp_path):
    (tmp_path / "llm.json").write_text(
        json.dumps(
            {
                "url": "http://localhost:1",
                "model": "of file",
                "seed": 3,
                "allow_remote": ["A.example"],
                "prompt_price": 2.5,
            }
        )
    )
    monkeypatch.setenv("RADPLAN_LLM_MODEL", "of environment")
    monkeypatch.setenv("RADPLAN_LLM_TEMPERATURE", "0.7")
    monkeypatch.setenv("RADPLAN_LLM_ALLOW_REMOTE", "b.example, c.example")
    options = {"temperature": None, "vision": "no", "allow_remote": ["d.example"]}
    assert load_settings(options) == ModelSettings(
        url="http://localhost:1",
        model="of environment",
        vision="no",
        temperature=0.7,
        seed=3,
        allow_remote=("d.example", "b.example", "c.example", "a.example"),
        prompt_price=2.5,
    )


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"api_key": KEY}, "does not belong in a file"),
        ({"url": f"https://user:{KEY}@host/v1"}, "more than host and path"),
        ({"url": f"https://host/v1?key={KEY}"}, "more than host and path"),
        ({"colour": "blue"}, "'colour' is no setting"),
        ({"url": 4}, "url of the language model is 4"),
        ({"url": "http://localhost", "vision": "maybe"}, "auto, yes, no"),
        ({"url": "http://localhost", "timeout_s": "soon"}, "timeout_s"),
        ({"url": "http://localhost", "timeout_s": 0}, "timeout_s"),
        ({"url": "http://localhost", "retries": 1.5}, "retries"),
        ({"url": "http://localhost", "temperature": float("nan")}, "temperature"),
        ([], "must be a JSON object"),
        ({}, "no language model is set up"),
    ],
)
def test_wrong_settings(tmp_path, document, text):
    (tmp_path / "llm.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=text) as caught:
        load_settings()
    assert KEY not in str(caught.value)


def test_broken_settings_file(tmp_path):
    (tmp_path / "llm.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        load_settings()


def test_no_model_named():
    with pytest.raises(InputError, match="radplan llm models"):
        open_model(ModelSettings(url="http://localhost:1"))


# ---- Keys ----


REMOTE = ModelSettings(
    url="https://model.example/v1", model=MODEL, allow_remote=("model.example",)
)
OPENAI = ModelSettings(url="https://api.openai.com", model=MODEL, allow_remote=("api.openai.com",))
LOCAL = ModelSettings(url="http://localhost:1", model=MODEL)


@pytest.fixture
def keyring_with(monkeypatch):
    keyring = pytest.importorskip("keyring")

    def set_up(answer):
        monkeypatch.setattr(keyring, "get_password", answer)

    return set_up


def test_where_keys_come_from(monkeypatch, keyring_with):
    keyring_with(lambda service, host: f"{service}-{host}")
    assert find_key(REMOTE).reveal() == "radplan-model.example"
    assert find_key(OPENAI).reveal() == "radplan-api.openai.com"
    assert not find_key(LOCAL)
    monkeypatch.setenv("OPENAI_API_KEY", "of-openai")
    assert find_key(OPENAI).reveal() == "of-openai"
    assert find_key(REMOTE).reveal() == "radplan-model.example"  # not for others
    monkeypatch.setenv("RADPLAN_LLM_KEY", " ours\n")
    assert {find_key(s).reveal() for s in (OPENAI, REMOTE, LOCAL)} == {"ours"}


def test_no_keyring(monkeypatch, keyring_with):
    from keyring.errors import NoKeyringError

    def none(service, host):
        raise NoKeyringError

    keyring_with(none)
    assert not find_key(REMOTE)
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert not find_key(REMOTE)


def test_what_cannot_be_a_key(monkeypatch):
    monkeypatch.setenv("RADPLAN_LLM_KEY", f"{KEY} \u2026")
    with pytest.raises(InputError, match="copy it anew") as caught:
        open_model(LOCAL)
    assert KEY not in str(caught.value)


def test_the_key_is_sent_and_shown_nowhere(monkeypatch, caplog, capfd):
    monkeypatch.setenv("RADPLAN_LLM_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    # A server that repeats the key wherever it can.
    echoes = [
        says(f'{{"weight": "{KEY}"}}', refusal=KEY),
        says(f"Your key is {KEY}"),
        says(KEY),
        says(KEY),
        fails(401, f"Incorrect API key provided: {KEY}"),
        fails(400, KEY),
        fails(400, KEY),
        fails(400, KEY),
        fails(404, f"model {KEY} not found"),
        sends(KEY.encode(), 500),
        sends({"error": KEY}),
        sends(b"", 302, {"Location": f"http://x/?{KEY}"}),
        drops,
    ]
    seen, errors = [], 0
    with ScriptedServer(echoes, models=[KEY]) as server:
        model = model_of(server, retries=0, temperature=None)
        while len(server.requests) < len(echoes):
            try:
                seen.append(repr(ask(model)))
            except (ReplyError, ServerError) as error:
                errors += 1
                seen += traceback.format_exception(error)
                seen += [repr(error), repr(vars(error)), repr(error.args)]
    assert errors == 8
    seen += [repr(model), repr(vars(model)), repr(model.settings), model.name, caplog.text]
    seen += [str(vars(record)) for record in caplog.records]
    assert all(r.headers["authorization"] == f"Bearer {KEY}" for r in server.requests)
    output = capfd.readouterr()
    assert KEY not in "".join([*seen, output.out, output.err])


def test_a_key_is_not_pickled():
    import pickle

    with pytest.raises(TypeError):
        pickle.dumps(Key(KEY))


def test_nothing_of_openai_goes_to_other_servers(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", KEY)
    monkeypatch.setenv("OPENAI_PROJECT_ID", KEY)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {KEY}")
    with ScriptedServer([says(GOOD)]) as server:
        ask(model_of(server))
    assert KEY not in str(server.requests[0].headers)


# ---- radplan llm ----


def follows_the_schema(exchange):
    """A model that keeps to the schema and sees what is shown."""
    if exchange.pictures:
        return says(json.dumps({"left": LEFT, "right": RIGHT}))
    return says('{"days_of_the_week": 7}')


def llm(capsys, what, server, *more):
    code = main(["llm", what, "--url", server.url, "--model", MODEL, *more])
    output = capsys.readouterr()
    return code, output.out.strip(), output.err.strip()


def test_check_of_an_able_model(capsys):
    with ScriptedServer(follows_the_schema) as server:
        code, line, _ = llm(capsys, "check", server)
    assert code == DONE
    assert line.startswith(f"{MODEL} at 127.0.0.1:")
    assert "chat yes, schema yes, vision yes;" in line
    assert "\n" not in line
    assert server.ways == ["schema", "schema"]


def test_check_of_a_model_without_eyes(capsys):
    def blind(exchange):
        return PICTURE_REFUSALS[0] if exchange.pictures else follows_the_schema(exchange)

    with ScriptedServer(blind) as server:
        code, line, _ = llm(capsys, "check", server)
        assert code == DONE
        assert "vision no (the server refuses pictures)" in line
        code, line, _ = llm(capsys, "check", server, "--vision", "yes")
        assert code == BAD_INPUT
        code, line, _ = llm(capsys, "check", server, "--vision", "no")
        assert code == DONE
        assert "not asked" in line


def test_check_sees_through_guesses_and_ignored_schemas(capsys):
    def careless(exchange):
        answer = {"left": "red", "right": "green"} if exchange.pictures else {"days": 7}
        return says(json.dumps(answer))

    with ScriptedServer(careless) as server:
        code, line, _ = llm(capsys, "check", server)
    assert code == DONE
    assert "schema not kept" in line
    assert "vision no (saw red and green where yellow and blue were shown)" in line


def test_check_of_a_chatterbox(capsys):
    with ScriptedServer(lambda exchange: says("A week has seven days.")) as server:
        code, line, _ = llm(capsys, "check", server)
    assert code == BAD_INPUT
    assert "no JSON came" in line
    assert server.ways == ["schema", "json", "prompt"]


def test_check_without_server(capsys):
    with ScriptedServer([]) as server:
        pass
    code, out, error = llm(capsys, "check", server, "--timeout-s", "1")
    assert (code, out) == (BAD_INPUT, "")
    assert error.startswith("error: ")
    assert "\n" not in error


def test_check_of_a_remote_server_without_opt_in(capsys):
    assert main(["llm", "check", "--url", "https://api.openai.com", "--model", "gpt"]) == BAD_INPUT
    assert "--allow-remote api.openai.com" in capsys.readouterr().err


def test_models(capsys):
    with ScriptedServer([], models=["b", "a"]) as server:
        assert llm(capsys, "models", server) == (DONE, "a\nb", "")
    with ScriptedServer([], models=None) as server:
        code, _, error = llm(capsys, "models", server)
    assert code == BAD_INPUT
    assert "usually ends in /v1" in error


def test_picture_of_the_check():
    """The PNG holds what it should, read back by the format's own rules."""
    png = two_colour_png(COLOURS[LEFT], COLOURS[RIGHT])
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    start = png.index(b"IDAT")
    rows = zlib.decompress(png[start + 4 : png.index(b"IEND") - 8])
    width = int.from_bytes(png[16:20], "big")
    assert len(rows) == width * (1 + 3 * width)
    assert rows[1:4] == bytes(COLOURS[LEFT])
    assert rows[3 * width - 2 : 3 * width + 1] == bytes(COLOURS[RIGHT])


def test_pillow_reads_the_picture():
    image = pytest.importorskip("PIL.Image")
    import io

    picture = image.open(io.BytesIO(two_colour_png(COLOURS[LEFT], COLOURS[RIGHT])))
    assert picture.getpixel((10, 10)) == COLOURS[LEFT]
    assert picture.getpixel((200, 200)) == COLOURS[RIGHT]


def test_check_waits_for_nobody_who_is_cancelled():
    with ScriptedServer([hangs]) as server, pytest.raises(CancelledError):
        check(model_of(server), lambda: bool(server.requests))


def test_missing_client_library():
    code = (
        "import sys; sys.modules['openai'] = None\n"
        "from radplan.cli import main\n"
        "sys.exit(main(['llm', 'check', '--url', 'http://localhost:1', '--model', 'x']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == BAD_INPUT
    assert "radplan[llm]" in done.stderr


def test_scripted_server_notices_too_many_questions():
    with pytest.raises(AssertionError, match="more questions"), ScriptedServer([]) as server:
        with pytest.raises(ServerError):
            ask(model_of(server))
    assert completion("x")["choices"][0]["message"]["content"] == "x"
