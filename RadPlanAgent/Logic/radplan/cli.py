"""The command line: ``radplan plan``, ``dvh``, ``evaluate``, ``protocols`` and the rest.

Exit codes: 0 done; 2 bad usage or input; 3 ran, but must-goals are unmet; 4 cancelled.
"""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .errors import CancelledError, InputError
from .protocol import Protocol, list_protocols, load_protocol

DONE, BAD_INPUT, MUST_GOALS_UNMET, CANCELLED = 0, 2, 3, 4
BANNER = "RESEARCH USE ONLY - not for clinical use. Plans are UNAPPROVED and fluence-only."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.WARNING,
        format="%(levelname)s: %(message)s",
    )
    # Engines and readers are chatty; their details are for -v.
    for library in ("pyRadPlan", "pydicom", "matplotlib", "PIL", "numba"):
        logging.getLogger(library).setLevel(logging.INFO if options.verbose else logging.ERROR)
    try:
        return options.run(options)
    except InputError as error:
        return _fail(f"error: {error}", BAD_INPUT, options.verbose)
    except (CancelledError, KeyboardInterrupt) as error:
        return _fail(f"cancelled: {error}", CANCELLED, False)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"error: {where}{error.strerror or error}", BAD_INPUT, options.verbose)


def _fail(text: str, code: int, verbose: bool) -> int:
    print(text, file=sys.stderr)
    if verbose:
        traceback.print_exc()
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="radplan", description=f"{__doc__}\n{BANNER}")
    parser.add_argument("--version", action="version", version=f"radplan {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="say more, also on errors")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, parents=[common], help=text, description=text)
        made.set_defaults(run=run)
        return made

    plan = command("plan", _plan, "plan a case")
    plan.add_argument("case", help="folder, file or built-in case; see: radplan cases")
    plan.add_argument("--protocol", required=True, help="name or file; see: radplan protocols")
    plan.add_argument("--out", required=True, type=Path, help="session folder to make")
    plan.add_argument("--planner", default="rules", help="who improves the plan (default: rules)")
    plan.add_argument("--beams", help='template or gantry angles, e.g. coplanar9 or "0,40,80"')
    plan.add_argument(
        "--iterations", type=_count, default=40, help="planning steps at most (default: 40)"
    )
    plan.add_argument("--spacing-mm", type=_length, help="dose grid spacing")
    plan.add_argument("--bixel-width-mm", type=_length, default=5.0, help="default: 5")
    plan.add_argument("--cache", type=Path, help="folder for influence matrices")
    plan.add_argument("--processes", type=_count, help="parallel processes of the dose engine")
    plan.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="CASE_NAME=NAME",
        help="rename a structure of the case; may be repeated",
    )
    plan.add_argument("--overwrite", action="store_true", help="replace the session in --out")

    resume = command("resume", _resume, "continue an interrupted session")
    resume.add_argument("session", type=Path, help="session folder")
    resume.add_argument("--iterations", type=_count, help="planning steps at most, in all")

    dvh = command("dvh", _dvh, "dose-volume histograms of any dose and structures")
    dvh.add_argument("--dose", required=True, type=Path, help="dose, .nrrd or DICOM RTDOSE")
    dvh.add_argument(
        "--structures", required=True, type=Path, help=".seg.nrrd, .seg.vtm, folder or case"
    )
    dvh.add_argument("--out", required=True, type=Path, help="DVH table to write, .csv")
    dvh.add_argument("--metrics", default="", help='e.g. "D95%%,V20Gy,mean"; printed')

    evaluate = command("evaluate", _evaluate, "hold any dose against a protocol")
    evaluate.add_argument("case", help="folder, file or built-in case")
    evaluate.add_argument(
        "--dose", required=True, help="dose file, or 'imported' for the dose that came with CASE"
    )
    evaluate.add_argument("--protocol", required=True, help="name or file")
    evaluate.add_argument(
        "--normalize",
        action="store_true",
        help="first scale the dose so that the primary target's coverage is as prescribed",
    )
    evaluate.add_argument("--out", type=Path, help="scorecard to write, .json")

    protocols = command("protocols", _protocols, "list protocols, or show one")
    protocols.add_argument("name", nargs="?", help="protocol to show")
    command("cases", _cases, "list built-in cases")
    report = command("report", _report, "write the report of a session folder anew")
    report.add_argument("session", type=Path, help="session folder")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _length(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be a positive length in mm")
    return number


def _renames(pairs: Sequence[str]) -> dict[str, str]:
    names = {}
    for pair in pairs:
        source, separator, name = pair.partition("=")
        if not (source and separator and name):
            raise InputError(f"--map {pair!r}: write CASE_NAME=NAME")
        names[source] = name
    return names


def _plan(options: argparse.Namespace) -> int:
    from .console import Console
    from .planning import PlanRequest, plan

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
    )
    with Console() as console:
        outcome = plan(request, console)
    return _finish(outcome)


def _resume(options: argparse.Namespace) -> int:
    from .console import Console
    from .planning import resume

    with Console() as console:
        outcome = resume(options.session, console, options.iterations)
    return _finish(outcome)


def _finish(outcome) -> int:
    from .scorecard import format_scorecard

    for warning in outcome.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(format_scorecard(outcome.scorecard))
    print(f"\nPlanning ended because {outcome.stop_reason}.")
    print(f"Report: {outcome.folder / 'report.html'}")
    print(BANNER)
    return DONE if outcome.scorecard.must_met else MUST_GOALS_UNMET


def _dvh(options: argparse.Namespace) -> int:
    from .dvh_command import dvh

    print(dvh(options.dose, options.structures, options.out, options.metrics))
    return DONE


def _evaluate(options: argparse.Namespace) -> int:
    from .evaluate_command import evaluate
    from .scorecard import format_scorecard

    scorecard = evaluate(
        options.case, options.dose, options.protocol, options.normalize, options.out
    )
    print(format_scorecard(scorecard))
    print(BANNER)
    return DONE if scorecard.must_met else MUST_GOALS_UNMET


def _protocols(options: argparse.Namespace) -> int:
    if options.name:
        print(_protocol_text(load_protocol(options.name)))
    else:
        for name in list_protocols():
            print(f"{name:24s} {load_protocol(name).title}")
    return DONE


def _protocol_text(protocol: Protocol) -> str:
    lines = [f"{protocol.name}: {protocol.title}", protocol.note, f"Source: {protocol.source}", ""]
    for prescription in protocol.prescriptions:
        lines.append(
            f"{prescription.target}: {prescription.dose_gy:g} Gy in {protocol.fractions} fractions"
        )
    lines.append("")
    for goal in protocol.goals:
        checked = "verified" if goal.verified else "UNVERIFIED"
        lines.append(f"priority {goal.priority}  {goal.label:44s} {checked}: {goal.source}")
    return "\n".join(lines)


def _cases(options: argparse.Namespace) -> int:
    from .io import builtin_cases

    for name, text in builtin_cases().items():
        print(f"{name:18s} {text}")
    return DONE


def _report(options: argparse.Namespace) -> int:
    from .outputs import rewrite_report

    print(rewrite_report(options.session))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
