"""Figures of the trainings on the strip, of states in which the answer is known."""

import contextlib
import dataclasses
import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from stored_tables import row, table

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.studies import study_cells
from jumpstart_exp.data.loading import load
from jumpstart_exp.inspect.recorded_states import CURVE, RecordedStates, packed, write_recorded_states
from jumpstart_exp.networks.build import build, initial_parameters
from jumpstart_exp.report.geometry.strip import (
    StripTraining,
    density_figure,
    gradient_norms,
    growth_figure,
    limits_figure,
    widths_figure,
)
from jumpstart_exp.report.papers.drawn import paper_commands, write_paper_figure
from jumpstart_exp.report.papers.figures import FIGURES, PaperError

WIDTH = 5.5
SHARES = (1.0, 0.5, 0.25, 0.0)
"""Of the way to the y-axis that are left at the kept states."""


def states_of(cell: Cell, agreement: str = "") -> RecordedStates:
    """A training that moves the hyperplane straight to the y-axis, and makes its normal twice as long."""
    begins, rows = initial_parameters(cell), []
    for share in SHARES:
        state = dict(begins)
        factor = 2 - share
        state["hidden.0.weight"] = factor * begins["hidden.0.weight"]
        state["hidden.0.bias"] = factor * share * begins["hidden.0.bias"]
        rows.append(packed(state, cell)[0])
    curve = np.full((3, len(CURVE)), 0.5)
    curve[:, 0], curve[:, CURVE.index("train_loss")] = [1, 1001, cell.optimizer.epochs], [2.0, 1.0, 0.1]
    return RecordedStates(
        cell=cell,
        engine="native",
        device="cpu",
        diverged_epoch=None,
        agreement=agreement,
        asked=4,
        epochs=np.array([0, 1000, 2000, cell.optimizer.epochs]),
        parameters=np.stack(rows),
        running=np.ones((4, 2, cell.depth, 0)),
        census=np.zeros((4, 6, cell.depth)),
        curve=curve,
    )


def of_study(name: str) -> list[RecordedStates]:
    return [states_of(cell) for cell in study_cells(name, "paper")]


def lines(ax: Axes) -> dict[str, NDArray[np.float64]]:
    return {str(line.get_gid()): np.asarray(line.get_xydata(), np.float64) for line in ax.lines if line.get_gid()}


def axes_of(figure: Figure) -> list[Axes]:
    """The panels, of which every line is seen, if any of it is above 0 on a logarithmic axis, and every text read."""
    figure.canvas.draw()
    for ax in figure.axes:
        for line in ax.lines:
            x, y = np.asarray(line.get_xydata(), np.float64).T
            (left, right), (low, high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
            assert not line.get_gid() or ((x >= left) & (x <= right) & (y >= low) & (y <= high)).any(), line.get_gid()
        assert not any("$" in text.get_text() for text in [*ax.get_xticklabels(), *ax.get_yticklabels(), *ax.texts])
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def test_a_training_is_read_as_its_network_decides() -> None:
    """Where torch's network changes its mind, also where the outputs' biases and a second layer shift the boundary."""
    (cell,) = study_cells("geometry_15", "paper")
    states = states_of(cell)
    random = np.random.default_rng(3)
    states = dataclasses.replace(states, parameters=states.parameters + random.normal(size=states.parameters.shape) / 5)
    run = StripTraining(states)
    x, y = (np.arange(1500) + 0.5) / 25 - 30, (np.arange(40) + 0.5) / 20 - 1
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    for state in range(len(SHARES)):
        with torch.no_grad():
            outputs = states.network(state)(torch.from_numpy(points))[0]
        wrong = (outputs.argmax(1).numpy() == 1) != (points[:, 0] > 0)
        assert run.area[state] == pytest.approx(wrong.mean() * 120, abs=0.1)
    assert run.norm(2)[0] == np.abs(states.network(0).output.weight.detach().numpy()).max()
    moons = dataclasses.replace(cell, dataset=Cell().dataset)
    with pytest.raises(ValueError, match="networks of one unit a layer on it"):
        StripTraining(dataclasses.replace(states, cell=moons))


def test_figure_13_has_the_points_the_field_and_the_areas() -> None:
    states = of_study("geometry_13")
    figure = density_figure(states, WIDTH)
    begin, many, field, end, areas, rate, distance = axes_of(figure)
    # the slanted hyperplane through (2, 0) cuts off as much as a vertical one, 2 of 2 high
    for n in (25, 50, 200, 800, 3200):
        found = lines(areas)[f"area {n}"]
        np.testing.assert_allclose(found[:3], [[0, 4], [1000, 2], [2000, 1]], atol=1e-12)
        assert found[3, 1] == pytest.approx(0.3 / 2 * 2)  # through the origin, two triangles 0.3 wide and 1 high
    hyperplane = lines(begin)
    np.testing.assert_allclose(hyperplane["hyperplane +0"], [[2.3, -1], [1.7, 1]], atol=1e-12)
    beside = hyperplane["hyperplane +1"][0] - [2.3, -1]
    normal = 25 * np.array([1, 0.3]) / math.sqrt(1.09)
    assert math.tanh(normal @ beside / 2) == pytest.approx(0.95), "the activation is σ(1 · normal · x)"
    np.testing.assert_allclose(lines(end)["hyperplane +0"], [[0.3, -1], [-0.3, 1]], atol=1e-12)
    assert [len(ax.collections[0].get_offsets()) + len(ax.collections[1].get_offsets()) for ax in (begin, many)] == [
        50,
        800,
    ]
    shown = np.asarray(field.images[0].get_array())
    assert shown.shape == (101, 301)
    row_at, column_at = np.unravel_index(shown.argmax(), shown.shape)
    x, y = -3 + 6 * column_at / 300, -1 + 2 * row_at / 100
    assert 0 < 2 - 0.3 * y - x < 0.2, "slightly to the left of the hyperplane, as the paper says"
    np.testing.assert_allclose(lines(rate)["rate"][:2], [[500, 0.002], [1500, 0.001]], rtol=1e-9)
    (few,) = [one for one in states if one.cell.dataset.sizes()[0] == 50]
    points = load(few.cell.dataset, Path()).x_train.numpy()
    expected = np.abs(points @ normal / 25 - 2 / math.sqrt(1.09)).min()
    assert lines(distance)["distance"][0, 1] == pytest.approx(expected)
    assert "Strip, 1×1, seed 0" in figure.get_suptitle()
    with pytest.raises(ValueError, match="figure 13 takes trainings with 50 and with 800 points"):
        density_figure([one for one in states if one is not few], WIDTH)


def test_figure_14_has_areas_losses_and_gradients_of_vertical_hyperplanes() -> None:
    states = of_study("geometry_14")
    figure = widths_figure(states, WIDTH)
    area, loss, weights, bias = axes_of(figure)
    assert [*lines(area)] == [f"area {norm}" for norm in (1, 2, 5, 10, 25, 50, 100)]
    np.testing.assert_allclose(lines(loss)["loss 5"], [[1000, 1.0], [299999, 0.1]])
    run = StripTraining(states[0])
    data = load(states[0].cell.dataset, Path())
    at, norms = gradient_norms(run, data.x_train.numpy(), data.y_train.numpy())
    network = build(states[0].cell)
    for slope, place in ((1, 70), (8, 100)):
        with torch.no_grad():
            network.hidden[0].weight.copy_(torch.tensor([[float(slope), 0.0]]))  # type: ignore[operator, union-attr]
            network.hidden[0].bias.copy_(torch.tensor([-slope * at[place]]))  # type: ignore[operator, union-attr]
            network.output.weight.copy_(torch.tensor([[-3.0], [3.0]]))
            network.output.bias.zero_()
        network.zero_grad()
        F.cross_entropy(network(data.x_train)[0], data.y_train).backward()  # type: ignore[no-untyped-call]
        index = (1, 2, 4, 8, 16).index(slope)
        for kind, name, ax in ((0, "weight", weights), (1, "bias", bias)):
            expected = getattr(network.hidden[0], name).grad.norm().item()
            assert norms[index, kind, place] == pytest.approx(expected, rel=1e-9)
            assert lines(ax)[f"{'Ab'[kind]} {slope}"][place].tolist() == [at[place], norms[index, kind, place]]
    twice = dataclasses.replace(states[1], cell=states[0].cell)
    with pytest.raises(ValueError, match="takes one training of each kind"):
        widths_figure([states[0], twice], WIDTH)


def test_figure_15_has_the_rows_of_every_layer() -> None:
    norms, area = axes_of(growth_figure(of_study("geometry_15"), WIDTH))
    assert lines(norms)["norm 1"][:, 1].tolist() == pytest.approx([1, 1.5, 1.75, 2])
    assert {*lines(norms)["norm 2"][:, 1], *lines(norms)["norm 3"][:, 1]} == {3}
    np.testing.assert_allclose(lines(area)["area"][:2], [[0, 50], [1000, 25]], atol=1e-9)


def test_figure_16_names_what_keeps_rows_short() -> None:
    figure = limits_figure(of_study("geometry_16"), WIDTH)
    norm, area, b, loss = axes_of(figure)
    labels = [text.get_text() for text in norm.get_legend().get_texts()]  # type: ignore[union-attr]
    assert labels == ["standard", "λ = 0.003", "λ = 0.01", "κ = 1.5", "κ = 3"]
    np.testing.assert_allclose(lines(norm)["norm hyperplane_limit_3"][:, 1], [1, 1.5, 1.75, 2])
    np.testing.assert_allclose(lines(area)["area hyperplane"][:2, 1], [50, 25])
    begins = 25 / math.sqrt(1.09)
    np.testing.assert_allclose(lines(b)["b hyperplane"][:, 1], [begins, 0.75 * begins, 1.75 / 4 * begins, 0])
    np.testing.assert_allclose(lines(loss)["loss hyperplane"], [[0, 2], [1000, 1], [299999, 0.1]])


def test_a_figure_of_the_strip_takes_the_lowest_seed_that_has_every_network(tmp_path: Path) -> None:
    def stored(seed: int, leave_out: int) -> list[dict[str, Any]]:
        cells = [
            dataclasses.replace(cell, seed=seed, dataset=dataclasses.replace(cell.dataset, random_state=seed))
            for cell in study_cells("geometry_13", "paper")
        ]
        for number, cell in enumerate(cells):
            if number != leave_out:
                write_recorded_states(states_of(cell), tmp_path)
        return [row(cell, 0.9) for cell in cells]

    rows = stored(2, leave_out=1)
    with pytest.raises(PaperError) as caught:
        write_paper_figure("geometry-13", tmp_path, table(rows), tmp_path / "figures", dpi=40)
    assert "no snapshots of its networks are stored in" in str(caught.value)
    assert paper_commands(FIGURES["geometry-13"]) == (
        "python -m jumpstart_exp -m +experiment=geometry_13 seed=0",
        "python -m jumpstart_exp.inspect study=geometry_13 method=hyperplane",
        "python -m jumpstart_exp.report figure=geometry-13",
    )
    rows += stored(5, leave_out=-1)
    written = write_paper_figure("geometry-13", tmp_path, table(rows), tmp_path / "figures", dpi=40)
    assert [path.name for path in written] == ["geometry-13.png", "geometry-13.pdf"]
    assert _says(written[1], "seed 5")


def _says(pdf: Path, words: str) -> bool:
    """Whether the PDF shows the words as text, by its own operators."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf.read_bytes(), re.DOTALL)
    found = b""
    for stream in streams:
        with contextlib.suppress(zlib.error):
            for array, single in re.findall(
                rb"\[((?:[^\]\\]|\\.)*)\]\s+TJ|(\((?:[^()\\]|\\.)*\))\s+Tj", zlib.decompress(stream)
            ):
                found += b"".join(re.findall(rb"\(((?:[^()\\]|\\.)*)\)", array or single))
    return words.encode() in found.replace(b"\0", b"")
