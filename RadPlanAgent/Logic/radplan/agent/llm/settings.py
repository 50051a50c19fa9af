"""Which language model is asked, and how; read from options, environment and a file.

There is no key in here: see `keys`.
"""

from __future__ import annotations

import ipaddress
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ...errors import InputError

VISION = ("auto", "yes", "no")
#: Words in names of settings that would hold a secret.
SECRET_WORDS = ("key", "secret", "password")


@dataclass(frozen=True)
class ModelSettings:
    """A server, a model, and how they are asked.

    Parameters
    ----------
    url : str
        Address of the server's OpenAI-compatible interface, such as ``http://localhost:11434/v1``;
        ``/v1`` is added where the address has no path.
    model : str
        Name of the model on that server (on Azure the name of the deployment).
    vision : str
        "no": pictures are never sent. "auto": until the server refuses one. "yes": always tried.
    temperature, seed
        Sent if given. Left out for servers that refuse them.
    max_tokens : int, optional
        Tokens of one reply, reasoning included, at most; without it the server decides.
    timeout_s : float
        One question may take this long in all, on the clock.
    retries : int
        Further tries after an answer 429 or 5xx or a broken connection.
    backoff_s : float
        Pause before the first of these; each further one is twice as long. What the server asks
        for (Retry-After) counts more.
    allow_remote : tuple of str
        Hosts other than this machine that may be sent anything.
    prompt_price, completion_price : float, optional
        Per million tokens, in any currency.
    """

    url: str
    model: str = ""
    vision: str = "auto"
    temperature: float | None = 0.2
    seed: int | None = None
    max_tokens: int | None = None
    timeout_s: float = 300.0
    retries: int = 3
    backoff_s: float = 1.0
    allow_remote: tuple[str, ...] = ()
    prompt_price: float | None = None
    completion_price: float | None = None

    def __post_init__(self) -> None:
        _split(self.url)
        if self.vision not in VISION:
            raise InputError(f"vision is {self.vision!r}; it must be one of {', '.join(VISION)}")
        for name, low in (
            ("temperature", 0.0),
            ("max_tokens", 1),
            ("timeout_s", 0.001),
            ("retries", 0),
            ("backoff_s", 0.0),
            ("prompt_price", 0.0),
            ("completion_price", 0.0),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value < math.inf:
                raise InputError(f"{name} of the language model is {value}; at least {low} needed")

    @property
    def base_url(self) -> str:
        """The address requests go below, without a slash at its end."""
        parts = _split(self.url)
        path = parts.path.rstrip("/")
        if not path:
            path = "/openai/v1" if self.host.endswith(".openai.azure.com") else "/v1"
        return f"{parts.scheme}://{parts.netloc}{path}"

    @property
    def host(self) -> str:
        """The server's host in small letters, without a port."""
        return _split(self.url).hostname or ""

    @property
    def name(self) -> str:
        """Model and server, for logs."""
        return f"{self.model or 'no model'} at {_split(self.url).netloc}"

    @property
    def is_local(self) -> bool:
        """Whether what is sent stays on this machine: only a loopback address is sure to."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_openai(self) -> bool:
        """Whether the server is OpenAI's own."""
        return self.host == "api.openai.com" or self.host.endswith(".api.openai.com")

    def check_allowed(self) -> None:
        """Raise `InputError` for a remote server that the user has not opted in to."""
        if self.is_local or self.host in self.allow_remote:
            return
        raise InputError(
            f"{self.host} is not this machine, and structure names, dose figures and pictures of "
            f"the plan would be sent there; if that is allowed, say so with --allow-remote "
            f"{self.host}, $RADPLAN_LLM_ALLOW_REMOTE or allow_remote in {settings_file()}"
        )


def _split(url: str) -> SplitResult:
    """Take an address apart; what may hold a secret is refused without repeating it."""
    if "@" in url or "?" in url or "#" in url:
        raise InputError(
            "the address of the language model holds more than host and path; a key belongs in "
            "$RADPLAN_LLM_KEY or the keyring"
        )
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InputError(
            f"address of the language model {url!r}: write it like http://localhost:11434/v1"
        )
    return parts


def settings_file() -> Path:
    """The user's settings: $RADPLAN_LLM_SETTINGS, else radplan/llm.json in the config folder."""
    if "RADPLAN_LLM_SETTINGS" in os.environ:
        return Path(os.environ["RADPLAN_LLM_SETTINGS"])
    return Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "radplan/llm.json"


def load_settings(options: Mapping[str, Any] | None = None) -> ModelSettings:
    """Read the settings.

    Each setting is taken from the first that has it: `options`, the environment
    (``$RADPLAN_LLM_URL``, ``$RADPLAN_LLM_MODEL`` and so on, the names of `ModelSettings` in
    capitals), the settings file. Only hosts of ``allow_remote`` add up.

    Parameters
    ----------
    options : mapping, optional
        From the command line or a panel; values of None count as not given.

    Raises
    ------
    InputError
        If a setting is wrong, or no server is named anywhere.
    """
    given = {name: value for name, value in (options or {}).items() if value is not None}
    sources = [("options", given), ("environment", _environment()), (settings_file(), _file())]
    settings: dict[str, Any] = {}
    allowed: list[str] = []
    for source, values in sources:
        for name, value in values.items():
            if name not in _READERS:
                raise InputError(
                    f"{source}: {name!r} is no setting; there are {', '.join(_READERS)}"
                )
            try:
                read = _READERS[name](value)
            except (TypeError, ValueError):
                raise InputError(f"{source}: {name} of the language model is {value!r}") from None
            if name == "allow_remote":
                allowed += read
            else:
                settings.setdefault(name, read)
    if not settings.get("url"):
        raise InputError(
            "no language model is set up: name a server with --url or $RADPLAN_LLM_URL, such as "
            "http://localhost:11434/v1"
        )
    return ModelSettings(**settings, allow_remote=tuple(dict.fromkeys(allowed)))


def _environment() -> dict[str, str]:
    variables = {name: f"RADPLAN_LLM_{name.upper()}" for name in _READERS}
    return {name: os.environ[v] for name, v in variables.items() if os.environ.get(v)}


def _file() -> dict[str, Any]:
    path = settings_file()
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: must be a JSON object of settings")
    for name in document:
        if any(word in name.lower() for word in SECRET_WORDS):
            raise InputError(
                f"{path}: {name!r} does not belong in a file; put keys into $RADPLAN_LLM_KEY or "
                "the keyring"
            )
    return document


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value.strip()


def _hosts(value: Any) -> list[str]:
    hosts = value.split(",") if isinstance(value, str) else list(value)
    return [_text(host).lower() for host in hosts if _text(host)]


def _integer(value: Any) -> int:
    if isinstance(value, (bool, float)):
        raise TypeError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "url": _text,
    "model": _text,
    "vision": _text,
    "temperature": _number,
    "seed": _integer,
    "max_tokens": _integer,
    "timeout_s": _number,
    "retries": _integer,
    "backoff_s": _number,
    "allow_remote": _hosts,
    "prompt_price": _number,
    "completion_price": _number,
}
