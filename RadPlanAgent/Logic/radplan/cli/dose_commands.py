"""``radplan dvh`` and ``evaluate``: any dose, wherever it is from."""

from __future__ import annotations

import argparse
from pathlib import Path

from .ending import BANNER, DONE, MUST_GOALS_UNMET
from .options import CASE_HELP, PROTOCOL_HELP, AddCommand


def add_dvh(command: AddCommand) -> None:
    """Add ``dvh``."""
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


def _dvh(options: argparse.Namespace) -> int:
    from ..dvh_command import dvh

    print(dvh(options.dose, options.structures, options.out, options.metrics))
    return DONE


def add_evaluate(command: AddCommand) -> None:
    """Add ``evaluate``."""
    evaluate = command(
        "evaluate",
        _evaluate,
        "hold any dose against a protocol",
        "For example a clinical dose. Prints the scorecard.",
    )
    evaluate.add_argument("case", metavar="CASE", help=CASE_HELP)
    evaluate.add_argument(
        "--dose",
        required=True,
        metavar="FILE",
        help="dose, .nrrd or DICOM RTDOSE, or 'imported' for the dose that came with CASE",
    )
    evaluate.add_argument("--protocol", required=True, metavar="NAME", help=PROTOCOL_HELP)
    evaluate.add_argument(
        "--normalize",
        action="store_true",
        help="first scale the dose so that the primary target's coverage is as prescribed",
    )
    evaluate.add_argument("--out", type=Path, metavar="FILE", help="scorecard to write, .json")


def _evaluate(options: argparse.Namespace) -> int:
    from ..console import Console
    from ..evaluate_command import evaluate
    from ..scorecard import format_scorecard

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
