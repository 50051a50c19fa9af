"""The command line: ``radplan plan``, ``dvh``, ``evaluate``, ``protocols`` and the rest.

Exit codes: 0 done; 2 bad usage or input; 3 ran, but must-goals are unmet; 4 cancelled.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from . import __version__
from .beams import BEAM_TEMPLATES
from .errors import CancelledError, InputError
from .files import DISK_FULL
from .llm_command import (
    add_model_options,
    check_model,
    model_options,
    model_settings,
    models_of,
)
from .protocol import Protocol
from .protocol_file import list_protocols, load_protocol

DONE, BAD_INPUT, MUST_GOALS_UNMET, CANCELLED = 0, 2, 3, 4
DISK_ADVICE = "; free space and try again (a session that has begun goes on with radplan resume)"
#: Their details are for -v.
CHATTY_LIBRARIES = (
    *("pyRadPlan", "pydicom", "matplotlib", "PIL", "numba"),
    *("openai", "httpx2", "httpcore2", "keyring"),
)
#: Cases that need no data from outside.
BENCH_CASES = ("tg119=tg119_cshape_easy", "phantom:prostate=prostate_60_20")
BANNER = "RESEARCH USE ONLY - not for clinical use. Plans are UNAPPROVED and fluence-only."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.WARNING,
        format="%(levelname)s: %(message)s",
    )
    for library in CHATTY_LIBRARIES:
        logging.getLogger(library).setLevel(logging.INFO if options.verbose else logging.ERROR)
    try:
        return options.run(options)
    except InputError as error:
        return _fail(f"error: {error}", BAD_INPUT, options.verbose)
    except CancelledError as error:
        return _fail(f"cancelled: {error}", CANCELLED, False)
    except KeyboardInterrupt:
        return _fail("cancelled: stopped at once", CANCELLED, False)
    except BrokenPipeError:
        # Who reads our output has seen enough, as in: radplan protocols | head -1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        advice = DISK_ADVICE if error.errno in DISK_FULL else ""
        text = f"error: {where}{error.strerror or error}{advice}"
        return _fail(text, BAD_INPUT, options.verbose)


def _fail(text: str, code: int, verbose: bool) -> int:
    print(" ".join(text.split()), file=sys.stderr)
    if verbose:
        traceback.print_exc()
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="radplan",
        description="Radiotherapy treatment planning without a window: from CT and structures to "
        f"a judged plan. {BANNER}",
        epilog="Exit codes: 0 done; 2 bad usage or input; 3 ran, but must-goals are unmet; "
        "4 cancelled. Results go to standard output, everything else to standard error.",
    )
    parser.add_argument("--version", action="version", version=f"radplan {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="say more, also on errors")
    commands = parser.add_subparsers(required=True, title="commands", metavar="COMMAND")

    def command(name: str, run, text: str, more: str = "") -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}. {more}"
        )
        made.set_defaults(run=run)
        return made

    case_help = (
        "DICOM folder, OpenKBP patient folder, matRad or pyRadPlan .mat file, session folder, or "
        "built-in case (see: radplan cases)"
    )
    protocol_help = "name (see: radplan protocols) or .json file"

    plan = command(
        "plan",
        _plan,
        "plan a case",
        "A first plan is made from the protocol's goals and then improved step by step. Prints "
        "the scorecard of the best plan. Ctrl-C stops; finished steps are kept and radplan "
        "resume goes on from them.",
    )
    plan.add_argument("case", metavar="CASE", help=case_help)
    plan.add_argument("--protocol", required=True, metavar="NAME", help=protocol_help)
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
        type=_count,
        default=40,
        metavar="N",
        help="planning steps after the first plan, at most (default: 40)",
    )
    plan.add_argument(
        "--spacing-mm",
        type=_length,
        metavar="MM",
        help="voxel width of the dose grid (default: 2.5 to 3 mm, to fit the CT)",
    )
    plan.add_argument(
        "--bixel-width-mm",
        type=_length,
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
        type=_count,
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
    _add_llm_planner_options(plan)

    _add_session_commands(command)
    dvh = command(
        "dvh",
        _dvh,
        "dose-volume histograms of any dose and structures",
        "Writes the DVH table and prints the metrics asked for.",
    )
    dvh.add_argument(
        "--dose", required=True, type=Path, metavar="FILE", help="dose, .nrrd or DICOM RTDOSE"
    )
    dvh.add_argument(
        "--structures",
        required=True,
        type=Path,
        metavar="PATH",
        help=".seg.nrrd, .seg.vtm, or a case (DICOM or OpenKBP folder, .mat)",
    )
    dvh.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="DVH table to write, .csv"
    )
    dvh.add_argument(
        "--metrics", default="", metavar="LIST", help='e.g. "D95%%,D0.03cc,V20Gy,mean"'
    )

    evaluate = command(
        "evaluate",
        _evaluate,
        "hold any dose against a protocol",
        "For example a clinical dose. Prints the scorecard.",
    )
    evaluate.add_argument("case", metavar="CASE", help=case_help)
    evaluate.add_argument(
        "--dose",
        required=True,
        metavar="FILE",
        help="dose, .nrrd or DICOM RTDOSE, or 'imported' for the dose that came with CASE",
    )
    evaluate.add_argument("--protocol", required=True, metavar="NAME", help=protocol_help)
    evaluate.add_argument(
        "--normalize",
        action="store_true",
        help="first scale the dose so that the primary target's coverage is as prescribed",
    )
    evaluate.add_argument("--out", type=Path, metavar="FILE", help="scorecard to write, .json")

    protocols = command("protocols", _protocols, "list protocols, or show one with its sources")
    protocols.add_argument("name", nargs="?", metavar="NAME", help="name or .json file")
    command("cases", _cases, "list built-in cases")
    bench = command(
        "bench",
        _bench,
        "measure this program on this machine",
        "optimize: our optimizer against pyRadPlan's, same matrix, objectives and start. scaling: "
        "time of an evaluation against entries of the matrix. Prints a table. Takes many minutes.",
    )
    bench.add_argument("what", choices=["optimize", "scaling"], help="what to measure")
    bench.add_argument(
        "--case",
        action="append",
        default=[],
        metavar="CASE=PROTOCOL",
        help=f"case and protocol; may be repeated (default: {' '.join(BENCH_CASES)}; of scaling "
        "the first)",
    )
    bench.add_argument(
        "--quadratic",
        action="store_true",
        help="optimize: leave out objectives with which ours cannot converge to the end (DVH)",
    )
    bench.add_argument("--out", type=Path, metavar="DIR", help="bench.json and plots to write")
    bench.add_argument("--cache", type=Path, metavar="DIR", help="folder of influence matrices")
    llm = command(
        "llm",
        _llm,
        "what the configured language model can do",
        "check: asks it small questions (chat, schema, vision) and prints one line. models: lists "
        "the models that the server has.",
    )
    llm.add_argument("what", choices=["check", "models"], help="what to find out")
    add_model_options(llm)
    _add_examples(command)
    return parser


def _add_examples(command: Callable[..., argparse.ArgumentParser]) -> None:
    examples = command(
        "examples",
        _examples,
        "reference plans that a planning language model is shown",
        "list: all of them. show NAME: what a model reads. like DIR: which ones a session's case "
        "would get. add DIR: make one of a session's plan, for example one that you approve of; "
        "it holds names of a closed list and numbers, nothing else that a model is shown.",
    )
    examples.add_argument(
        "what",
        nargs="?",
        default="list",
        choices=["list", "show", "like", "add"],
        help="see above",
    )
    examples.add_argument(
        "item", nargs="?", default="", metavar="NAME_OR_DIR", help="reference plan, session folder"
    )
    examples.add_argument(
        "--name", default="", help="add: what to call the plan; a model is shown the name"
    )
    examples.add_argument(
        "--approved-by",
        default="",
        metavar="WHO",
        help="add: who approved the plan; a model is only told that somebody did",
    )
    examples.add_argument("--no-picture", action="store_true", help="add: leave the picture out")
    examples.add_argument(
        "--preview", action="store_true", help="add: print what a model would read, write nothing"
    )


def _add_session_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Commands on sessions that exist."""
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
        type=_count,
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
    report = command("report", _report, "write the report of a finished session anew")
    report.add_argument("session", type=Path, metavar="DIR", help="session folder")


def _add_llm_planner_options(plan: argparse.ArgumentParser) -> None:
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
        "--llm-examples", type=_count, metavar="N", help="reference plans to show (default: 3)"
    )
    group.add_argument(
        "--llm-proposals",
        type=_count,
        metavar="N",
        help="ask for so many proposals and take the best after a quick trial (default: 1)",
    )
    group.add_argument("--max-tokens", type=_count, metavar="N", help="budget of all replies")
    group.add_argument("--max-seconds", type=float, metavar="S", help="budget of time")
    group.add_argument(
        "--max-cost", type=float, metavar="C", help="budget of money, by the prices in llm.json"
    )


def _llm_request(options: argparse.Namespace):
    from .planners import LlmRequest

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


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on, got {text!r}")
    return int(text)


def _length(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive length in mm, got {text!r}")
    return number


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
        llm=_llm_request(options),
        preview=options.preview,
    )
    with Console() as console:
        outcome = plan(request, console)
    return _finish(outcome)


def _resume(options: argparse.Namespace) -> int:
    from .console import Console
    from .planning import resume

    with Console() as console:
        outcome = resume(options.session, console, options.iterations, tuple(options.allow_remote))
    return _finish(outcome)


def _finish(outcome) -> int:
    from .scorecard import format_scorecard

    for warning in outcome.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(format_scorecard(outcome.scorecard))
    print(f"\nPlanning ended because {outcome.stop_reason}.")
    for sentence in outcome.unmet:
        print(f"- {sentence}")
    report = outcome.folder / "report.html"
    if report.is_file():
        print(f"Report: {report}")
    print(BANNER)
    return DONE if outcome.scorecard.must_met else MUST_GOALS_UNMET


def _dvh(options: argparse.Namespace) -> int:
    from .dvh_command import dvh

    print(dvh(options.dose, options.structures, options.out, options.metrics))
    return DONE


def _evaluate(options: argparse.Namespace) -> int:
    from .console import Console
    from .evaluate_command import evaluate
    from .scorecard import format_scorecard

    with Console() as console:
        scorecard = evaluate(
            options.case,
            options.dose,
            options.protocol,
            options.normalize,
            options.out,
            console.progress,
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


def _bench(options: argparse.Namespace) -> int:
    measure = _bench_optimize if options.what == "optimize" else _bench_scaling
    pairs = options.case or (BENCH_CASES if options.what == "optimize" else BENCH_CASES[:1])
    cases = []
    for pair in pairs:
        case, separator, protocol = pair.rpartition("=")
        if not separator:
            raise InputError(f"--case {pair!r}: write CASE=PROTOCOL")
        cases.append((case, protocol))
    measure(options, cases)
    return DONE


def _bench_optimize(options: argparse.Namespace, cases: Sequence[tuple[str, str]]) -> None:
    from .bench import bench_optimizer, optimizer_table, write_optimizer_bench
    from .console import Console

    benches = []
    with Console() as console:
        for case, protocol in cases:
            benches.append(
                bench_optimizer(case, protocol, options.cache, console, options.quadratic)
            )
            if options.out:
                write_optimizer_bench(options.out, benches)
    print(optimizer_table(benches))


def _bench_scaling(options: argparse.Namespace, cases: Sequence[tuple[str, str]]) -> None:
    from .bench import bench_scaling, scaling_table, write_scaling_bench
    from .console import Console

    for case, protocol in cases:
        with Console() as console:
            scaling = bench_scaling(case, protocol, options.cache, console)
        if options.out:
            write_scaling_bench(options.out, scaling)
        print(scaling_table(scaling))


def _llm(options: argparse.Namespace) -> int:
    from .console import Console

    settings = model_settings(options)
    with Console() as console:
        if options.what == "models":
            print("\n".join(models_of(settings, console.cancel_requested)))
            return DONE
        line, enough = check_model(settings, console.cancel_requested)
    print(line)
    return DONE if enough else BAD_INPUT


def _examples(options: argparse.Namespace) -> int:
    from .console import Console
    from .examples_command import examples

    with Console() as console:
        print(
            examples(
                options.what,
                options.item,
                name=options.name,
                approved_by=options.approved_by,
                with_picture=not options.no_picture,
                preview=options.preview,
                progress=console.progress,
            )
        )
    return DONE


def _replay(options: argparse.Namespace) -> int:
    from .console import Console
    from .replay_command import replay

    with Console() as console:
        outcome, differences = replay(options.session, options.out, console)
    for difference in differences:
        print(f"differs: {difference}")
    if not differences:
        print(f"{options.session}: every step is the same, bit for bit")
    return _finish(outcome)


def _report(options: argparse.Namespace) -> int:
    from .outputs import rewrite_report

    print(rewrite_report(options.session))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
