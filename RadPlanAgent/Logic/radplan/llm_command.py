"""``radplan llm``: what the configured language model can do, and the options that name one."""

from __future__ import annotations

import argparse
from typing import Any

from .agent.llm import ModelSettings, ServerError, load_settings, open_model
from .agent.llm.check import check
from .agent.llm.client import list_models
from .agent.llm.settings import VISION
from .errors import InputError
from .progress import CancelRequested

#: Settings of a model that have an option.
OPTIONS = ("url", "model", "vision", "allow_remote", "timeout_s")


def add_model_options(parser: argparse.ArgumentParser, prefix: str = "") -> None:
    """Add the options that name a language model; `model_options` reads them.

    Parameters
    ----------
    parser : ArgumentParser
    prefix : str
        What their names begin with where they stand among others, such as ``llm-``.
    """
    group = parser.add_argument_group(
        "language model",
        "Without these, $RADPLAN_LLM_URL, $RADPLAN_LLM_MODEL and so on, then llm.json in the "
        "radplan folder of the user's settings, count. The key is taken from $RADPLAN_LLM_KEY "
        "or the OS keyring (keyring set radplan HOST).",
    )
    group.add_argument(
        f"--{prefix}url", metavar="URL", help="server, such as http://localhost:11434/v1"
    )
    group.add_argument(f"--{prefix}model", metavar="NAME", help="model on that server")
    group.add_argument(
        f"--{prefix}vision", choices=VISION, help="whether to send pictures (default: auto)"
    )
    group.add_argument(
        "--allow-remote",
        dest=f"{_field(prefix)}allow_remote",
        action="append",
        metavar="HOST",
        help="host that may be sent dose figures and pictures; may be repeated (default: none "
        "but this machine)",
    )
    group.add_argument(
        f"--{prefix}timeout-s", metavar="S", help="for one answer, seconds (default: 300)"
    )


def model_options(options: argparse.Namespace, prefix: str = "") -> dict[str, Any]:
    """What the command line says of the model, for `load_settings`; None where nothing."""
    return {name: getattr(options, _field(prefix) + name) for name in OPTIONS}


def model_settings(options: argparse.Namespace) -> ModelSettings:
    """Settings of the language model from the command line, environment and file."""
    return load_settings(model_options(options))


def _field(prefix: str) -> str:
    return prefix.replace("-", "_")


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
        abilities = check(open_model(settings), cancel_requested)
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
