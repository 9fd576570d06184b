"""What is dead before training: the measured shares against a forward pass in numpy, the formulas against draws."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text
from scipy.stats import binomtest, ttest_1samp
from stored_tables import cell, row, table

from jumpstart_exp.data.loading import load
from jumpstart_exp.measures.census import census
from jumpstart_exp.networks.build import build
from jumpstart_exp.report.figures.drawing import plain_style, save_figure
from jumpstart_exp.report.figures.initialisation import initialisation_caption, initialisation_figure
from jumpstart_exp.report.statistics.initialisation import MEASURES, Initialisation, dead_somewhere, initialisations

DEPTHS, WIDTHS, SEEDS = [1, 4, 12], [1, 2, 5], range(6)
POINTS = np.random.default_rng(1).normal(size=(40, 2))


def outputs(depth: int, width: int, seed: int, positions: int = 1) -> list[np.ndarray]:
    """ReLU outputs of each layer, (points, units, positions), of a random network with zero biases, in float64."""
    random_bits = [np.random.default_rng([seed, layer, width]) for layer in range(depth)]
    h, found = POINTS[:, :, None] if positions == 1 else POINTS[:, None, :], []
    for draw in random_bits:
        if positions == 1:
            g = np.einsum("uf,nfp->nup", draw.uniform(-1, 1, (width, h.shape[1])), h)
        else:  # kernel 2 over two positions, the second one padded with zero
            w = draw.uniform(-1, 1, (width, h.shape[1], 2))
            g = np.stack([np.einsum("ufk,nfk->nu", w, h), np.einsum("uf,nf->nu", w[..., 0], h[..., 1])], axis=2)
        h = np.maximum(g, 0)
        found.append(h)
    return found


def counted(depth: int, width: int, seed: int, positions: int = 1) -> tuple[list[float], list[float]]:
    """Shares of dead units and of dead points, a layer each."""
    layers = [layer == 0 for layer in outputs(depth, width, seed, positions)]
    return [float(d.all(axis=(0, 2)).mean()) for d in layers], [float(d.all(axis=(1, 2)).mean()) for d in layers]


def rows_of(methods=("relu",), depths=DEPTHS, widths=WIDTHS, seeds=SEEDS, layout="mlp", **settings) -> list[dict]:
    rows = []
    for method, depth, width, seed in itertools.product(methods, depths, widths, seeds):
        of = row(cell(method, depth, width, seed, network__layout=layout, **settings), 0.6)
        units, points = counted(depth, width, seed, 2 if layout == "conv2x1" else 1)
        rows.append(of | {"dead_units_by_layer_start": units, "dead_points_by_layer_start": points})
    return rows


def only(rows: list[dict]) -> Initialisation:
    (dataset,) = initialisations(table(rows))
    (layout,) = dataset.layouts
    return layout


@pytest.mark.parametrize("positions", [1, 2])
def test_a_point_that_is_dead_in_a_layer_is_dead_in_all_later_ones_so_the_last_layer_counts_them_all(
    positions: int,
) -> None:
    some = False
    for width, seed in itertools.product((1, 2, 3), range(20)):
        dead = np.array([(layer == 0).all(axis=(1, 2)) for layer in outputs(15, width, seed, positions)])
        assert np.array_equal(dead.any(axis=0), dead[-1])
        some |= bool(0 < dead[-1].sum() < len(POINTS))
    assert some


def test_the_project_s_networks_start_so_too() -> None:
    data = load(cell("relu", 1, 1, 0).dataset, Path("data"))
    for layout, width in itertools.product(("mlp", "conv2x1"), (1, 2, 4)):
        network = build(cell("relu", 12, width, 3, network__layout=layout))
        with torch.no_grad():
            _, pre_activations = network(data.x_train.float())
        found = [torch.relu(g) for g in pre_activations]
        dead = torch.stack([(h.flatten(1) == 0).all(dim=1) for h in found])
        assert torch.equal(dead.any(dim=0), dead[-1])
        assert census(found).dead_points[-1] == pytest.approx(float(dead.any(dim=0).double().mean()))


def test_wide_networks_of_two_positions_are_dead_in_float32_because_their_activations_are_too_small_for_it() -> None:
    of = cell("relu", 150, 25, 0, network__layout="conv2x1")
    data, dead = load(of.dataset, Path("data")), {}
    for precision in (torch.float32, torch.float64):
        with torch.no_grad():
            _, pre_activations = build(of).to(precision)(data.x_train[:4].to(precision))
        dead[precision] = [bool((g <= 0).all()) for g in pre_activations]
    assert dead[torch.float32][-1] and not dead[torch.float32][110] and not any(dead[torch.float64])


@pytest.mark.parametrize("layout", ["mlp", "conv2x1"])
def test_measured_are_the_shares_over_the_seeds(layout: str) -> None:
    found, positions = only(rows_of(layout=layout)), 2 if layout == "conv2x1" else 1
    assert found.depths == tuple(DEPTHS) and found.widths == tuple(WIDTHS) and (found.seeds == len(SEEDS)).all()
    for (d, depth), (w, width) in itertools.product(enumerate(DEPTHS), enumerate(WIDTHS)):
        networks = [outputs(depth, width, seed, positions) for seed in SEEDS]
        units = [np.mean([(h == 0).all(axis=(0, 2)).mean() for h in layers]) for layers in networks]
        points = [np.any([(h == 0).all(axis=(1, 2)) for h in layers], axis=0).mean() for layers in networks]
        dead = [any((h == 0).all() for h in layers) for layers in networks]
        place = d, w
        for name, values in (("dead_units", units), ("dead_points", points), ("dead_layer", dead)):
            assert found.measured[name].share[place] == pytest.approx(np.mean(values))
        interval = binomtest(sum(dead), len(dead)).proportion_ci(method="wilson")
        assert found.measured["dead_layer"].low[place] == pytest.approx(interval.low, abs=1e-12)
        assert found.measured["dead_layer"].high[place] == pytest.approx(interval.high, abs=1e-12)
        for name, values in (("dead_units", units), ("dead_points", points)):
            low, high = found.measured[name].low[place], found.measured[name].high[place]
            if max(values) - min(values) < 1e-9:
                assert np.isnan([low, high]).all(), "all seeds agree"
                continue
            found_ends = ttest_1samp(values, 0).confidence_interval(0.95)
            assert (low, high) == pytest.approx((max(0, found_ends.low), min(1, found_ends.high)))


def test_networks_that_differ_in_method_or_optimizer_only_are_counted_once() -> None:
    once = only(rows_of())
    many = only(rows_of(("relu", "sep_up", "sep_l")) + rows_of(optimizer__lr=0.5) + rows_of(optimizer__epochs=7))
    assert np.array_equal(many.seeds, once.seeds)
    for name in MEASURES:
        for part in ("share", "low", "high"):
            np.testing.assert_array_equal(getattr(many.measured[name], part), getattr(once.measured[name], part))


def test_other_initialisations_precisions_and_batch_norm_are_left_out() -> None:
    other = rows_of(("relu_bn", "zero_init")) + rows_of(network__init="kaiming_uniform")
    other += rows_of(precision="float64")
    assert initialisations(table(other)) == []
    assert np.array_equal(only(rows_of() + other).seeds, only(rows_of()).seeds)


def test_rows_without_a_sound_census_are_left_out() -> None:
    rows = rows_of(depths=[4], widths=[2], seeds=[0, 1, 2, 3, 4])
    rows[1]["dead_units_by_layer_start"] = None
    rows[2]["dead_points_by_layer_start"] = [0.5]
    rows[3]["dead_points_by_layer_start"] = [0.5, float("nan"), 2.0, 0.1]
    assert only(rows).seeds.tolist() == [[2]]
    assert initialisations(table(rows[1:2])) == [] and initialisations(pd.DataFrame()) == []


def test_places_without_a_network_have_no_number() -> None:
    found = only(rows_of(depths=[4], widths=[2], seeds=[0]) + rows_of(depths=[1], widths=[5], seeds=[0, 1]))
    assert found.seeds.tolist() == [[0, 2], [1, 0]]
    for name in MEASURES:
        assert np.isnan(found.measured[name].share).tolist() == [[True, False], [False, True]]
    assert np.isnan(found.measured["dead_points"].low[1, 0])  # one seed has no interval


def test_the_formula_is_the_share_of_independent_draws_with_a_dead_layer() -> None:
    random_bits = np.random.default_rng(5).random((40_000, 6, 3)) < 0.5  # networks, layers, units
    share = random_bits.all(axis=2).any(axis=1).mean()
    formula = dead_somewhere(np.array(0.5), np.array(3.0), np.array(6.0))
    assert formula == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 40_000))
    # the bracket as CPAIOR prints it, (1 - q)^n, would be far off
    assert abs(1 - np.prod([(1 - 0.5) ** 3] * 6) - share) > 0.4


def test_a_unit_of_a_random_network_is_inactive_for_a_point_with_probability_one_half() -> None:
    weights = np.random.default_rng(2).uniform(-1, 1, (100_000, 2))
    for point in ([0.3, -0.2], [1.0, 1.0]):
        assert (weights @ point <= 0).mean() == pytest.approx(0.5, abs=0.006)


def test_formulas_stand_beside_what_is_measured_with_twice_the_activations_in_the_two_positions_layout() -> None:
    for layout, activations in (("mlp", 1), ("conv2x1", 2)):
        found = only(rows_of(layout=layout))
        for (d, depth), (w, width) in itertools.product(enumerate(DEPTHS), enumerate(WIDTHS)):
            lives = np.prod([1 - 0.5 ** (activations * width) for _ in range(depth)])
            assert found.formula["dead_points"][d, w] == pytest.approx(1 - lives)


def test_p_is_measured_in_layer_one_and_for_all_later_layers_in_layer_two() -> None:
    found = only(rows_of())
    for w, width in enumerate(WIDTHS):
        first, second = np.mean([counted(12, width, seed)[0][:2] for seed in SEEDS], axis=0)
        for d, depth in enumerate(DEPTHS):
            shares = [first] + [second] * (depth - 1)
            assert found.formula["dead_units"][d, w] == pytest.approx(np.mean(shares))
            assert found.formula["dead_layer"][d, w] == pytest.approx(1 - np.prod([1 - p**width for p in shares]))


def test_datasets_are_figures_of_their_own_and_layouts_share_one() -> None:
    rows = rows_of() + rows_of(layout="conv2x1") + rows_of(dataset={"noise": 0.1})
    plain, noisy = sorted(initialisations(table(rows)), key=lambda each: -len(each.layouts))
    assert [layout.layout for layout in plain.layouts] == ["mlp", "conv2x1"] and len(noisy.layouts) == 1
    assert plain.slug != noisy.slug and plain.slug.startswith("initialisation_moons_")
    (alone,) = initialisations(table(rows_of()))
    assert alone.slug == plain.slug  # what is added to the store renames nothing


def test_the_figure_has_a_row_a_measure_a_column_a_width_and_the_numbers_as_its_lines() -> None:
    (dataset,) = initialisations(table(rows_of() + rows_of(layout="conv2x1", widths=[2])))
    with plain_style():
        figure = initialisation_figure(dataset)
    axes = np.array(figure.axes).reshape(len(MEASURES), len(WIDTHS))
    assert [ax.get_title() for ax in axes[0]] == [f"width {width}" for width in WIDTHS]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == [
        "dead units",
        "points dead\nin some layer",
        "networks with\na dead layer",
    ]
    mlp = dataset.layouts[0]
    for (m, measure), w in itertools.product(enumerate(MEASURES), range(len(WIDTHS))):
        lines = {line.get_gid(): line for line in axes[m, w].lines}
        np.testing.assert_array_equal(lines["measured mlp"].get_xdata(), DEPTHS)
        np.testing.assert_allclose(lines["measured mlp"].get_ydata(), mlp.measured[measure].share[:, w])
        np.testing.assert_allclose(lines["formula mlp"].get_ydata(), mlp.formula[measure][:, w])
        assert lines["formula mlp"].get_linestyle() == "--" and lines["measured mlp"].get_linestyle() == "-"
        assert ("measured conv2x1" in lines) == (WIDTHS[w] == 2)
    both = {line.get_gid(): line for line in axes[0, 1].lines}
    assert both["measured mlp"].get_color() != both["measured conv2x1"].get_color()
    assert both["formula mlp"].get_color() == both["measured mlp"].get_color()
    figure.draw_without_rendering()
    ticks = {label for ax in figure.axes for label in (*ax.get_xticklabels(), *ax.get_yticklabels())}
    for text in {*figure.findobj(Text)} - ticks:
        box = text.get_window_extent()
        if text.get_text().strip():
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text


def test_the_caption_says_how_many_seeds_and_why_the_formulas_differ() -> None:
    (dataset,) = initialisations(table(rows_of(seeds=[0, 1]) + rows_of(depths=[4], seeds=[2])))
    caption = initialisation_caption(dataset)
    assert "2 to 3 seeds" in caption and "independent" in caption and "biases are zero" in caption
    assert "twice the width" not in caption
    (both,) = initialisations(table(rows_of() + rows_of(layout="conv2x1")))
    assert "twice the width" in initialisation_caption(both) and "float32" in initialisation_caption(both)


def test_the_same_bytes_are_written_whatever_the_rows_order(tmp_path: Path) -> None:
    rows = rows_of(depths=[1, 4], widths=[2])
    (dataset,), (again,) = initialisations(table(rows)), initialisations(table(rows[::-1]))
    assert dataset.slug == again.slug
    files = (
        save_figure(partial(initialisation_figure, each), tmp_path / name, each.slug)
        for each, name in ((dataset, "one"), (again, "two"))
    )
    for one, two in zip(*files, strict=True):
        assert one.read_bytes() == two.read_bytes()
