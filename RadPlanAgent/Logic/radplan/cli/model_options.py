"""Options that say which language model is asked, and how it plans."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..agent.llm.settings import VISION
from .options import count

if TYPE_CHECKING:
    from ..planners import LlmRequest

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


def _field(prefix: str) -> str:
    return prefix.replace("-", "_")


def add_planner_options(plan: argparse.ArgumentParser) -> None:
    """Add the options of planning with a language model; `llm_request` reads them."""
    add_model_options(plan, "llm-")
    group = plan.add_argument_group("planning with a language model")
    group.add_argument(
        "--preview",
        action="store_true",
        help="make the first plan, write down what would be sent about it, and send nothing",
    )
    group.add_argument(
        "--llm-temperature", type=float, metavar="T", help="of the replies (default: 0.2)"
    )
    group.add_argument("--llm-seed", type=int, metavar="N", help="of the replies")
    group.add_argument(
        "--no-vision", action="store_true", help="do without the expert who reads pictures"
    )
    group.add_argument(
        "--llm-examples", type=count, metavar="N", help="reference plans to show (default: 3)"
    )
    group.add_argument(
        "--llm-proposals",
        type=count,
        metavar="N",
        help="ask for so many proposals and take the best after a quick trial (default: 1)",
    )
    group.add_argument("--max-tokens", type=count, metavar="N", help="budget of all replies")
    group.add_argument("--max-seconds", type=float, metavar="S", help="budget of time")
    group.add_argument(
        "--max-cost", type=float, metavar="C", help="budget of money, by the prices in llm.json"
    )


def llm_request(options: argparse.Namespace) -> LlmRequest:
    """What the command line says of planning with a language model."""
    from ..planners import LlmRequest

    planner = {
        "vision": False if options.no_vision else None,
        "examples": options.llm_examples,
        "proposals": options.llm_proposals,
        "most_tokens": options.max_tokens,
        "most_seconds": options.max_seconds,
        "most_cost": options.max_cost,
    }
    sampling = {"temperature": options.llm_temperature, "seed": options.llm_seed}
    return LlmRequest(
        model_options(options, "llm-") | sampling,
        {name: value for name, value in planner.items() if value is not None},
    )
