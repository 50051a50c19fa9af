"""Planners compared on finished sessions: goals met, steps, doses of organs.

    python Testing/validation/planners.py SESSION …

Prints a Markdown table. The first plan of every session, which no planner has touched, is the
comparison "none"; sessions of one case and protocol belong together.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from radplan.protocol import Protocol
from radplan.protocol_file import protocol_from_dict


@dataclass(frozen=True)
class Result:
    """What one planner reached on one case."""

    case: str
    protocol: Protocol
    planner: str
    steps: int
    kept: int
    first_complete: int | None
    card: dict

    @property
    def goals(self) -> str:
        """Goals met, of those that can be evaluated."""
        met = [g["met"] for g in self.card["goals"] if g["met"] is not None]
        return f"{sum(met)}/{len(met)}"

    def organ_means(self) -> dict[str, float]:
        """Mean doses of the organs that the protocol has goals for, Gy."""
        targets = set(self.protocol.prescription_gy)
        organs = dict.fromkeys(g.structure for g in self.protocol.goals)
        held = self.card["structures"]
        return {o: held[o]["mean_gy"] for o in organs if o in held and o not in targets}


def read(folder: Path) -> list[Result]:
    """The first and the best plan of a session."""
    session = json.loads((folder / "session.json").read_text("utf-8"))
    protocol = protocol_from_dict(session["protocol"], str(folder))
    steps = [
        (json.loads(p.read_text("utf-8")), json.loads((p.parent / "scorecard.json").read_text()))
        for p in sorted(folder.glob("steps/*/step.json"))
    ]
    complete = [
        s["index"] for s, card in steps if all(g["met"] in (True, None) for g in card["goals"])
    ]
    best = next(card for s, card in reversed(steps) if s["kept"])
    name = session["case"]["name"]
    return [
        Result(name, protocol, "none", 0, 0, 0 if 0 in complete else None, steps[0][1]),
        Result(
            name,
            protocol,
            session["planner"],
            len(steps) - 1,
            sum(s["kept"] for s, _ in steps[1:]),
            min(complete, default=None),
            best,
        ),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sessions", type=Path, nargs="+")
    rows: dict[tuple, Result] = {}
    for folder in parser.parse_args().sessions:
        for result in read(folder):
            key = result.case, result.protocol.name, result.planner
            if result.planner == "none":
                rows.setdefault(key, result)
            else:
                rows[(*key, folder.name)] = result
    print("| case | planner | steps (kept) | all goals met at | goals | HI | CI | means, Gy |")
    print("|---|---|---|---|---|---|---|---|")
    for r in sorted(rows.values(), key=lambda r: (r.protocol.name, r.case, r.planner != "none")):
        means = ", ".join(f"{o} {m:.1f}" for o, m in r.organ_means().items() if m >= 1)
        complete = "never" if r.first_complete is None else f"step {r.first_complete}"
        plan = r.card["plan"]
        print(
            f"| {r.case} | {r.planner} | {r.steps} ({r.kept}) | {complete} | {r.goals} "
            f"| {plan['hi']:.1f} | {plan['ci']:.2f} | {means} |"
        )


if __name__ == "__main__":
    main()
