"""The parser of the command line."""

from __future__ import annotations

import argparse

from .. import __version__
from .bench_command import add_bench
from .dose_commands import add_dvh, add_evaluate
from .ending import BANNER
from .list_commands import add_cases, add_protocols
from .model_commands import add_examples, add_llm
from .options import Run
from .planning_commands import add_plan, add_replay, add_report, add_resume


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; what it gives has `run`, which does the command."""
    parser = argparse.ArgumentParser(
        prog="radplan",
        description="Radiotherapy treatment planning without a window: from CT and structures to "
        f"a judged plan. {BANNER}",
        epilog="Exit codes: 0 done; 2 bad usage or input; 3 ran, but must-goals or constraints "
        "are unmet; 4 cancelled. Results go to standard output, everything else to standard "
        "error.",
    )
    parser.add_argument("--version", action="version", version=f"radplan {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="say more, also on errors")
    commands = parser.add_subparsers(required=True, title="commands", metavar="COMMAND")

    def command(name: str, run: Run, text: str, more: str = "") -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}. {more}"
        )
        made.set_defaults(run=run)
        return made

    for add in (
        *(add_plan, add_resume, add_replay, add_report),
        *(add_dvh, add_evaluate),
        *(add_protocols, add_cases),
        *(add_bench, add_llm, add_examples),
    ):
        add(command)
    return parser
