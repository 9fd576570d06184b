"""In float32 training is chaotic, so engines are compared by how many networks of a kind they train.

The reference's table is made by scripts/success_rates.py.
"""

import csv
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from scipy.stats import fisher_exact

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import success_rates
from success_rates import EPOCHS, KINDS, SHAPES, TABLE, Row

from jumpstart_exp.engines import Engine
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.engines.native.engine import NativeEngine
from jumpstart_exp.engines.native.extension import instruction_sets

SEEDS = 50
MOMENTS = ("train_acc_best", "train_acc_last")
Kind = tuple[int, int, str, str]
Counts = dict[Kind, tuple[int, int]]
"""(depth, width, method, moment): networks that reached a training accuracy of 0.95, and those that did not."""


def counted(rows: Iterable[Row]) -> Counts:
    trained: Counter[Kind] = Counter()
    networks: Counter[Kind] = Counter()
    for row in rows:
        for moment in MOMENTS:
            kind = (row.depth, row.width, row.method, moment)
            networks[kind] += 1
            trained[kind] += (getattr(row, moment) or 0.0) >= 0.95
    return {kind: (trained[kind], networks[kind] - trained[kind]) for kind in networks}


def table() -> list[Row]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                int(row["depth"]),
                int(row["width"]),
                row["method"],
                int(row["epochs"]),
                int(row["seed"]),
                float(row["train_acc_best"]) if row["train_acc_best"] else None,
                float(row["train_acc_last"]) if row["train_acc_last"] else None,
            )
            for row in csv.DictReader(file)
        ]


def probabilities(found: Counts, expected: Counts) -> dict[Kind, float]:
    """Fisher's exact test, two-sided: how probable such a difference is where the rates are equal."""
    assert found.keys() == expected.keys()
    return {kind: float(fisher_exact([found[kind], expected[kind]]).pvalue) for kind in expected}


def together(counts: Counts, method: str, moment: str) -> tuple[int, int]:
    """The counts of both shapes."""
    of_method = [numbers for kind, numbers in counts.items() if kind[2:] == (method, moment)]
    return sum(numbers[0] for numbers in of_method), sum(numbers[1] for numbers in of_method)


def test_the_table_holds_every_network_once() -> None:
    expected = [
        (depth, width, method, EPOCHS, seed) for depth, width in SHAPES for method in KINDS for seed in range(SEEDS)
    ]
    assert [(row.depth, row.width, row.method, row.epochs, row.seed) for row in table()] == expected
    assert all(sum(numbers) == SEEDS for numbers in counted(table()).values())


def check(engine: Engine, seeds: int) -> None:
    found = counted(success_rates.success_rows(engine, range(seeds)))
    expected = counted(table())
    by_kind = probabilities(found, expected)
    print({kind: (found[kind], expected[kind], round(by_kind[kind], 3)) for kind in expected})
    assert min(by_kind.values()) > 0.001
    for method in KINDS:
        for moment in MOMENTS:
            both = fisher_exact([together(found, method, moment), together(expected, method, moment)])
            assert both.pvalue > 0.001, (method, moment)


@pytest.mark.soak
@pytest.mark.skipif(not instruction_sets(), reason="the C++ engine is not built")
def test_native_trains_as_many_as_the_reference() -> None:
    check(NativeEngine(threads=2), SEEDS)


@pytest.mark.soak
def test_the_reference_still_trains_as_many() -> None:
    check(EagerEngine(curve_every=EPOCHS), 10)


def test_a_difference_would_be_found() -> None:
    """An engine that forgot the penalty trains as many as `relu`: on 50 seeds the test tells them apart."""
    expected = counted(table())
    forgetful = fisher_exact([together(expected, method, "train_acc_best") for method in KINDS])
    assert forgetful.pvalue < 0.001
    assert together(expected, "sep_up", "train_acc_best")[0] > together(expected, "relu", "train_acc_best")[0]
    depth_taken_for_another = fisher_exact([expected[10, 4, "sep_up", MOMENTS[0]], expected[30, 4, "relu", MOMENTS[0]]])
    assert depth_taken_for_another.pvalue < 0.001
