"""The estimators' benchmark: the same points for all, and ratios of what was measured."""

import sys
from pathlib import Path
from statistics import median

import pytest
from sklearn.exceptions import ConvergenceWarning

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from bench_estimator import CONTENDERS, contender, measure


@pytest.mark.filterwarnings("ignore", category=ConvergenceWarning)
def test_a_ratio_is_of_the_medians_and_every_seed_has_a_score():
    found = measure("wine", seeds=2, rounds=1)
    for way in CONTENDERS:
        assert len(found["scores"][way]) == 2 and min(found["scores"][way]) > 0.8
        assert found["median_seconds"][way] == median(found["seconds"][way]) > 0
    assert found["times_faster"]["mlp"] == found["median_seconds"]["mlp"] / found["median_seconds"]["ours"]


def test_the_same_network_has_the_hidden_layers_of_ours():
    ours, same = contender("wine", "ours", 0), contender("wine", "same", 0)
    assert same[-1].hidden_layer_sizes == (ours.width,) * ours.depth
