"""What a server refuses, and what that means: leave something out, try again, or give up."""

from __future__ import annotations

import re
from collections.abc import Collection

from .keys import Key
from .question import Question
from .settings import ModelSettings

#: Parameters that a question can do without, and how complaints name them.
OPTIONAL_PARAMETERS = {
    "temperature": re.compile(r"\btemperature\b"),
    "seed": re.compile(r"\bseed\b"),
    "max_tokens": re.compile(r"\bmax_tokens\b"),
    "max_completion_tokens": re.compile(r"\bmax_(completion_)?tokens\b"),
}
#: How the parts of a question that a server may refuse are spoken of in its complaint.
PICTURES = re.compile(
    r"imag|vision|multi-?modal|mmproj|content.{0,20}(type|part|list|array|string)"
)
FORMAT = re.compile(r"response.?format|json|schema|grammar|structured|guided")
CONTEXT = re.compile(
    r"context.?(length|size|window|limit)|exceed_context|maximum context|context shift"
    r"|(prompt|input|request|messages?) (is|are|was|has)? ?too (long|large|many)|too many tokens"
    r"|reduce the length"
)
UNKNOWN_MODEL = re.compile(
    r"model.{0,100}(not.?found|does not exist|not a valid|not available)"
    r"|(invalid|unknown|no such) model|deploymentnotfound"
)
QUOTA = re.compile(r"insufficient_quota|billing|credit|exceeded your current quota")
#: Models that an error text lists, at most.
LISTED_MODELS = 12


class Refusal(Exception):  # noqa: N818 - an answer, not yet an error
    """A server's no; never leaves this package.

    Parameters
    ----------
    status : int or None
        HTTP status, or the one that an error body with status 200 tells; None without answer.
    text : str
        What the server or the network says, one line.
    retry_after_s : float or None
    """

    def __init__(self, status: int | None, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.retry_after_s = retry_after_s

    @property
    def may_pass(self) -> bool:
        """Whether the same question may be answered a little later."""
        if self.status is None or self.status in (408, 409, 425):
            return True
        if self.status == 429:
            return not QUOTA.search(self.text.lower())
        return self.status >= 500 and not self.is_overflow

    @property
    def is_overflow(self) -> bool:
        """Whether the question is longer than the model's context."""
        return self.status != 429 and bool(CONTEXT.search(self.text.lower()))

    @property
    def is_unknown_model(self) -> bool:
        """Whether the server does not have the model, or not this address."""
        return self.status == 404 or (
            self.status in (400, 422) and bool(UNKNOWN_MODEL.search(self.text.lower()))
        )

    def part(self, question: Question) -> str | None:
        """The part of a question that is refused, if the question can do without it.

        Returns
        -------
        str or None
            "pictures", "response_format", or one of `OPTIONAL_PARAMETERS`.
        """
        other_reason = self.status in (None, 401, 402, 403, 408, 413, 429) or self.is_overflow
        text = self.text.lower()
        if not other_reason and question.pictures and PICTURES.search(text):
            return "pictures"
        if other_reason or self.is_unknown_model:
            return None
        for name, pattern in OPTIONAL_PARAMETERS.items():
            if name in question.body and pattern.search(text):
                return name
        # Some servers only say that something is wrong with the question: the schema is the part
        # that is most likely beyond them.
        unclear = self.status in (400, 422)
        if "response_format" in question.body and (unclear or FORMAT.search(text)):
            return "response_format"
        return None


def explain(
    refusal: Refusal, settings: ModelSettings, key: Key, models: Collection[str] | None
) -> str:
    """Say in one line why a server is of no use and what would fix it.

    Parameters
    ----------
    refusal : Refusal
    settings : ModelSettings
    key : Key
        Only whether there is one is told.
    models : collection of str or None
        What the server has, if it tells.
    """
    where, model, status = settings.base_url, settings.model, refusal.status or 0
    said = f": {refusal.text}" if refusal.text else ""
    environment = (
        "$RADPLAN_LLM_KEY or $OPENAI_API_KEY" if settings.is_openai else "$RADPLAN_LLM_KEY"
    )
    keyring = (
        "" if settings.is_local else f", or into the keyring (service radplan, {settings.host})"
    )
    listed = ", ".join(sorted(models or ())[:LISTED_MODELS])
    if models and len(models) > LISTED_MODELS:
        listed += ", ..."
    wait = f", in {refusal.retry_after_s:.0f} s" if refusal.retry_after_s else ""
    unknown, named = refusal.is_unknown_model, bool(UNKNOWN_MODEL.search(refusal.text.lower()))
    # The first that applies.
    reasons = (
        (not status and settings.is_local, f"no server answers at {where}{said}; is it started?"),
        (
            not status,
            f"no server answers at {where}{said}; check the address, the network and the proxy",
        ),
        (
            status in (401, 403) and not key,
            f"{where} needs a key ({status}); put it into {environment}{keyring}",
        ),
        (status == 401, f"{where} does not accept the key (401); check it in {environment}"),
        (status == 403, f"{where} does not let this key use {model!r} (403){said}"),
        (
            status == 402 or (status == 429 and not refusal.may_pass),
            f"the account at {where} has nothing left ({status}){said}",
        ),
        (
            status == 413 or refusal.is_overflow,
            f"the question is too long for {model!r} at {where} ({status}){said}; start the "
            "server with a larger context or take another model",
        ),
        (
            unknown and bool(models) and model not in (models or ()),
            f"{where} has no model {model!r}; it has {listed}",
        ),
        (
            unknown and models is None and not named,
            f"{where} is no address of an OpenAI-compatible server ({status}){said}; the right "
            "one usually ends in /v1",
        ),
        (unknown, f"{where} does not serve model {model!r} ({status}){said}"),
        (
            300 <= status < 400,
            f"{where} sends on to another address ({status}){said}; give that one",
        ),
        (status == 429, f"{where} is asked too often (429){said}; try later{wait}"),
        (status >= 500, f"{where} is out of order ({status}){said}; its log should say why"),
    )
    refused = f"{where} refuses the question ({status}){said}"
    return next((text for applies, text in reasons if applies), refused)
