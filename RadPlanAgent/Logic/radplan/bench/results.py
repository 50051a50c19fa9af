"""What was measured, as Markdown tables, JSON and pictures."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..files import write_json
from .optimizers import CaseBench
from .scaling import ScalingBench


def machine() -> str:
    """The machine in a few words."""
    name = platform.processor() or platform.machine()
    if (cpuinfo := Path("/proc/cpuinfo")).is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0].split(":", 1)[1].strip() if names else name
    usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    return f"{name}, {len(usable)} cores, Python {platform.python_version()}"


def optimizer_table(benches: Sequence[CaseBench]) -> str:
    """All runs as a Markdown table."""
    lines = [
        "| case | optimizer | cost | seconds | processor s | evaluations | projected gradient "
        "| peak memory, of the matrix | ours to 1 %, s | ratio | processor s | ratio |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for bench in benches:
        for run in bench.runs:
            cells = (
                bench.case,
                run.name,
                f"{run.cost:.4g}",
                f"{run.seconds:.1f}",
                f"{run.processor_seconds:.1f}",
                f"{run.evaluations}",
                _unless_none(run.projected_gradient, ".1e"),
                _unless_none(run.memory, ".2f"),
                _unless_none(run.ours_seconds, ".1f"),
                _unless_none(run.ratio, ".0f"),
                _unless_none(run.ours_processor_seconds, ".1f"),
                _unless_none(run.processor_ratio, ".0f"),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def scaling_table(bench: ScalingBench) -> str:
    """All sizes as a Markdown table."""
    lines = [
        "| beams | spacing, mm | beamlets | entries, million | that count, million "
        "| ms per evaluation | processor ms | processor ns per entry |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {p.beams} | {p.spacing_mm:g} | {p.beamlets} | {p.entries / 1e6:.1f} "
        f"| {p.counted_entries / 1e6:.1f} | {p.milliseconds:.1f} "
        f"| {p.processor_milliseconds:.1f} | {p.nanoseconds_per_entry:.2f} |"
        for p in bench.points
    ]
    return "\n".join(lines)


def write_optimizer_bench(folder: Path, benches: Sequence[CaseBench]) -> None:
    """Write bench.json and one picture per case."""
    from ..figures import CostCurve, convergence_figure, save_png

    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "bench.json", {"machine": machine(), "cases": [asdict(b) for b in benches]}
    )
    for bench in benches:
        curves = []
        for run in bench.runs:
            seconds, _, cost = zip(*run.curve, strict=True)
            curves.append(CostCurve(run.name, seconds, cost))
        title = f"{bench.case}: {bench.beamlets} beamlets, {bench.nonzeros / 1e6:.0f} M entries"
        lowest = min(r.cost for r in bench.runs)
        figure = convergence_figure(title, curves, lowest)
        save_png(figure, folder / f"convergence_{bench.case}.png")


def write_scaling_bench(folder: Path, bench: ScalingBench) -> None:
    """Write scaling_CASE.json and its picture."""
    from ..figures import EvaluationTime, save_png, scaling_figure

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"scaling_{bench.case}.json", {"machine": machine(), **asdict(bench)})
    times = [
        EvaluationTime(p.counted_entries, p.processor_milliseconds, p.beams, p.spacing_mm)
        for p in bench.points
    ]
    save_png(scaling_figure(bench.case, times), folder / f"scaling_{bench.case}.png")


def _unless_none(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
