"""What the command line shows while it works: notes, steps and progress bars."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from tqdm import tqdm

from .agent.trajectory import Step
from .planning import Observer

#: Work shorter than this shows no bar, seconds.
BAR_DELAY_S = 1.0
#: Where the output is no terminal, a bar is a line of a log: one every so many seconds.
LOG_INTERVAL_S = 10.0


class Console(Observer):
    """Prints to standard error; the first Ctrl-C asks to stop, the second stops at once."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._stage = ""
        self._bar: tqdm | None = None
        self._stop = False
        signal.signal(signal.SIGINT, self._interrupted)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
        self.note("stopping; press Ctrl-C again to stop at once")

    def cancel_requested(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._stop

    def progress(self, stage: str, fraction: float) -> None:
        """Move the stage's bar, opening it when a new stage begins."""
        if self._quiet:
            return
        if stage != self._stage or self._bar is None:
            self.close()
            self._stage = stage
            self._bar = tqdm(
                total=1000,
                desc=stage,
                delay=BAR_DELAY_S,
                leave=False,
                mininterval=0.1 if sys.stderr.isatty() else LOG_INTERVAL_S,
                ascii=None if sys.stderr.isatty() else True,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
                file=sys.stderr,
            )
        self._bar.update(max(0, round(1000 * fraction) - self._bar.n))

    def note(self, text: str) -> None:
        """Print a line."""
        self.close()
        if not self._quiet:
            print(text, file=sys.stderr)

    def step(self, step: Step) -> None:
        """Print what a step tried and did."""
        met, total = step.scorecard.goals_met, len(step.scorecard.evaluable)
        verdict = "kept" if step.kept else "undone"
        self.note(
            f"step {step.index:2d} [{verdict}] {step.title} ({met}/{total} goals met, "
            f"{step.seconds:.1f} s): {step.outcome}"
        )

    def close(self) -> None:
        """End the bar that is open."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            self._stage = ""
