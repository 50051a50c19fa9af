"""Time and peak memory of every stage of planning one case.

    python Testing/validation/stages.py CASE PROTOCOL OUT [--steps N]

The influence matrix is computed anew, in a cache folder of its own under OUT, then read back.
Peak memory is the largest resident size of the planning process so far, and of the largest worker
process of the dose engine; pages of files mapped into memory are included.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from radplan.agent.rules import RulesPlanner
from radplan.beams import make_beams
from radplan.binding import resolve
from radplan.dose_setup import isocenter
from radplan.influence import choose_dose_grid, influence_matrix
from radplan.io import load_case
from radplan.outputs import write_outputs
from radplan.protocol_file import load_protocol
from radplan.session import PlanningSession
from radplan.session_folder import SessionFolder

ROWS: list[str] = []


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Measure one stage and keep a table row of it."""
    wall, own = time.perf_counter(), time.process_time()
    yield
    wall, own = time.perf_counter() - wall, time.process_time() - own
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    ROWS.append(f"| {name} | {wall:.1f} | {own:.1f} | {peak:.2f} | {worker:.2f} |")


def main() -> None:
    """Plan the case once, stage by stage, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case")
    parser.add_argument("protocol")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    cache = options.out / "cache"
    with stage("read the case"):
        case = load_case(options.case)
        binding = resolve(load_protocol(options.protocol), case.names)
    protocol = binding.protocol
    beams = make_beams(protocol.beams, isocenter(case, binding))
    grid = choose_dose_grid(case)
    targets = protocol.targets
    with stage("compute the influence matrix (and calibrate)"):
        influence = influence_matrix(case, beams, grid, target_names=targets, cache_dir=cache)
    with stage("read it from the cache"):
        influence = influence_matrix(case, beams, grid, target_names=targets, cache_dir=cache)
    folder = SessionFolder(options.out / "session")
    with stage("prepare structures and helpers"):
        session = PlanningSession(case, protocol, influence, folder)
    with stage("first plan"):
        session.start()
    planner, steps = RulesPlanner(), 0
    with stage(f"at most {options.steps} further steps"):
        session.run(planner, options.steps)
        steps = len(session.steps) - 1
    with stage("write dose, DVH, DICOM and scene"):
        write_outputs(session, folder, {}, lambda stage, fraction: None)
    matrix = influence.matrix
    stored = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    print(
        f"{case.name}: {influence.n_beamlets} beamlets, {matrix.nnz / 1e6:.0f} million entries, "
        f"{stored / 1024**3:.2f} GiB as stored; {steps} steps after the first plan\n"
    )
    print("| stage | wall s | CPU s, own process | peak GiB, own process | largest worker GiB |")
    print("|---|---|---|---|---|")
    print("\n".join(ROWS))


if __name__ == "__main__":
    main()
