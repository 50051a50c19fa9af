"""The ranking of plans: what a target may be, beyond the protocol's own goals."""

from __future__ import annotations

import pytest

from radplan.agent.quality import target_shortfall
from radplan.protocol import Protocol
from radplan.protocol_file import load_protocol, protocol_from_dict
from radplan.scorecard import Scorecard

PRESCRIPTION_GY = 50.0


def protocol_with(*limits: tuple[str, float, str, int]) -> Protocol:
    """A target of 50 Gy, with limits from above (metric, value, unit, priority)."""
    goals = [("D95%", ">=", PRESCRIPTION_GY, "Gy", 1)]
    goals += [(metric, "<=", value, unit, priority) for metric, value, unit, priority in limits]
    return protocol_from_dict(
        {
            "format": 1,
            "name": "test",
            "title": "A target",
            "site": "test",
            "fractions": 25,
            "prescriptions": [
                {"target": "PTV", "dose_gy": PRESCRIPTION_GY, "dose_per_fraction_gy": 2}
            ],
            "coverage": "D95%",
            "beams": "coplanar9",
            "source": "test",
            "note": "",
            "goals": [
                {
                    "structure": "PTV",
                    "metric": metric,
                    "op": op,
                    "value": value,
                    "unit": unit,
                    "priority": priority,
                    "source": "test",
                    "verified": False,
                }
                for metric, op, value, unit, priority in goals
            ],
        }
    )


def shortfall(protocol: Protocol, near_minimum: float, near_maximum: float) -> float:
    """Shortfall of a target with these shares of its prescription."""
    doses = {
        "D98%_gy": near_minimum * PRESCRIPTION_GY,
        "D2%_gy": near_maximum * PRESCRIPTION_GY,
    }
    return target_shortfall(Scorecard("case", protocol, 0, (), {"PTV": doses}, 0, 0), protocol)


def test_a_target_is_held_to_its_near_minimum_and_near_maximum():
    protocol = protocol_with()
    assert shortfall(protocol, 0.95, 1.07) == pytest.approx(0, abs=1e-12)
    assert shortfall(protocol, 0.94, 1.07) == pytest.approx(0.01)
    assert shortfall(protocol, 0.94, 1.10) == pytest.approx(0.04)


@pytest.mark.parametrize(
    "limit",
    [
        ("D2%", 54.0, "Gy", 2),
        ("D10%", 55.0, "Gy", 1),
        ("V107%", 5.0, "%", 2),
        ("V107%", 0.1, "cc", 2),
    ],
)
def test_the_protocols_own_limit_of_the_volume_takes_the_place_of_the_near_maximum(limit):
    assert shortfall(protocol_with(limit), 0.95, 1.10) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "limit",
    [
        ("D0.03cc", 55.0, "Gy", 2),
        ("max", 57.5, "Gy", 1),
        ("D2%", 53.5, "Gy", 3),
        ("D2%", 53.5, "Gy", 4),
    ],
)
def test_a_limit_of_a_point_or_a_wish_does_not(limit):
    assert shortfall(protocol_with(limit), 0.95, 1.10) == pytest.approx(0.03)


@pytest.mark.parametrize("name", ["openkbp_hn_70_63_56", "hn_70_56_52", "lung_60_30"])
def test_protocols_that_limit_a_point_only_are_held_to_the_near_maximum(name):
    protocol = load_protocol(name)
    highest = protocol.highest
    structures = {
        p.target: {"D98%_gy": p.dose_gy, "D2%_gy": 1.09 * p.dose_gy}
        for p in protocol.prescriptions
    }
    card = Scorecard("case", protocol, 0, (), structures, 0, 0)
    assert target_shortfall(card, protocol) == pytest.approx(0.02)
    structures[highest.target]["D2%_gy"] = 1.07 * highest.dose_gy
    assert target_shortfall(card, protocol) == pytest.approx(0, abs=1e-12)
