"""``radplan bench``: this program measured on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .ending import DONE
from .options import AddCommand

#: Cases that need no data from outside.
BENCH_CASES = ("tg119=tg119_cshape_easy", "phantom:prostate=prostate_60_20")


def add_bench(command: AddCommand) -> None:
    """Add ``bench``."""
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
    bench.add_argument("--out", type=Path, metavar="DIR", help="bench.json and plots to write")
    bench.add_argument("--cache", type=Path, metavar="DIR", help="folder of influence matrices")


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
    from ..bench import bench_optimizer, optimizer_table, write_optimizer_bench
    from ..console import Console

    benches = []
    with Console() as console:
        for case, protocol in cases:
            benches.append(bench_optimizer(case, protocol, options.cache, console))
            if options.out:
                write_optimizer_bench(options.out, benches)
    print(optimizer_table(benches))


def _bench_scaling(options: argparse.Namespace, cases: Sequence[tuple[str, str]]) -> None:
    from ..bench import bench_scaling, scaling_table, write_scaling_bench
    from ..console import Console

    for case, protocol in cases:
        with Console() as console:
            scaling = bench_scaling(case, protocol, options.cache, console)
        if options.out:
            write_scaling_bench(options.out, scaling)
        print(scaling_table(scaling))
