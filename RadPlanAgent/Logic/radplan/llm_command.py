"""``radplan llm``: what the configured language model can do."""

from __future__ import annotations

from dataclasses import replace

from .agent.llm import ModelSettings, ServerError, open_model
from .agent.llm.check import check
from .agent.llm.client import list_models
from .errors import InputError
from .progress import CancelRequested


def check_model(settings: ModelSettings, cancel_requested: CancelRequested) -> tuple[str, bool]:
    """Ask the model small questions.

    Returns
    -------
    str
        One line: what it can do.
    bool
        Whether that is enough to plan with these settings.
    """
    try:
        # Asked once: a person waits, and can ask again.
        abilities = check(open_model(replace(settings, retries=0)), cancel_requested)
    except ServerError as error:
        raise InputError(str(error)) from None
    enough = abilities.chat and (settings.vision != "yes" or bool(abilities.vision))
    return str(abilities), enough


def models_of(settings: ModelSettings, cancel_requested: CancelRequested) -> tuple[str, ...]:
    """Names of the models that the server has."""
    try:
        return list_models(settings, cancel_requested)
    except ServerError as error:
        raise InputError(str(error)) from None
