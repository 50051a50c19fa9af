"""What the command line shows while it works: notes, steps and progress bars."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

from tqdm import tqdm

from .agent.trajectory import Step
from .observer import Observer

#: Work shorter than this shows no bar, seconds.
BAR_DELAY_S = 1.0
#: Where the output is no terminal there are no bars, only a line every so many seconds.
LOG_INTERVAL_S = 10.0


class Console(Observer):
    """Prints to standard error; the first Ctrl-C asks to stop, the second stops at once.

    A context manager: Ctrl-C means this only inside the block.
    """

    def __init__(self) -> None:
        self._stage = ""
        self._bar: tqdm | None = None
        self._logged = time.monotonic()
        self._stop = False

    def __enter__(self) -> Console:
        """Take over Ctrl-C."""
        self._former_handler = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(self, *error: object) -> None:
        """Give Ctrl-C back and end the bar that is open."""
        signal.signal(signal.SIGINT, self._former_handler)
        self.close()

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
        if not sys.stderr.isatty():
            self._log(stage, fraction)
            return
        if stage != self._stage or self._bar is None:
            self.close()
            self._stage = stage
            self._bar = tqdm(
                total=1000,
                desc=stage,
                delay=BAR_DELAY_S,
                leave=False,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
                file=sys.stderr,
            )
        self._bar.update(max(0, round(1000 * fraction) - self._bar.n))

    def _log(self, stage: str, fraction: float) -> None:
        """Print where the work is, if nothing was printed for long."""
        if time.monotonic() - self._logged >= LOG_INTERVAL_S and fraction < 1:
            self.note(f"{stage}: {100 * fraction:.0f} %")

    def note(self, text: str) -> None:
        """Print a line."""
        self.close()
        print(text, file=sys.stderr)
        self._logged = time.monotonic()

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
