"""Where a server's key comes from, and that it is shown nowhere."""

from __future__ import annotations

import os

from ...errors import InputError
from .settings import ModelSettings

#: The name under which the OS keyring has our keys; the account is the server's host.
KEYRING_SERVICE = "radplan"
#: Servers without keys ignore what they are sent, but the client must send something.
NO_KEY = "none"


class Key:
    """A secret that does not show in texts; `reveal` is for the request alone."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The key itself."""
        return self._text or NO_KEY

    def hidden_in(self, text: str) -> str:
        """The text without the key, should a server have repeated it."""
        return text.replace(self._text, "***") if self._text else text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Key(***)" if self else "Key()"

    def __reduce__(self) -> None:
        raise TypeError("a key is not written anywhere")


def find_key(settings: ModelSettings) -> Key:
    """Find the key of a server; an empty one where there is none.

    $RADPLAN_LLM_KEY; for OpenAI's own servers also $OPENAI_API_KEY; for remote servers also the
    OS keyring (service ``radplan``, account the server's host). A server on this machine never
    makes the keyring ask for its password.

    Raises
    ------
    InputError
        If what is found cannot be a key.
    """
    found = os.environ.get("RADPLAN_LLM_KEY", "")
    if not found and settings.is_openai:
        found = os.environ.get("OPENAI_API_KEY", "")
    if not found and not settings.is_local:
        found = _from_keyring(settings.host)
    found = found.strip()
    if not all("!" <= character <= "~" for character in found):
        raise InputError(
            f"the key for {settings.host} has blanks or letters that no key has; copy it anew"
        )
    return Key(found)


def _from_keyring(host: str) -> str:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return ""
    try:
        return keyring.get_password(KEYRING_SERVICE, host) or ""
    except KeyringError:
        # No keyring on this machine, or the user keeps it shut: the server will say if it matters.
        return ""
