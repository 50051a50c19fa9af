"""The treatment to plan: a protocol, with a prescription that a person may have changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..naming import target_dose_gy
from ..protocol import Protocol
from .i18n import _


@dataclass(frozen=True)
class Treatment:
    """What is planned.

    Parameters
    ----------
    protocol : Protocol
        As its file has it.
    doses_gy : mapping
        Dose by target where a person changed it, Gy for the whole course.
    fractions : int
    """

    protocol: Protocol
    doses_gy: Mapping[str, float]
    fractions: int

    def dose_gy(self, target: str) -> float:
        """Prescribed dose of a target, Gy for the whole course."""
        return self.doses_gy.get(target, self.protocol.prescription_gy[target])

    def target(self, name: str) -> str:
        """What a target of the protocol is called: a dose in its name follows the dose."""
        dose_gy = self.dose_gy(name)
        if target_dose_gy(name) is None or dose_gy == self.protocol.prescription_gy[name]:
            return name
        kind = re.match(r"[A-Za-z]+", name).group()
        return f"{kind}_{round(100 * dose_gy)}"

    @property
    def changes(self) -> tuple[str, ...]:
        """What differs from the protocol, one sentence each."""
        found = [
            _("{target}: {now:g} Gy, the protocol says {was:g} Gy").format(
                target=p.target, now=self.dose_gy(p.target), was=p.dose_gy
            )
            for p in self.protocol.prescriptions
            if abs(self.dose_gy(p.target) - p.dose_gy) > 1e-6
        ]
        if self.fractions != self.protocol.fractions:
            found.append(
                _("{now} fractions, the protocol says {was}").format(
                    now=self.fractions, was=self.protocol.fractions
                )
            )
        return tuple(found)

    def to_dict(self) -> dict:
        """The protocol document to plan with; goals stay as the protocol has them."""
        document = self.protocol.to_dict()
        if not self.changes:
            return document
        names = {p.target: self.target(p.target) for p in self.protocol.prescriptions}
        document["fractions"] = self.fractions
        document["prescriptions"] = [
            {
                "target": names[p.target],
                "dose_gy": self.dose_gy(p.target),
                "dose_per_fraction_gy": self.dose_gy(p.target) / self.fractions,
            }
            for p in self.protocol.prescriptions
        ]
        for goal in document["goals"]:
            goal["structure"] = names.get(goal["structure"], goal["structure"])
        # Other names of a target say the dose that it has no more.
        document["aliases"] = {
            name: others
            for name, others in document["aliases"].items()
            if names.get(name, name) == name
        }
        note = _("Prescription changed in the panel") + ": " + "; ".join(self.changes)
        document["note"] = f"{document['note']} {note}".strip()
        return document
