"""``radplan plan``, and what is done with a session: ``resume``, ``replay``, ``report``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..beams import BEAM_TEMPLATES
from ..errors import InputError
from .ending import BANNER, DONE, MUST_GOALS_UNMET
from .model_options import add_planner_options, llm_request
from .options import CASE_HELP, PROTOCOL_HELP, AddCommand, count, length
from .persons_options import add_persons_options, persons_actions

if TYPE_CHECKING:
    from ..planning import PlanOutcome


def add_plan(command: AddCommand) -> None:
    """Add ``plan``."""
    plan = command(
        "plan",
        _plan,
        "plan a case",
        "A first plan is made from the protocol's goals and then improved step by step. Prints "
        "the scorecard of the best plan. Ctrl-C stops; finished steps are kept and radplan "
        "resume goes on from them.",
    )
    plan.add_argument("case", metavar="CASE", help=CASE_HELP)
    plan.add_argument("--protocol", required=True, metavar="NAME", help=PROTOCOL_HELP)
    plan.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="session folder to make"
    )
    plan.add_argument(
        "--planner",
        default="rules",
        metavar="NAME",
        help="who improves the plan: rules or llm (default: rules)",
    )
    plan.add_argument(
        "--beams",
        metavar="BEAMS",
        help=f"{', '.join(BEAM_TEMPLATES)} or gantry angles in degrees such as 0,40,80 (default: "
        "the protocol's)",
    )
    plan.add_argument(
        "--iterations",
        type=count,
        default=40,
        metavar="N",
        help="planning steps after the first plan, at most (default: 40)",
    )
    plan.add_argument(
        "--spacing-mm",
        type=length,
        metavar="MM",
        help="voxel width of the dose grid (default: 2.5 to 3 mm, to fit the CT)",
    )
    plan.add_argument(
        "--bixel-width-mm",
        type=length,
        default=5.0,
        metavar="MM",
        help="width of a beamlet (default: 5)",
    )
    plan.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="where influence matrices are kept (default: $RADPLAN_CACHE, else radplan in the "
        "user's cache folder)",
    )
    plan.add_argument(
        "--processes",
        type=count,
        metavar="N",
        help="parallel processes of the dose engine (default: one per processor)",
    )
    plan.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="CASE_NAME=NAME",
        help="rename a structure of the case; may be repeated",
    )
    plan.add_argument("--overwrite", action="store_true", help="replace the session in --out")
    add_persons_options(plan)
    add_planner_options(plan)


def _renames(pairs: Sequence[str]) -> dict[str, str]:
    names = {}
    for pair in pairs:
        source, separator, name = pair.partition("=")
        if not (source and separator and name):
            raise InputError(f"--map {pair!r}: write CASE_NAME=NAME")
        if names.setdefault(source, name) != name:
            raise InputError(f"--map {pair!r}: {source} is already renamed to {names[source]}")
    return names


def _plan(options: argparse.Namespace) -> int:
    from ..console import Console
    from ..plan_request import PlanRequest
    from ..planning import plan

    request = PlanRequest(
        case=options.case,
        protocol=options.protocol,
        out=options.out,
        planner=options.planner,
        beams=options.beams,
        max_steps=options.iterations,
        spacing_mm=options.spacing_mm,
        bixel_width_mm=options.bixel_width_mm,
        cache_dir=options.cache,
        processes=options.processes,
        structure_names=_renames(options.map),
        overwrite=options.overwrite,
        llm=llm_request(options),
        preview=options.preview,
        actions=persons_actions(options),
    )
    with Console() as console:
        outcome = plan(request, console)
    return _finish(outcome)


def add_resume(command: AddCommand) -> None:
    """Add ``resume``."""
    resume = command(
        "resume",
        _resume,
        "continue an interrupted session",
        "Finished steps are checked against the audit log and kept. A finished session takes "
        "more steps if --iterations allows them.",
    )
    resume.add_argument("session", type=Path, metavar="DIR", help="session folder")
    resume.add_argument(
        "--iterations",
        type=count,
        metavar="N",
        help="planning steps after the first plan, at most and in all (default: as first asked)",
    )
    resume.add_argument(
        "--allow-remote",
        action="append",
        default=[],
        metavar="HOST",
        help="host that the session's language model may be asked on; may be repeated",
    )
    add_persons_options(resume, lift=True)


def _resume(options: argparse.Namespace) -> int:
    from ..console import Console
    from ..planning import resume

    with Console() as console:
        outcome = resume(
            options.session,
            console,
            options.iterations,
            tuple(options.allow_remote),
            persons_actions(options),
        )
    return _finish(outcome)


def add_replay(command: AddCommand) -> None:
    """Add ``replay``."""
    replay = command(
        "replay",
        _replay,
        "repeat a recorded session without a server",
        "What a language model said is taken from the audit log. Says where the steps differ.",
    )
    replay.add_argument("session", type=Path, metavar="DIR", help="session folder")
    replay.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="session folder to make"
    )


def _replay(options: argparse.Namespace) -> int:
    from ..console import Console
    from ..replay_command import replay

    with Console() as console:
        outcome, differences = replay(options.session, options.out, console)
    for difference in differences:
        print(f"differs: {difference}")
    if not differences:
        print(f"{options.session}: every step is the same, bit for bit")
    return _finish(outcome)


def add_report(command: AddCommand) -> None:
    """Add ``report``."""
    report = command("report", _report, "write the report of a finished session anew")
    report.add_argument("session", type=Path, metavar="DIR", help="session folder")


def _report(options: argparse.Namespace) -> int:
    from ..outputs import rewrite_report

    print(rewrite_report(options.session))
    return DONE


def _finish(outcome: PlanOutcome) -> int:
    """Print how planning ended; the exit code."""
    from ..scorecard import format_scorecard

    for warning in outcome.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(format_scorecard(outcome.scorecard))
    print(f"\nPlanning ended because {outcome.stop_reason}.")
    for constraint in outcome.constraints:
        if constraint.kept:
            print(f"- {constraint.describe()}")
    for sentence in outcome.unmet:
        print(f"- {sentence}")
    report = outcome.folder / "report.html"
    if report.is_file():
        print(f"Report: {report}")
    print(BANNER)
    kept = all(constraint.kept for constraint in outcome.constraints)
    return DONE if outcome.scorecard.must_met and kept else MUST_GOALS_UNMET
