"""The benchmark: its arithmetic, its baselines, and what a quick run writes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from benchmark import contenders, grid
from benchmark.grid import DEPTHS, EPOCHS, GRID, NETWORKS, WIDTHS, Shape, Spread
from benchmark.overhead import sweep_of
from benchmark.plan import Plan
from benchmark.report import Measured, summary
from plain_torch import DIMENSIONS, PENALTIES, Training, Way, moons
from vmap_torch import Ensemble

from jumpstart_exp.data.loading import load
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.losses.separation import SeparationPenalty
from jumpstart_exp.networks.build import build, count_parameters
from jumpstart_exp.result import Result

SCRIPTS = Path(__file__).parents[1] / "scripts"
KINDS = {"sep_u": "U", "sep_p": "P", "sep_up": "UP"}


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def affine(shape):
    """A cost that is affine in depth, with another slope and intercept for every width."""
    return 0.3 + shape.width**2 * 1e-2 + shape.depth * (0.05 + 0.002 * shape.width**1.5)


def test_a_cost_that_is_affine_in_depth_is_interpolated_exactly():
    timed = {shape: affine(shape) for shape in grid.subgrid((1, 10, 150), WIDTHS)}
    filled = grid.interpolate(timed, (1, 10, 150), WIDTHS)
    assert filled == pytest.approx({shape: affine(shape) for shape in GRID})
    assert grid.core_seconds(filled) == pytest.approx(5000 * sum(affine(shape) for shape in GRID))


def test_between_widths_the_cost_is_linear_too_and_what_was_timed_stays():
    def bilinear(shape):
        return 1 + shape.depth * shape.width

    timed = {shape: bilinear(shape) for shape in grid.subgrid((1, 50, 150), (1, 5, 25))} | {Shape(10, 3): 77.0}
    filled = grid.interpolate(timed, (1, 50, 150), (1, 5, 25))
    assert filled == pytest.approx({shape: bilinear(shape) for shape in GRID} | {Shape(10, 3): 77.0})


def test_nothing_is_extrapolated():
    timed = dict.fromkeys(GRID, 1.0)
    with pytest.raises(ValueError, match="never extrapolated"):
        grid.interpolate(timed, (1, 100), WIDTHS)
    with pytest.raises(ValueError, match="never extrapolated"):
        grid.interpolate(timed, DEPTHS, (2, 25))


def test_the_grid_is_the_published_one():
    assert len(GRID) == len(set(GRID)) == 216
    assert set(NETWORKS) <= set(GRID)


@pytest.mark.parametrize("shape", [Shape(1, 1), Shape(1, 25), *NETWORKS])
def test_weights_are_all_parameters_of_the_network(shape):
    cell = contenders.cell_of(shape, EPOCHS)
    assert grid.weights(shape) == count_parameters(build(cell))
    assert grid.step_operations(shape) == 6 * cell.dataset.sizes()[0] * grid.weights(shape)


def test_spread_and_ratios():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
    assert grid.ratios({"plain": 50.0, "native": 2.0}) == {"plain / native": 25.0}
    assert grid.ratios({"plain": 50.0}) == {}


def test_which_networks_in_words():
    assert grid.which(GRID) == "all 216"
    assert grid.which(grid.subgrid((1, 50), WIDTHS)) == "18 of 216 (depth 1,50 × every width)"
    assert grid.which([Shape(50, 4), Shape(1, 3), Shape(50, 3)]) == "3 of 216 (depth 1 × width 3; depth 50 × width 3,4)"


def test_the_baselines_train_on_the_published_points():
    data = load(Moons(), Path("data"))
    for ours, published in zip(moons(), (data.x_train, data.y_train, data.x_val, data.y_val), strict=True):
        assert torch.equal(ours, published.float())


@pytest.mark.parametrize("form", PENALTIES)
@pytest.mark.parametrize("method", KINDS)
def test_the_baselines_penalty_is_the_formula_with_the_lowest_index_of_ties(method, form):
    generator = torch.Generator().manual_seed(3)
    layers = [torch.randint(-3, 4, (11, 4), generator=generator).double() / 4 for _ in range(5)]  # full of ties
    gradients = []
    for penalty in (lambda g: PENALTIES[form](g, DIMENSIONS[method]), SeparationPenalty(KINDS[method])):
        g = [layer.clone().requires_grad_() for layer in layers]
        value = penalty(g)
        gradients.append((value, *torch.autograd.grad(value, g)))
    for ours, reference in zip(*gradients, strict=True):
        assert torch.allclose(ours, reference, rtol=1e-12, atol=0)
    assert gradients[0][0] > 0


@pytest.mark.parametrize("form", PENALTIES)
def test_plain_and_vmapped_loss_and_gradient_are_those_of_the_package(form, one_thread):
    shape, way = Shape(6, 3), Way(form, "fused")
    cell = contenders.cell_of(shape, EPOCHS)
    network, data = build(cell), load(cell.dataset, Path("data"))
    logits, pre_activations = network(data.x_train.float())
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], data.y_train.float())
    loss = loss + cell.penalty_weight * SeparationPenalty("UP")(pre_activations)
    reference = dict(zip(network.state_dict(), torch.autograd.grad(loss, list(network.parameters())), strict=True))

    plain = Training(*shape, "sep_up", way)
    plain.network.load_state_dict(network.state_dict())
    plain.loss().backward()
    ensemble = Ensemble(*shape, "sep_up", 2, way)
    for name, stacked in ensemble.parameters.items():
        stacked[1] = network.state_dict()[name]
    vmapped = ensemble.gradient(ensemble.parameters)

    assert plain.loss().item() == pytest.approx(loss.item(), rel=1e-6)
    for name, gradient in reference.items():
        scale = gradient.abs().max().item()
        assert torch.allclose(plain.network.get_parameter(name).grad, gradient, rtol=0, atol=1e-5 * scale)
        assert torch.allclose(vmapped[name][1], gradient, rtol=0, atol=1e-5 * scale)


def test_a_busy_machine_is_timed_on_fewer_networks():
    idle, busy, full = Plan(quick=True), Plan(quick=True), Plan(quick=False)
    idle.hurry(9.0), busy.hurry(30.0), full.hurry(300.0)
    assert idle.shapes("native") == full.shapes("native") == GRID
    assert len(busy.shapes("native")) == 36 and set(NETWORKS) <= set(busy.shapes("native"))
    for plan in (idle, busy, full):
        for name in ("plain", "vmap", "native"):
            timed = {shape: affine(shape) for shape in plan.shapes(name)}
            assert plan.filled(name, timed).keys() == set(GRID)


def test_the_summary_counts_the_whole_grid_and_shares_of_the_peak():
    plan = Plan(quick=False)
    steps = {
        "plain": {shape: [0.02, 0.03, 0.9] for shape in plan.shapes("plain")},
        "native": {shape: [0.001] * 3 for shape in GRID},
        "stacked": {shape: [0.01] * 3 for shape in NETWORKS},
    }
    found = summary(plan, Measured(steps, grids={"stacked": [1e4, 3e4, 2e4]}, matmul=[2e9, 1e9, 4e9]))
    assert found["rounds"] == 3
    assert found["grid"] == pytest.approx({"plain": 216 * 5000 * 0.03, "native": 216 * 5000 * 0.001, "stacked": 2e4})
    assert found["ratios"] == pytest.approx({"plain / native": 30.0, "stacked / native": 2e4 / 1080})
    assert found["peak_fraction"]["50x4"]["native"] == pytest.approx(grid.step_operations(Shape(50, 4)) / 0.001 / 2e9)
    assert found["grid_sampled"]["plain"] == pytest.approx(
        {"median": 216 * 5000 * 0.03, "low": 216 * 5000 * 0.02, "high": 216 * 5000 * 0.9, "rounds": 3}
    )
    assert found["interpolated"]["native"] == found["interpolated"]["stacked"] == []
    assert len(found["timed"]["plain"]) == 36 and len(found["interpolated"]["plain"]) == 180


class FakeEngine:
    """Takes 3 s to start and 0.02 s an epoch for every network, on a clock that tests can read."""

    def __init__(self, diverge_after=None):
        self.now, self.calls, self.diverge_after = 0.0, [], diverge_after

    def train(self, cells, data, *, on_result, on_progress):
        self.calls.append((len(cells), cells[0].optimizer.epochs))
        self.now += 3.0
        for cell in cells:
            epochs = min(cell.optimizer.epochs, self.diverge_after or cell.optimizer.epochs)
            self.now += 0.02 * epochs
            status = "done" if epochs == cell.optimizer.epochs else "diverged"
            on_result(Result(cell, status, "fake", epochs_run=epochs))


@pytest.fixture
def fake(monkeypatch):
    engine = FakeEngine()
    monkeypatch.setattr(contenders.time, "process_time", lambda: engine.now)
    return engine


def test_an_engine_is_timed_by_what_more_epochs_add(fake):
    trained = contenders.Trained("fake", fake, stride=50, words="")
    assert trained.sample(Shape(10, 3), 30.0) == pytest.approx(0.02)
    assert all(epochs % 50 == 0 for _, epochs in fake.calls)
    lengths = [epochs for _, epochs in fake.calls]
    assert 0.02 * (max(lengths) - min(lengths)) >= 15


def test_an_engine_is_never_timed_for_longer_than_a_published_training(fake):
    trained = contenders.Trained("fake", fake, stride=50, words="")
    assert trained.sample(Shape(10, 3), 1e6) == pytest.approx(0.02)
    assert max(epochs for _, epochs in fake.calls) == EPOCHS


def test_a_network_that_diverges_is_charged_for_the_steps_it_took(fake):
    fake.diverge_after = 400
    trained = contenders.Trained("fake", fake, stride=50, least_strides=20, words="")
    assert trained.sample(Shape(10, 3), 1.0) == pytest.approx(0.02)


def test_the_size_of_an_ensemble_is_the_fastest_one_and_said(fake):
    trained = contenders.Trained("fake", fake, stride=1, step_seconds=1e9, words="many")
    assert trained.sample(Shape(10, 3), 1.0) == pytest.approx(0.02)
    assert {networks for networks, _ in fake.calls} == set(contenders.ENSEMBLES)
    fake.calls.clear()
    trained.sample(Shape(10, 3), 1.0)
    assert len({networks for networks, _ in fake.calls}) == 1
    assert trained.about() in [f"many, {networks} equal networks at once" for networks in contenders.ENSEMBLES]


def test_a_failed_network_stops_the_benchmark(fake):
    def fails(cells, data, *, on_result, on_progress):
        on_result(Result(cells[0], "failed", "fake", error="no memory"))

    fake.train = fails
    fake.name = "fake"
    with pytest.raises(contenders.BenchmarkError, match="fake failed on sep_up 10×3 seed 0: no memory"):
        contenders.train_seconds(fake, [contenders.cell_of(Shape(10, 3), 50)])


def test_the_sweep_whose_overhead_is_measured_has_cells_enough():
    for count in (1, 432, 433, 20_000):
        seeds = int(sweep_of(count)[0].removeprefix("seed=range(0,").removesuffix(")"))
        assert 432 * (seeds - 1) < count <= 432 * seeds


@pytest.mark.soak
def test_a_quick_run_writes_everything_and_says_what_was_timed(tmp_path):
    command = [sys.executable, str(SCRIPTS / "bench.py"), "--quick", "--rounds", "2", "--json", "out/bench.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "bench.json").read_text())
    names = set(report["grid"])
    assert names | set(report["missing"]) >= {"plain", "vmap", "stacked", "native"}
    assert report["threads"] == 1 and report["machine"]["torch"] == torch.__version__
    assert report["matmul"]["gflops"]["median"] > 1
    for name in names:
        timed, interpolated = report["timed"][name], report["interpolated"][name]
        assert sorted([*timed, *interpolated]) == sorted(map(str, GRID))
        assert set(report["networks"]) <= set(timed)
        assert report["grid"][name] > 0
        assert report["grid_sampled"][name]["rounds"] == report["rounds"] >= 1
        assert 0 < report["peak_fraction"]["grid"][name] < 1
        for spread in report["milliseconds"][name].values():
            assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    if "native" in names:
        assert len(report["timed"]["native"]) >= 36
        assert report["ratios"]["plain / native"] == pytest.approx(report["grid"]["plain"] / report["grid"]["native"])
    parts = report["overhead"]["per_1000"]
    assert parts["total"] == pytest.approx(sum(parts[part] for part in report["overhead"]["parts"]))
    assert report["overhead"]["peak_bytes"] > 50e6
    assert (tmp_path / "results" / "figures" / "bench.png").stat().st_size > 10_000
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["figures"]
    for name in names:
        assert name in done.stdout
