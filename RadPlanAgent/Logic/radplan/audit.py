"""An append-only log whose lines are chained by their hashes.

Each line of the file is a JSON object: ``index`` (0, 1, …), ``time`` (UTC, ISO 8601), ``kind``,
``data``, ``previous`` (the hash of the line before; 64 zeros for the first) and ``hash``, the
SHA-256 of the canonical JSON (keys sorted, no spaces, UTF-8) of all the other fields. Changing,
removing, inserting or reordering lines breaks the chain, which `verify_audit` finds. Cutting
lines off the end or writing the whole file anew cannot be found from the file alone: keep
`AuditLog.head` elsewhere (a report prints it) to find that too.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .errors import InputError

FIRST_PREVIOUS = "0" * 64
_FIELDS = {"index", "time", "kind", "data", "previous", "hash"}


@dataclass(frozen=True)
class AuditProblem:
    """One thing that is wrong with a log.

    Parameters
    ----------
    line : int
        Line of the file, from 1; 0 for the file as a whole.
    text : str
        What is wrong.
    torn : bool
        Whether it is the unfinished last line that a crash leaves: not a sign of tampering.
    """

    line: int
    text: str
    torn: bool = False

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


class AuditLog:
    """Appends to one log file; an existing one is verified and continued.

    Only one process may write a log at a time. An unfinished last line, which a crash leaves, is
    dropped from the file and its removal is logged.

    Parameters
    ----------
    path : path-like
        The file, made with its folder when it is missing.

    Raises
    ------
    InputError
        If the file is there but its chain is broken: it is not continued.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._index = 0
        self._head = FIRST_PREVIOUS
        if self.path.exists():
            self._resume()

    @property
    def head(self) -> str:
        """Hash of the last line, which stands for the whole log; 64 zeros when it is empty."""
        return self._head

    def __len__(self) -> int:
        return self._index

    def append(self, kind: str, data: dict[str, Any]) -> str:
        """Write one line and wait until it is on the disk.

        Parameters
        ----------
        kind : str
            What happened, a short word such as ``"action"``.
        data : dict
            JSON types only (`TypeError` otherwise); NaN and infinity are refused (`ValueError`),
            for JSON has none.

        Returns
        -------
        str
            The line's hash.
        """
        entry = {
            "index": self._index,
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "kind": kind,
            # As it will be read back: keys that are numbers become text before they are sorted.
            "data": json.loads(json.dumps(data, allow_nan=False)),
            "previous": self._head,
        }
        digest = _digest(entry)
        line = _canonical({**entry, "hash": digest}) + b"\n"
        with open(self.path, "ab", buffering=0) as file:
            end = file.tell()
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
        self._index += 1
        self._head = digest
        return digest

    def _resume(self) -> None:
        lines, torn = _read_lines(self.path)
        problems, self._head = _check(lines)
        if problems:
            raise InputError(
                f"{self.path}: audit log is damaged ({problems[0]}); it is not continued, "
                "use another folder"
            )
        self._index = len(lines)
        if torn:
            with open(self.path, "r+b") as file:
                file.truncate(sum(len(line) + 1 for line in lines))
            self.append("torn line dropped", {"bytes": len(torn)})


def verify_audit(path: str | os.PathLike, head: str | None = None) -> list[AuditProblem]:
    """Everything that is wrong with a log; empty when its chain holds.

    Parameters
    ----------
    path : path-like
    head : str, optional
        The hash that the last line must have, when it is known from elsewhere.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        lines, torn = _read_lines(Path(path))
    except OSError as error:
        raise InputError(f"{path}: audit log cannot be read ({error.strerror})") from error
    problems, last = _check(lines)
    if torn:
        problems.append(
            AuditProblem(len(lines) + 1, "unfinished last line, as a crash leaves it", torn=True)
        )
    if head is not None and head != last:
        problems.append(AuditProblem(0, f"ends with hash {last}, expected {head}"))
    return problems


def read_audit(path: str | os.PathLike) -> list[dict[str, Any]]:
    """All entries of a log, without an unfinished last line.

    Raises
    ------
    InputError
        If the file cannot be read or its chain is broken.
    """
    problems = [p for p in verify_audit(path) if not p.torn]
    if problems:
        raise InputError(f"{path}: audit log is damaged ({problems[0]})")
    return [json.loads(line) for line in _read_lines(Path(path))[0]]


def _read_lines(path: Path) -> tuple[list[bytes], bytes]:
    """Return the finished lines without their ends, and what follows the last of them."""
    *lines, torn = path.read_bytes().split(b"\n")
    return lines, torn


def _check(lines: list[bytes]) -> tuple[list[AuditProblem], str]:
    """Walk the chain; give its problems and the last hash.

    After a problem the walk goes on from what the line itself says, so that one change is
    reported where it is and not on every line after it.
    """
    problems = []
    previous = FIRST_PREVIOUS
    for index, line in enumerate(lines):
        entry = _parse(line)
        if entry is None:
            problems.append(AuditProblem(index + 1, "not an entry of an audit log"))
            continue
        # The bytes are compared too: JSON reads spaces and repeated keys without a word.
        without_hash = {name: value for name, value in entry.items() if name != "hash"}
        if entry["hash"] != _digest(without_hash) or line != _canonical(entry):
            problems.append(AuditProblem(index + 1, "content was changed after it was written"))
        if entry["previous"] != previous or entry["index"] != index:
            problems.append(
                AuditProblem(
                    index + 1,
                    "does not follow the line before: lines are missing, inserted or out of order",
                )
            )
        previous = entry["hash"]
    return problems, previous


def _parse(line: bytes) -> dict[str, Any] | None:
    """One entry; None when the line is not one."""
    try:
        entry = json.loads(line)
        _canonical(entry)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and set(entry) == _FIELDS else None


def _digest(entry: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of an entry without its hash, hexadecimal."""
    return hashlib.sha256(_canonical(entry)).hexdigest()


def _canonical(entry: dict[str, Any]) -> bytes:
    """JSON with sorted keys and no spaces, UTF-8."""
    text = json.dumps(
        entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()
