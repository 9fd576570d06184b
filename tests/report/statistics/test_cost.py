"""What the penalty costs, against ratios by hand."""

from typing import Any

import pytest
from stored_tables import cell, only, row

from jumpstart_exp.report.statistics.cost import pair_costs


def trained(method: str, depth: int, seed: int, seconds: float, memory: float | None = 1e6, **other: Any) -> dict:
    status = other.pop("status", "done")
    measured = {"seconds": seconds, "peak_memory_bytes": memory, "git_commit": f"{method}{seed}"}
    return row(cell(method, depth, 2, seed), 0.8, status) | measured | other


def test_a_pair_costs_its_means_over_the_seeds_trained_both_ways() -> None:
    rows = [trained("relu", 3, 0, 10.0, 100), trained("relu", 3, 1, 20.0, 300), trained("relu", 3, 2, 99.0, 999)]
    rows += [trained("sep_up", 3, 0, 15.0, 200), trained("sep_up", 3, 1, 24.0, 400)]
    (cost,) = pair_costs(only(rows))
    assert (cost.method, cost.trained_on, cost.depth, cost.width, cost.seeds) == ("sep_up", "eager, cpu", 3, 2, 2)
    assert cost.seconds == (15.0, 19.5) and cost.time_ratio == pytest.approx(1.3)
    assert cost.memory == (200, 300) and cost.memory_ratio == pytest.approx(1.5)


@pytest.mark.parametrize(
    "other", [{"engine": "native"}, {"device": "cuda"}, {"status": "diverged"}, {"status": "failed"}, {"seconds": 0.0}]
)
def test_seeds_trained_otherwise_or_not_to_the_end_are_not_compared(other) -> None:
    rows = [trained("relu", 3, 0, 10.0), trained("relu", 4, 0, 10.0)]
    rows += [trained("sep_up", 3, 0, 20.0), trained("sep_up", 4, 0, 30.0) | other]
    if "status" in other:
        rows[-1] = trained("sep_up", 4, 0, 30.0, status=other["status"])
    assert [(cost.depth, cost.time_ratio) for cost in pair_costs(only(rows))] == [(3, 2.0)]


def test_each_engine_and_device_is_a_row_of_its_own() -> None:
    rows = [trained("relu", 3, 0, 10.0), trained("sep_up", 3, 0, 20.0)]
    rows += [trained(m, 3, 1, s, device="cuda") for m, s in (("relu", 2.0), ("sep_up", 3.0))]
    found = {cost.trained_on: cost.time_ratio for cost in pair_costs(only(rows))}
    assert found == {"eager, cpu": 2.0, "eager, cuda": 1.5}


def test_methods_that_differ_in_more_than_the_penalty_have_no_cost_of_the_penalty() -> None:
    rows = [trained(m, 3, 0, 10.0) for m in ("relu", "relu_bn", "sep_u", "zero_init", "sep_up_l2_1e-1")]
    assert [cost.method for cost in pair_costs(only(rows))] == ["sep_u", "sep_up_l2_1e-1"]
    assert pair_costs(only([trained(m, 3, 0, 10.0) for m in ("relu_bn", "sep_u")])) == []


def test_a_penalised_network_that_is_called_relu_is_no_baseline() -> None:
    misnamed = row(cell("relu", 3, 2, 0, penalty={"kind": "U"}), 0.8)
    assert pair_costs(only([misnamed, trained("sep_up", 3, 0, 10.0)])) == []


def test_a_penalty_of_weight_zero_is_none() -> None:
    zero = row(cell("relu", 3, 2, 0), 0.8, labels=["relu", "sep_up"]) | {"seconds": 2.0}
    assert pair_costs(only([zero])) == []


def test_unknown_memory_leaves_the_time() -> None:
    (cost,) = pair_costs(only([trained("relu", 3, 0, 10.0, None), trained("sep_up", 3, 0, 11.0)]))
    assert cost.memory is None and cost.memory_ratio is None and cost.time_ratio == pytest.approx(1.1)
