"""``radplan bench``: what this program takes on this machine."""

from __future__ import annotations

from .optimizers import CaseBench, Run, bench_optimizer
from .results import (
    optimizer_table,
    scaling_table,
    write_optimizer_bench,
    write_scaling_bench,
)
from .scaling import ScalingBench, ScalingPoint, bench_scaling

__all__ = [
    "CaseBench",
    "Run",
    "ScalingBench",
    "ScalingPoint",
    "bench_optimizer",
    "bench_scaling",
    "optimizer_table",
    "scaling_table",
    "write_optimizer_bench",
    "write_scaling_bench",
]
