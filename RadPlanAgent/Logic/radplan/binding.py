"""A protocol held against the structure names of one case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .errors import InputError
from .naming import same_structure, single_ptv, target_dose_gy
from .protocol import ClinicalGoal, Protocol


@dataclass(frozen=True)
class Binding:
    """A protocol held against one case's structure names.

    Parameters
    ----------
    protocol : Protocol
        The protocol in the case's names, without the prescriptions of targets that the case
        lacks. Goals of structures that it lacks are still there, to be reported. It can be
        stored, read and resolved again.
    names : mapping
        Name in the protocol → name in the case.
    missing : tuple of str
        Structures of the protocol that the case lacks.
    notes : tuple of str
        What a person should know about the match, one sentence each.
    """

    protocol: Protocol
    names: Mapping[str, str]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def resolve(protocol: Protocol, case_names: Iterable[str]) -> Binding:
    """Find the protocol's structures among a case's.

    A structure is looked for under its own name, then under its aliases, then under names
    that mean the same (``PTV_70.2``, ``PTV 7020cGy`` and ``PTV_7020``; ``rectum``). If the
    protocol has one prescription and the case one PTV, whose name does not speak of another
    dose, they are taken for each other.

    Parameters
    ----------
    protocol : Protocol
    case_names : iterable of str
        Names of all structures of the case.

    Raises
    ------
    InputError
        If the primary target or the structure of a must-goal (unless optional) is missing,
        or if two structures of the case fit one of the protocol.
    """
    names = tuple(case_names)
    bound: dict[str, str] = {}
    for structure in protocol.structures:
        found = _find(protocol, structure, names)
        if found is not None:
            bound[structure] = found
    notes = []
    primary = protocol.primary.target
    if primary not in bound:
        only = single_ptv(names) if len(protocol.prescriptions) == 1 else None
        named_gy = target_dose_gy(only) if only is not None else None
        if only is None or named_gy not in (None, protocol.primary.dose_gy):
            why = f"the primary target, {protocol.primary.dose_gy:g} Gy"
            raise _missing(protocol, primary, why, names)
        bound[primary] = only
        notes.append(f"{primary} is taken to be {only}, the only PTV of the case")
    _check_distinct(protocol, bound)

    missing = tuple(s for s in protocol.structures if s not in bound)
    for goal in protocol.goals:
        if goal.priority == 1 and not goal.optional and goal.structure not in bound:
            raise _missing(
                protocol, goal.structure, f"needed by the must-goal {goal.label}", names
            )
    dropped = [p for p in protocol.prescriptions if p.target not in bound]
    for prescription in dropped:
        relative = [g.label for g in _relative_goals(protocol, prescription.target)]
        also = f", and so is what is relative to it: {', '.join(relative)}" if relative else ""
        notes.append(
            f"the case has no {prescription.target}: its prescription of "
            f"{prescription.dose_gy:g} Gy is dropped{also}"
        )
    unusable = {g for p in dropped for g in _relative_goals(protocol, p.target)}
    in_case_names = replace(
        protocol,
        prescriptions=tuple(
            replace(p, target=bound[p.target]) for p in protocol.prescriptions if p not in dropped
        ),
        goals=tuple(
            replace(g, structure=bound.get(g.structure, g.structure))
            for g in protocol.goals
            if g not in unusable
        ),
        aliases={},
    )
    return Binding(in_case_names, bound, missing, tuple(notes))


def _relative_goals(protocol: Protocol, target: str) -> list[ClinicalGoal]:
    """Goals that mean nothing without the target's prescription."""
    return [g for g in protocol.goals if g.structure == target and g.needs_prescription]


def _find(protocol: Protocol, structure: str, names: tuple[str, ...]) -> str | None:
    """The case's name for a structure; None if it has none."""
    for wanted in (structure, *protocol.aliases.get(structure, ())):
        if wanted in names:
            return wanted
    similar = [name for name in names if same_structure(name, structure)]
    if len(similar) > 1:
        raise InputError(
            f"protocol {protocol.name}: {structure} could be {' or '.join(similar)} of the case; "
            f"name one of them {structure}"
        )
    return similar[0] if similar else None


def _check_distinct(protocol: Protocol, bound: Mapping[str, str]) -> None:
    """Refuse to use one structure of the case for two of the protocol."""
    users: dict[str, str] = {}
    for structure, name in bound.items():
        if name in users:
            raise InputError(
                f"protocol {protocol.name}: {name} of the case would be both {users[name]} and "
                f"{structure}; name the structures as the protocol does"
            )
        users[name] = structure


def _missing(protocol: Protocol, structure: str, why: str, names: tuple[str, ...]) -> InputError:
    return InputError(
        f"protocol {protocol.name}: the case has no {structure} ({why}); it has "
        f"{', '.join(names) or 'no structures'}; rename one or add it to the protocol's "
        "aliases"
    )
