"""The treatment to plan: a protocol, with a prescription that a person may have changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
        if self.changes:
            document["fractions"] = self.fractions
            document["prescriptions"] = [
                {
                    "target": p.target,
                    "dose_gy": self.dose_gy(p.target),
                    "dose_per_fraction_gy": self.dose_gy(p.target) / self.fractions,
                }
                for p in self.protocol.prescriptions
            ]
            note = _("Prescription changed in the panel") + ": " + "; ".join(self.changes)
            document["note"] = f"{document['note']} {note}".strip()
        return document
