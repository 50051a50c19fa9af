"""``radplan protocols`` and ``cases``: what there is to plan with."""

from __future__ import annotations

import argparse

from ..protocol import Protocol
from ..protocol_file import list_protocols, load_protocol
from .ending import DONE
from .options import AddCommand


def add_protocols(command: AddCommand) -> None:
    """Add ``protocols``."""
    protocols = command("protocols", _protocols, "list protocols, or show one with its sources")
    protocols.add_argument("name", nargs="?", metavar="NAME", help="name or .json file")


def _protocols(options: argparse.Namespace) -> int:
    if options.name:
        print(_protocol_text(load_protocol(options.name)))
    else:
        for name in list_protocols():
            print(f"{name:24s} {load_protocol(name).title}")
    return DONE


def _protocol_text(protocol: Protocol) -> str:
    lines = [f"{protocol.name}: {protocol.title}", protocol.note, f"Source: {protocol.source}", ""]
    for prescription in protocol.prescriptions:
        lines.append(
            f"{prescription.target}: {prescription.dose_gy:g} Gy in {protocol.fractions} fractions"
        )
    lines.append("")
    for goal in protocol.goals:
        checked = "verified" if goal.verified else "UNVERIFIED"
        lines.append(f"priority {goal.priority}  {goal.label:44s} {checked}: {goal.source}")
    return "\n".join(lines)


def add_cases(command: AddCommand) -> None:
    """Add ``cases``."""
    command("cases", _cases, "list built-in cases")


def _cases(options: argparse.Namespace) -> int:
    from ..io import builtin_cases

    for name, text in builtin_cases().items():
        print(f"{name:18s} {text}")
    return DONE
