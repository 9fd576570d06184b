"""Statements of paper Geometry that need no training: what they are measured by, and their verdicts."""

import math
from pathlib import Path

import numpy as np
import pytest

from jumpstart_exp.config.entries import EntryError
from jumpstart_exp.report.papers.claims import NOT_REPRODUCED, REPRODUCED, Criterion
from jumpstart_exp.report.papers.computed import geometry_claims_table, read_statements, statements, verdict
from jumpstart_exp.report.papers.computed_measures import MEASURES, localisation
from jumpstart_exp.report.tables.table import as_csv, as_latex, as_markdown

NOT = {
    "logistic_of_sigmoid": 1.0,  # misprints: what the formulas as printed come to
    "true_constant": -1.0,
    "derived_union": 2.0,
    "far_points_weight": 0.153,
    "attenuated_first": 1.266,
    "attenuated_first_maximum": 12.53,
    "variation_weight_scale": 1.212,
}
"""What does not come out, and what is found instead."""

FOUND = {
    "scaled_unit": 4.0,
    "damping": 2 / (1 + math.exp(-1)) - 1,
    "less_damping": 2 / (1 + math.exp(-3)) - 1,
    "n_ary_least": -3.5,
    "n_ary_greatest": 0.5,
    "confidence_levels": 4.0,
    "critical_beta": sum(
        sign * 2 * math.log(39) / (multiple * math.log(399) + math.log(39)) for sign, multiple in ((1, 1), (-1, 2))
    ),
    "most_cells": 1.0,
    "equivalent_scaling": 0.5,
}
"""By formulas of their own."""

VALUES = {statement.name: statement.value() for statement in statements()}


def test_every_measure_is_of_a_statement() -> None:
    assert {each.measure for each in statements()} == {*MEASURES}


def test_what_is_found_instead() -> None:
    verdicts = {each.name: verdict(VALUES[each.name], each.criterion) for each in statements()}
    assert {name for name, found in verdicts.items() if found == NOT_REPRODUCED} == {*NOT}
    for name, value in NOT.items():
        assert VALUES[name] == pytest.approx(value, rel=0.01), name


@pytest.mark.parametrize("name", FOUND)
def test_values_by_formulas(name: str) -> None:
    assert VALUES[name] == pytest.approx(FOUND[name], rel=1e-9)


def test_localisation_is_that_of_the_field_counted_by_hand() -> None:
    """Layer 3 at γ = 1 by NumPy: ∂f/∂A₃ = y₃ x₂ᵀ, of the softmax's error."""
    middles = -5 + (np.arange(200) + 0.5) / 20
    x = np.stack(np.meshgrid(middles, middles), -1).reshape(-1, 2)
    first = np.tanh(1.5 * (x @ np.array([[1.0, 0.4], [0.3, -1.0]]) - [-1.0, 0.5]))
    second = np.tanh(1.5 * (first @ np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]]) - 1))
    odds = second @ np.array([1, -1, 1, -1])
    is_first = (x[:, 0] < 0) != (x[:, 1] < 0)
    error = np.where(is_first, 1 / (1 + np.exp(odds)), 1 / (1 + np.exp(-odds)))
    size = np.sort(error * np.abs(second).max(1))[::-1]
    share = (1 + (size.cumsum() < 0.9 * size.sum()).sum()) / len(size)
    assert localisation(3, 1.0) == pytest.approx(share, abs=1e-9) and share == pytest.approx(0.805, abs=0.001)


@pytest.mark.parametrize(
    ("value", "criterion", "wanted"),
    [
        (1.0, Criterion(least=1), REPRODUCED),
        (0.999, Criterion(least=1), NOT_REPRODUCED),
        (1.0, Criterion(most=1), REPRODUCED),
        (1.001, Criterion(most=1), NOT_REPRODUCED),
        (math.inf, Criterion(most=1), NOT_REPRODUCED),
    ],
)
def test_the_verdict_is_the_criterion(value: float, criterion: Criterion, wanted: str) -> None:
    assert verdict(value, criterion) == wanted


def test_a_measure_that_is_not_a_number_is_no_verdict() -> None:
    with pytest.raises(ValueError, match="not a number"):
        verdict(math.nan, Criterion(most=1))


ENTRY = "- {name: a, place: b, statement: c, measure: sigmoid_at, measured: d, of: {x: 1}, least: 0}\n"


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("sigmoid_at", "tanh_at", "measure=tanh_at is not allowed: one of sigmoid_at"),
        ("{x: 1}", "{y: 1}", "measure=sigmoid_at"),
        (", least: 0", "", "least or most is missing"),
        ("least", "lowest", "lowest is no key"),
    ],
)
def test_an_entry_that_decides_nothing_is_refused(tmp_path: Path, old: str, new: str, match: str) -> None:
    path = tmp_path / "computed.yaml"
    path.write_text(ENTRY)
    assert [each.value() for each in read_statements(path)] == [pytest.approx(math.tanh(0.5))]
    path.write_text(ENTRY.replace(old, new))
    with pytest.raises(EntryError, match=match):
        read_statements(path)


def test_the_table_has_every_statement_with_its_verdict() -> None:
    table = geometry_claims_table()
    assert table.values["name"].tolist() == [*VALUES]
    counts = f"{len(VALUES) - len(NOT)} reproduced, {len(NOT)} not reproduced"
    assert counts in table.caption
    lines = [line for line in as_markdown(table).splitlines() if line.startswith("| ")]
    assert len(lines) == len(VALUES) + 2
    (damping,) = [line for line in lines if "up to σ(1)" in line]
    assert "| 0.46 |" in damping and "| 0.462 |" in damping and damping.endswith("| reproduced |")
    assert as_csv(table).count("\n") == len(VALUES) + 1
    assert "not reproduced" in as_latex(table)
