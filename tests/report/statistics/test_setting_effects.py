"""Which of several swept settings decide, against shares counted by hand."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from stored_tables import cell, row, table

from jumpstart_exp.cell import Cell
from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.figures.sweeps import effects_figure
from jumpstart_exp.report.statistics.effects import setting_effects
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.report.table.sweeps import Sweep, sweeps
from jumpstart_exp.report.tables.sweeps import effects_table
from jumpstart_exp.report.tables.table import as_markdown

SEEDS = range(6)


def accuracy(of: Cell) -> float:
    """Relaxed pre-activations train in four of six seeds, and with a period in five; a weight of 10 never does."""
    if of.rai.relax == "activation" or of.rai.weight == 10:
        return 0.5 + of.seed / 100
    return 0.99 if of.seed < 4 + (of.rai.period > 0) else 0.6


def relaxed(**settings: object) -> list[Cell]:
    return [cell("rai", 3, 4, seed, **{f"rai__{name}": value for name, value in settings.items()}) for seed in SEEDS]


def crossed(*, rising: bool = False, plain: bool = False) -> Sweep:
    cells = [
        each
        for relax in ("activation", "pre_activation")
        for weight in (0.1, 10.0)
        for period in (0, 50)
        for each in relaxed(relax=relax, weight=weight, period=period)
    ]
    if rising:  # of one combination only
        cells += relaxed(relax="activation", weight=0.1, period=0, schedule="geometric")
    if plain:
        cells += relaxed(weight=0.0)
    stored = table([row(each, accuracy(each) if each.rai.weight else 0.5) for each in cells])
    (sweep,) = sweeps(figure_grids(stored), stored)
    return sweep


def test_each_setting_is_compared_with_all_others_held_and_what_decides_comes_first() -> None:
    sweep = crossed()
    (method,) = sweep.methods
    found = setting_effects(sweep, method, "best")
    # trained: pre-activations at weight 0.1, 4 seeds without and 5 with a period
    by_name = {effect.name: effect for effect in found}
    assert {effect.name for effect in found[:2]} == {"rai.relax", "rai.weight"} and found[2].name == "rai.period"
    assert {name: effect.found.trained.tolist() for name, effect in by_name.items()} == {
        "rai.relax": [0, 9],
        "rai.weight": [9, 0],
        "rai.period": [4, 5],
    }
    assert all(effect.found.networks.tolist() == [24, 24] and effect.combinations == 4 for effect in found)
    assert by_name["rai.relax"].spread == pytest.approx(9 / 24)
    # of six seeds: all trained 0 of 4 or, of pre-activations, 2 (seeds below 4), 1 (seed 4) and 0 (seed 5) of 4
    assert by_name["rai.relax"].found.by_seed[1].tolist() == [0.5] * 4 + [0.25, 0.0]
    accuracies = [accuracy(each) for w in (0.1, 10.0) for p in (0, 50) for each in relaxed(weight=w, period=p)]
    assert by_name["rai.relax"].found.train_acc[0] == pytest.approx(np.mean(accuracies))
    p = by_name["rai.relax"].found.p
    assert p is not None and p < 0.1


def test_only_combinations_that_all_values_have_are_compared() -> None:
    sweep = crossed(rising=True, plain=True)
    (method,) = sweep.methods
    by_name = {effect.name: effect for effect in setting_effects(sweep, method, "best")}
    schedule = by_name["rai.schedule"]
    assert (schedule.combinations, schedule.words, schedule.found.networks.tolist()) == (
        1,
        ("constant", "geometric"),
        [6, 6],
    )
    assert by_name["rai.relax"].found.networks.tolist() == [24, 24], "without the rising ones, which one value has"
    with_plain = sweep.values["rai.weight"]
    assert with_plain == (0.0, 0.1, 10.0), "ordinary training is a weight of 0"
    assert by_name["rai.weight"].values == (0.1, 10.0), "no combination has ordinary training and a weight"


def test_the_table_and_the_figure_say_the_same() -> None:
    sweep = crossed()
    made = effects_table(sweep)
    text = as_markdown(made)
    assert "| best | rai.relax | pre\\_activation | 4 | 9 of 24 | 0.38 (0.00 to 0.50) |" in text
    assert "p is not corrected for the number of settings" in text
    with plain_style():
        figure: Figure = effects_figure(sweep)
    bars = {bar.get_gid(): bar.get_width() for ax in figure.axes for bar in ax.patches}
    assert bars["rai.relax=pre_activation"] == pytest.approx(9 / 24) and bars["rai.weight=10"] == 0
    (ax,) = figure.axes
    words = [label.get_text() for label in ax.get_yticklabels()]
    assert "pre_activation  (9 of 24)" in words
    names = [text.get_text().partition(",")[0] for text in ax.texts]
    assert names == [effect.name for effect in setting_effects(sweep, sweep.methods[0], "best")]
    dots = {tuple(np.round(line.get_xdata(), 3)) for line in ax.lines}
    assert (0.5, 0.5, 0.5, 0.5, 0.25, 0.0) in dots


def test_the_brackets_are_seeds_of_a_single_network_too() -> None:
    """One network and one combination, of which other tables have Wilson's interval."""
    cells = [
        each
        for settings in ({}, {"relax": "pre_activation"}, {"relax": "pre_activation", "weight": 10.0})
        for each in relaxed(**{"weight": 0.1, "relax": "activation", "period": 0} | settings)
    ]
    stored = table([row(each, accuracy(each)) for each in cells])
    (sweep,) = sweeps(figure_grids(stored), stored)
    values = effects_table(sweep).values
    own = values[(values["moment"] == "best") & (values["value"] == "pre_activation")].iloc[0]
    assert (own["trained"], own["networks"], own["low"], own["high"]) == (4, 6, 0.0, 1.0)


def test_optimizers_with_a_rate_each_are_one_sweep_and_with_several_are_not() -> None:
    def of(pairs: list[tuple[str, float]]) -> tuple[Sweep, ...]:
        cells = [
            cell("relu", depth, 2, 0, optimizer__name=name, optimizer__lr=rate)
            for depth in (1, 5)
            for name, rate in pairs
        ]
        stored = table([row(each, 0.9) for each in cells])
        return sweeps(figure_grids(stored), stored)

    (one,) = of([("adam", 0.01), ("rprop", 0.1)])
    assert one.names == ("optimizer.name",) and "rprop with lr=0.1" in one.title
    (two,) = of([("adam", 0.01), ("rprop", 0.1), ("rprop", 0.01)])
    assert set(two.names) == {"optimizer.name", "optimizer.lr"}
