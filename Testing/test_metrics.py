import csv
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from radplan.errors import InputError
from radplan.metrics import (
    StructureDose,
    conformity_index_95,
    dvh_table,
    evaluate_metric,
    homogeneity_index_gpt_radplan,
    metric_note,
    parse_metric,
    write_dvh_csv,
)

# ---- the language -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical", "kind", "level", "level_unit"),
    [
        ("D95%", "D95%", "D", 95.0, "%"),
        ("D99.5%", "D99.5%", "D", 99.5, "%"),
        ("D100%", "D100%", "D", 100.0, "%"),
        ("D0.03cc", "D0.03cc", "D", 0.03, "cc"),
        ("D1.50cc", "D1.5cc", "D", 1.5, "cc"),
        ("V20Gy", "V20Gy", "V", 20.0, "Gy"),
        ("V2000cGy", "V20Gy", "V", 20.0, "Gy"),
        ("V2430cGy", "V24.3Gy", "V", 24.3, "Gy"),
        ("V95%", "V95%", "V", 95.0, "%"),
        ("V107%", "V107%", "V", 107.0, "%"),
        ("mean", "mean", "mean", None, None),
        ("max", "max", "max", None, None),
        ("min", "min", "min", None, None),
        ("HI", "HI", "HI", None, None),
        ("CI", "CI", "CI", None, None),
    ],
)
def test_metrics_are_read_and_written_canonically(text, canonical, kind, level, level_unit):
    metric = parse_metric(text)
    assert (str(metric), metric.kind, metric.level, metric.level_unit) == (
        canonical, kind, level, level_unit,
    )  # fmt: skip
    assert parse_metric(str(metric)) == metric


@pytest.mark.parametrize(
    "text",
    "D95|V20|D-1%|D101%|1e3|D1e1%|D0%|D0cc|D|V|V20gy|V20GY|v20Gy|Dmean|Mean|HI95|D95 %| D95%|"
    "D95%\n|D95%,V20Gy|D.5cc|D5.cc|D5Gy|V5cc|D\u0669\u0665%|V\u221eGy|VnanGy|D1234567cc|".split(
        "|"
    ),
)
def test_what_is_no_metric_is_refused(text):
    with pytest.raises(InputError, match="metric"):
        parse_metric(text)


@pytest.mark.parametrize("thing", [None, 95, b"D95%", ["D95%"]])
def test_what_is_no_text_is_refused(thing):
    with pytest.raises((InputError, TypeError)):
        parse_metric(thing)


@given(st.text(max_size=12))
def test_any_text_is_a_metric_or_an_input_error(text):
    try:
        metric = parse_metric(text)
    except InputError:
        return
    assert parse_metric(str(metric)) == metric


@given(st.integers(1, 10**6 - 1), st.integers(0, 6))
def test_centigray_equals_gray(number, decimals):
    number /= 10**decimals
    text = f"{number:.6f}".rstrip("0").rstrip(".")
    metric = parse_metric(f"V{text}cGy")
    assert metric.level == pytest.approx(number / 100, rel=1e-12)
    assert str(metric).endswith("Gy") and "e" not in str(metric)


# ---- values -------------------------------------------------------------------------------------


def four_samples() -> StructureDose:
    return StructureDose(np.array([3.0, 1.0, 4.0, 2.0]), np.array([2.0, 4.0, 1.0, 3.0]))


def test_values_by_hand():
    dose = four_samples()  # hottest first: 4 Gy 1 cc, 3 Gy 2 cc, 2 Gy 3 cc, 1 Gy 4 cc
    assert dose.volume_cc == 10
    assert dose.mean_gy == pytest.approx((4 + 6 + 6 + 4) / 10)
    assert (dose.min_gy, dose.max_gy) == (1, 4)
    assert dose.dose_at_volume_percent(10) == 4
    assert dose.dose_at_volume_percent(10.001) == 3
    assert dose.dose_at_volume_percent(30) == 3
    assert dose.dose_at_volume_percent(100) == 1
    assert dose.dose_at_volume_cc(0.03) == 4
    assert dose.dose_at_volume_cc(6.5) == 1
    assert dose.volume_cc_at_dose(2) == 6
    assert dose.volume_percent_at_dose(2.5) == 30
    assert dose.dvh(np.array([0, 1, 1.5, 4, 4.5])).tolist() == [100, 100, 60, 10, 0]


def test_a_plan_scaled_to_its_prescription_reaches_it():
    raw = np.random.default_rng(1).normal(60, 1, 4000).astype(np.float32)
    dose = StructureDose(raw, np.full(raw.size, 0.01))
    scaled = StructureDose(
        (raw * np.float32(50 / dose.dose_at_volume_percent(95))), np.full(raw.size, 0.01)
    )
    assert scaled.volume_percent_at_dose(50) >= 95 - 1e-9


@pytest.mark.parametrize(
    ("dose", "message"),
    [([], "empty"), ([1.0, math.nan], "not numbers"), ([math.inf], "not numbers"),
     ([1.0, -0.1], "negative")],
)  # fmt: skip
def test_hostile_doses_are_refused(dose, message):
    with pytest.raises(InputError, match=message):
        StructureDose(np.array(dose), np.ones(len(dose)))


def test_bad_volumes_are_a_programming_error():
    for volumes in ([0.0], [-1.0], [math.nan], [1.0, 1.0]):
        with pytest.raises(ValueError, match="volume"):
            StructureDose(np.array([1.0]), np.array(volumes))


SAMPLES = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, n, elements=st.floats(0, 100, width=32)),
        hnp.arrays(np.float64, n, elements=st.floats(1e-3, 10)),
    )
)


@given(SAMPLES, st.lists(st.floats(0, 120), min_size=2, max_size=20))
@settings(max_examples=200, deadline=None)
def test_dvh_falls_from_all_to_nothing(samples, doses):
    dose = StructureDose(*samples)
    curve = dose.dvh(np.sort(doses))
    assert (np.diff(curve) <= 1e-9).all()
    assert dose.dvh(np.array([0.0]))[0] == pytest.approx(100)
    assert dose.dvh(np.array([dose.max_gy * (1 + 1e-5) + 1e-5]))[0] == 0
    assert dose.min_gy <= dose.mean_gy + 1e-9 and dose.mean_gy <= dose.max_gy + 1e-9


@given(SAMPLES, st.floats(0.01, 100))
@settings(max_examples=200, deadline=None)
def test_d_and_v_are_inverse(samples, percent):
    dose = StructureDose(*samples)
    level = dose.dose_at_volume_percent(percent)
    assert dose.volume_percent_at_dose(level) >= percent - 1e-6
    hotter = dose.dose_gy[dose.dose_gy > level * (1 + 1e-5)]
    if hotter.size:  # no larger dose is received by that much volume
        assert dose.volume_percent_at_dose(hotter.min()) < percent + 1e-6


@given(SAMPLES, st.floats(0.01, 50), st.floats(0.01, 50))
@settings(max_examples=100, deadline=None)
def test_more_volume_never_has_more_dose(samples, one, other):
    dose = StructureDose(*samples)
    low, high = sorted((one, other))
    assert dose.dose_at_volume_percent(high) <= dose.dose_at_volume_percent(low)
    assert dose.dose_at_volume_cc(high) <= dose.dose_at_volume_cc(low)


# ---- metrics in units ---------------------------------------------------------------------------


def test_units_of_results():
    dose = four_samples()
    assert evaluate_metric(parse_metric("D10%"), dose) == 4
    assert evaluate_metric(parse_metric("D10%"), dose, unit="%", prescription_gy=8) == 50
    assert evaluate_metric(parse_metric("max"), dose, unit="%", prescription_gy=2) == 200
    assert evaluate_metric(parse_metric("V3Gy"), dose) == 30
    assert evaluate_metric(parse_metric("V3Gy"), dose, unit="cc") == 3
    assert evaluate_metric(parse_metric("V150%"), dose, prescription_gy=2) == 30
    assert evaluate_metric(parse_metric("D0.5cc"), dose) == 4


@pytest.mark.parametrize(
    ("metric", "arguments", "message"),
    [
        ("D95%", {"unit": "cc"}, "cannot be given"),
        ("V20Gy", {"unit": "Gy"}, "cannot be given"),
        ("D95%", {"unit": "%"}, "prescribed dose"),
        ("V95%", {}, "prescribed dose"),
        ("V95%", {"prescription_gy": 0.0}, "prescribed dose"),
        ("HI", {}, "prescribed dose"),
        ("CI", {"prescription_gy": 50.0}, "EXTERNAL"),
    ],
)
def test_what_a_metric_lacks_is_said(metric, arguments, message):
    with pytest.raises(InputError, match=message):
        evaluate_metric(parse_metric(metric), four_samples(), **arguments)


def test_small_and_uncovered_structures_are_flagged():
    small = StructureDose(np.array([5.0, 9.0]), np.array([0.01, 0.01]))
    metric = parse_metric("D0.03cc")
    assert evaluate_metric(metric, small) == 5
    assert "minimum" in metric_note(metric, small)
    assert metric_note(parse_metric("D0.02cc"), small) == ""
    assert metric_note(parse_metric("mean"), small) == ""
    cut = StructureDose(np.array([0.0, 9.0]), np.ones(2), uncovered_fraction=0.5)
    assert "50 %" in metric_note(parse_metric("mean"), cut)


def test_indices_by_hand():
    target = StructureDose(np.array([44.0, 48.0, 50.0, 52.0]), np.ones(4))
    body = StructureDose(np.array([44.0, 48.0, 50.0, 52.0, 49.0, 3.0]), np.ones(6))
    assert homogeneity_index_gpt_radplan(target, 50.0) == pytest.approx(100 * (52 - 44) / 50)
    assert conformity_index_95(target, body, 50.0) == pytest.approx(3**2 / (4 * 4))
    assert conformity_index_95(target, body, 90.0) == 0
    assert evaluate_metric(
        parse_metric("CI"), target, prescription_gy=50.0, external_dose=body
    ) == conformity_index_95(target, body, 50.0)
    assert evaluate_metric(parse_metric("HI"), target, prescription_gy=50.0) == pytest.approx(16)


# ---- tables -------------------------------------------------------------------------------------


def test_dvh_table_and_csv(tmp_path):
    doses = {"PTV": four_samples(), "Rest, of body": StructureDose(np.array([0.25]), np.ones(1))}
    header, rows = dvh_table(doses, step_gy=0.5)
    assert header == ["dose_gy", "PTV", "Rest, of body"]
    assert rows[0] == [0, 100, 100] and rows[-1] == [4.5, 0, 0]
    assert rows[3] == [1.5, pytest.approx(60), 0]
    write_dvh_csv(tmp_path / "dvh.csv", header, rows)
    with (tmp_path / "dvh.csv").open(newline="") as file:
        read = list(csv.reader(file))
    assert read[0] == header
    np.testing.assert_allclose(np.array(read[1:], float), rows, atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["dvh.csv"]
    with pytest.raises(InputError, match="no structures"):
        dvh_table({})
