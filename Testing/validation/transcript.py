"""The steps of a planning session as a page to read: what was seen, changed, expected, and done.

python Testing/validation/transcript.py SESSION > TRANSCRIPT.md
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path


def main() -> None:
    """Print the transcript of one session."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("session", type=Path)
    folder = parser.parse_args().session
    session = json.loads((folder / "session.json").read_text("utf-8"))
    print(f"# {session['case']['name']}, {session['protocol']['title']}\n")
    print(f"Planner: {session['planner']}. Ended: {session['stop_reason']}.\n")
    for path in sorted(folder.glob("steps/*/step.json")):
        print("\n".join(step_lines(json.loads(path.read_text("utf-8")))))


def step_lines(step: dict) -> Iterator[str]:
    """One step as Markdown."""
    fate = "kept" if step["kept"] else "undone"
    yield f"## Step {step['index']}: {step['title']}\n"
    yield f"{step['goals_met']} of {step['goals_total']} goals met, {fate}.\n"
    if seen := step.get("assessment"):
        yield f"**Seen** ({seen['author']}): {seen['verdict']}.\n"
        yield from (f"- {p['structure']}, {p['kind']}: {p['text']}" for p in seen["problems"])
        yield from (f"- *{note}*" for note in seen["notes"])
        yield ""
    if step.get("note"):
        yield f"**Thought**: {step['note']}\n"
    if step["actions"]:
        yield "**Changed**:\n"
        yield from (f"- {a['text']}. {a['reason']}" for a in step["actions"])
        yield ""
    expected = [e for e in step.get("expectations", ()) if e["held"] is not None]
    if expected:
        wrong = [e for e in expected if not e["held"]]
        yield f"**Expected**: {len(expected) - len(wrong)} of {len(expected)} expectations held.\n"
        yield from (
            f"- {e['goal']}: {e['effect']} expected, {e['observed']} seen "
            f"({e['before']:.3g} → {e['after']:.3g})"
            for e in wrong
        )
        yield ""
    yield f"**Did**: {step['outcome']}.\n"


if __name__ == "__main__":
    main()
