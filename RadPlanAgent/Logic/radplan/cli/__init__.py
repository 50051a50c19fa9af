"""The command line: ``radplan plan``, ``dvh``, ``evaluate``, ``protocols`` and the rest.

Exit codes: 0 done; 2 bad usage or input; 3 ran, but must-goals are unmet; 4 cancelled.
Commands say here which options they have and what they print; the work is done elsewhere and
imported when a command runs.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence

from ..errors import CancelledError, InputError
from ..files import DISK_FULL
from .ending import BAD_INPUT, CANCELLED, DONE
from .parser import make_parser

DISK_ADVICE = "; free space and try again (a session that has begun goes on with radplan resume)"
#: Their details are for -v.
CHATTY_LIBRARIES = (
    *("pyRadPlan", "pydicom", "matplotlib", "PIL", "numba"),
    *("openai", "httpx2", "httpcore2", "keyring"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A pipe on Windows has no ≤: told as standard error tells it, not an exception.
        sys.stdout.reconfigure(errors="backslashreplace")
    options = make_parser().parse_args(arguments)
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
