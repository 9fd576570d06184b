"""Figures of the inside, read back from their artists; and the files that the report writes."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kept_states import cell_of, kept, made_up, moons, stored
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.inspect.recorded_states import CURVE, RecordedStates, write_recorded_states
from jumpstart_exp.networks.build import parameter_shapes
from jumpstart_exp.report.figures.drawing import save_figure
from jumpstart_exp.report.inside.activations import accuracy_on, disagreement, layers_of, projected, surface
from jumpstart_exp.report.inside.dynamics import (
    census_figure,
    column_edges,
    dynamics_figure,
    letter_of,
    root_ticks,
)
from jumpstart_exp.report.inside.jobs import RecordedStatesWarning, inside_figures
from jumpstart_exp.report.inside.landscapes import landscapes_figure
from jumpstart_exp.report.inside.style import CLASS_COLOURS
from jumpstart_exp.report.inside.transforms import transforms_figure
from jumpstart_exp.result import CENSUS
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec


def lines_of(figure: Figure) -> dict[str, Any]:
    """Curves by what they show."""
    return {str(line.get_gid()): line for ax in figure.axes for line in ax.lines if line.get_gid()}


def test_curves_are_the_curves() -> None:
    snapshots = kept(cell_of())
    lines = lines_of(dynamics_figure(snapshots, 5.5))
    assert lines.keys() == {*CURVE} - {"epoch"}
    for name, line in lines.items():
        later = name in ("train_loss", "train_acc")
        assert line.get_xdata().tolist() == [epoch - later for epoch in range(1, 41)], name
        assert line.get_ydata() == pytest.approx(snapshots.column(name))
    assert lines["train_loss"].axes.get_yscale() == "log"
    assert {line.axes for line in lines.values()} == set(dynamics_figure_axes(lines))


def dynamics_figure_axes(lines: dict[str, Any]) -> list[Any]:
    """Losses above accuracies above the census."""
    above = [lines[name].axes for name in ("train_loss", "train_acc", "dead_units")]
    tops = [ax.get_subplotspec().rowspan.start for ax in above]
    assert tops == sorted(tops) == [0, 1, 2]
    return above


def test_a_penalty_of_nothing_has_no_place_on_a_logarithm() -> None:
    snapshots = made_up(cell_of(), [0.5] * 8, [0])
    snapshots.curve[3:, CURVE.index("penalty")] = 0
    assert lines_of(dynamics_figure(snapshots, 5.5))["penalty"].get_xdata().tolist() == [1, 2, 3]
    assert "penalty" not in lines_of(dynamics_figure(kept(cell_of("relu")), 5.5))


def test_surfaces_are_lettered_in_the_order_of_their_epochs() -> None:
    snapshots = kept(cell_of())
    figure = dynamics_figure(snapshots, 5.5)
    panels = [ax for ax in figure.axes if ax.images]
    assert 1 <= len(panels) <= 16
    letters = [text.get_text() for text in figure.axes[0].texts]
    epochs = [round(text.xy[0] * 40) for text in figure.axes[0].texts]
    assert letters == [letter_of(place) for place in range(len(panels))]
    assert epochs == sorted(epochs) and epochs[0] == 0 and epochs[-1] == 40
    for ax, letter, epoch in zip(panels, letters, epochs, strict=True):
        state = snapshots.epochs.tolist().index(epoch)
        probability, extent, accuracy = surface(snapshots, state, moons())
        assert ax.get_title() == f"({letter}) {epoch}: {accuracy:.2f}"
        assert np.asarray(ax.images[0].get_array()) == pytest.approx(probability)
        assert tuple(ax.images[0].get_extent()) == extent


def test_a_surface_has_the_points_in_their_colours_and_tells_validation_apart() -> None:
    ax = next(ax for ax in dynamics_figure(kept(cell_of()), 5.5).axes if ax.images)
    data = moons()
    seen = {}
    for place, scatter in enumerate(ax.collections):
        label = int(str(scatter.get_gid())[-1])
        is_training = place < 2
        seen[label, is_training] = np.asarray(scatter.get_offsets())
        face = to_hex(scatter.get_facecolor()[0])
        assert face == (CLASS_COLOURS[label].lower() if is_training else "#ffffff")
        assert is_training or to_hex(scatter.get_edgecolor()[0]) == CLASS_COLOURS[label].lower()
    for label in (0, 1):
        assert seen[label, True] == pytest.approx(data.x_train[data.y_train == label].numpy())
        assert seen[label, False] == pytest.approx(data.x_val[data.y_val == label].numpy())


def test_transforms_have_a_row_a_network() -> None:
    methods = ["relu", "relu_bn", "sep_l"]
    shown = [kept(cell_of(method)) for method in methods]
    figure = transforms_figure(shown, 5.5)
    axes = np.array(figure.axes).reshape(3, 5)
    assert [ax.get_title() for ax in axes[0]] == ["input", "layer 3", "layer 4", "features (layer 6)", "output"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["ReLU", "ReLU + BN", "Sep-L,\nno cross-entropy"]
    data = moons()
    for row, snapshots in enumerate(shown):
        layers = layers_of(snapshots, len(snapshots.epochs) - 1, data)
        for layer, ax in zip(layers, axes[row], strict=True):
            note = ax.get_xlabel().replace("\n", " ")
            assert f"{layer.distinct} of 85 points left" in note
            expected, variance = projected(layer.values)
            for label, scatter in enumerate(ax.collections):
                offsets = np.asarray(scatter.get_offsets())
                chosen = data.y_train.numpy() == label
                assert to_hex(scatter.get_facecolor()[0]) == CLASS_COLOURS[label].lower()
                assert offsets[:, 0] == pytest.approx(expected[chosen, 0])
                if layer.number <= 6:
                    assert offsets[:, 1] == pytest.approx(expected[chosen, 1])
                else:  # of the one logit: the class's own band
                    assert (np.abs(offsets[:, 1] - label) <= 0.31).all()
                left, right = ax.get_xlim()
                low, high = ax.get_ylim()
                assert ((left < offsets[:, 0]) & (offsets[:, 0] < right)).all()
                assert ((low < offsets[:, 1]) & (offsets[:, 1] < high)).all()
            if 1 <= layer.number <= 6:
                assert f"dead units: {layer.dead_units} of 4 dead points: {layer.dead_points}" in note
                assert (f"{variance:.0%} of the variance" in note) == (layer.distinct > 1)


def test_transforms_say_after_how_many_epochs() -> None:
    snapshots = kept(cell_of())
    assert "after 40 epochs" in str(transforms_figure([snapshots], 5.5).get_suptitle())
    kept_arrays = {name: getattr(snapshots, name)[:-1] for name in ("epochs", "parameters", "running", "census")}
    other = dataclasses.replace(snapshots, **kept_arrays)
    words = f"after {other.epochs[-1]} to 40 epochs"
    assert words in str(transforms_figure([snapshots, other], 5.5).get_suptitle())


def test_networks_of_other_depth_are_no_rows_of_one_figure() -> None:
    for together in ([], [kept(cell_of()), kept(cell_of(depth=5))]):
        with pytest.raises(ValueError, match="one dataset and depth"):
            transforms_figure(together, 5.5)


def test_a_small_figure_is_refused() -> None:
    for draw in (dynamics_figure, census_figure, lambda one, width: transforms_figure([one], width)):
        for width in (2.0, float("nan")):
            with pytest.raises(ValueError, match="width_inches"):
                draw(kept(cell_of()), width)


def test_the_census_by_layer_and_epoch() -> None:
    snapshots = kept(cell_of())
    figure = census_figure(snapshots, 5.5)
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title().replace(" ", "_") for ax in panels] == list(CENSUS)
    edges = np.sqrt(column_edges(snapshots.epochs.astype(float)))
    for place, ax in enumerate(panels):
        mesh = ax.collections[0]
        shown = np.asarray(mesh.get_array()).reshape(6, len(snapshots.epochs))
        assert shown == pytest.approx(snapshots.census[:, place].T), "layers upwards, epochs across"
        assert np.asarray(mesh.get_coordinates())[0, :, 0] == pytest.approx(edges)
        assert mesh.get_clim() == (0, 1)


def test_columns_reach_half_way() -> None:
    assert column_edges(np.array([0.0, 1, 5, 100])).tolist() == [0, 0.5, 3, 52.5, 100]
    assert column_edges(np.array([0.0])).tolist() == [0, 0.5]
    assert column_edges(np.array([7.0])).tolist() == [6.5, 7.5]


@pytest.mark.parametrize(
    ("last", "ticks"),
    [(17_000, [0, 1000, 4200, 9500, 17_000]), (1000, [0, 62, 250, 560, 1000]), (3, [0, 1, 2, 3]), (0, [0])],
)
def test_ticks_are_even_on_the_scale_of_roots(last: int, ticks: list[int]) -> None:
    assert root_ticks(last) == ticks


def test_letters() -> None:
    assert [letter_of(place) for place in (0, 25, 26, 27, 51, 52)] == ["a", "z", "aa", "ab", "az", "ba"]


def test_a_training_that_went_otherwise_says_so() -> None:
    snapshots = dataclasses.replace(kept(cell_of()), agreement="train_acc_best 0.5, stored 1")
    for figure in (dynamics_figure(snapshots, 5.5), census_figure(snapshots, 5.5), transforms_figure([snapshots], 5.5)):
        assert "otherwise than stored" in str(figure.get_suptitle())


def kinds(figures: list[tuple[str, Any]]) -> list[str]:
    return [name.partition("_")[0] for name, _ in figures]


def drawn(results_dir: Path, folder: Path, data_dir: Path = Path("nowhere")) -> dict[str, bytes]:
    """What the jobs write, by name."""
    table = pd.DataFrame({"key": [path.stem for path in (results_dir / "snapshots").glob("*.npz")]})
    figures = inside_figures(results_dir, table, data_dir)
    paths = [path for name, draw in figures for path in save_figure(draw, folder, name)]
    assert len(set(paths)) == len(paths)
    return {path.name: path.read_bytes() for path in paths}


def test_everything_kept_is_drawn_and_twice_the_same(tmp_path: Path) -> None:
    write_recorded_states(kept(cell_of()), tmp_path)
    one, other = (drawn(tmp_path, tmp_path / name) for name in ("one", "other"))
    assert one == other
    pictures = [name.partition("_")[0] for name in sorted(one) if name.endswith(".png")]
    assert pictures == ["census", "dynamics", "transforms"]
    assert {name.rpartition(".")[2] for name in one} == {"png", "pdf"}
    for name, content in one.items():
        assert content.startswith(b"\x89PNG" if name.endswith("png") else b"%PDF")
        assert name.endswith("png") or b"CreationDate" not in content


def test_rows_are_in_the_papers_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("sep_up", "relu_bn", "relu"):
        write_recorded_states(kept(cell_of(method)), tmp_path)
    seen: list[list[str]] = []

    def note(snapshots: list[RecordedStates], *_: Any) -> Figure:
        seen.append([one.cell.method for one in snapshots])
        return Figure()

    monkeypatch.setattr("jumpstart_exp.report.inside.jobs.transforms_figure", note)
    table = pd.DataFrame({"key": [cell_of(method).key for method in ("sep_up", "relu_bn", "relu")]})
    figures = [*inside_figures(tmp_path, table)]
    assert kinds(figures) == ["transforms"] + ["dynamics", "census"] * 3
    figures[0][1]()
    assert seen == [["relu", "relu_bn", "sep_up"]]


def test_what_cannot_be_used_is_named_and_left_out(tmp_path: Path) -> None:
    write_recorded_states(kept(cell_of()), tmp_path)
    (tmp_path / "snapshots" / f"{'0' * 32}.npz").write_bytes(b"PK")
    (tmp_path / "snapshots" / ".half.npz.tmp").write_bytes(b"")
    stranger = kept(cell_of("relu"))
    write_recorded_states(stranger, tmp_path)
    table = pd.DataFrame({"key": [cell_of().key, "0" * 32]})
    with pytest.warns(RecordedStatesWarning) as caught:
        figures = [*inside_figures(tmp_path, table)]
    said = [str(warning.message) for warning in caught]
    assert len(said) == 2
    assert any("0" * 32 in line and "left out" in line for line in said)
    assert any(stranger.cell.key in line and "no such cell" in line for line in said)
    assert len(figures) == 3


def test_no_snapshots_are_no_figures(tmp_path: Path) -> None:
    assert not [*inside_figures(tmp_path, pd.DataFrame({"key": []}))]


def test_images_without_their_files_have_no_transforms(tmp_path: Path) -> None:
    """The rest is drawn: it needs no point."""
    cell = cell_of(
        "relu", dataset=Mnist(), depth=3, network=NetworkSpec(layout="cnn"), optimizer=OptimizerSpec(epochs=2)
    )
    real = kept(cell_of("relu", depth=3))
    count = sum(int(np.prod(shape)) for shape in parameter_shapes(cell).values())
    snapshots = dataclasses.replace(
        real,
        cell=cell,
        epochs=np.array([0, 2]),
        parameters=np.zeros((2, count), np.float32),
        running=np.zeros((2, 2, 3, 0), np.float32),
        census=real.census[:2],
        curve=real.curve[:2],
    )
    write_recorded_states(snapshots, tmp_path)
    with pytest.warns(RecordedStatesWarning, match="mnist are not drawn") as caught:
        figures = [*inside_figures(tmp_path, pd.DataFrame({"key": [cell.key]}), tmp_path / "nowhere")]
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    assert kinds(figures) == ["dynamics", "census"]
    for name, draw in figures:
        assert len(save_figure(draw, tmp_path, name)) == 2
    assert not any(ax.images for ax in dynamics_figure(snapshots, 5.5, tmp_path).axes)
    with pytest.raises(DataError):
        transforms_figure([snapshots], 5.5, tmp_path / "nowhere")


def test_a_hostile_label_is_drawn_as_text(tmp_path: Path) -> None:
    label = "$\\frac{1}{0}$ </script>\x1b[31m\n../../" + "x" * 300
    snapshots = made_up(cell_of(label), [0.5, 1.0], [0, 2])
    write_recorded_states(snapshots, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = inside_figures(tmp_path, pd.DataFrame({"key": [snapshots.cell.key]}))
        drawn_figures = [(name, draw) for name, draw in figures if not name.startswith("dynamics")]
        files = [path.name for name, draw in drawn_figures for path in save_figure(draw, tmp_path / "figures", name)]
    assert len(files) == 4
    assert all(path.parent == tmp_path / "figures" for path in (tmp_path / "figures").iterdir())
    assert all(name.isascii() and len(name) < 200 for name in files)


def test_seeds_are_figures_of_their_own_and_methods_rows(tmp_path: Path) -> None:
    cells = [cell_of(), cell_of("relu"), cell_of(seed=1), cell_of("sep_l")]
    store = stored(tmp_path, cells)
    figures = [*inside_figures(tmp_path, store.cells())]
    # that without cross-entropy is another experiment
    assert kinds(figures) == ["transforms"] * 3 + ["landscapes"] + ["dynamics", "census"] * 4
    (drawn,) = [draw() for name, draw in figures if name.startswith("landscapes")]
    assert [ax.get_title()[:6] for ax in drawn.axes if ax.images] == ["seed 0", "seed 1"]
    assert len({name for name, _ in figures}) == len(figures)


def test_seeds_disagree_where_their_classes_differ() -> None:
    """Of three networks the pairs differ at 1, 2 and 3 of four points; a probability of a half is of class 0."""
    planes = [
        np.array([[0.1, 0.9], [0.5, 0.2]]),
        np.array([[0.1, 0.9], [0.6, 0.2]]),
        np.array([[0.8, 0.1], [0.1, 0.1]]),
    ]
    assert disagreement(planes) == pytest.approx(((1 + 2 + 3) / 3 / 4, 1 / 4, 3 / 4))
    assert disagreement([*planes, np.full((2, 2), np.nan)]) == disagreement(planes), "one that diverged decides nothing"
    assert disagreement(planes[:1]) is None
    with pytest.raises(ValueError, match="same grid"):
        disagreement([planes[0], np.zeros(4)])


def test_landscapes_are_of_the_last_state_of_every_seed() -> None:
    states = [kept(cell_of("relu", seed=seed)) for seed in (0, 1, 2)]
    figure = landscapes_figure(states, 5.5)
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 3
    data, found = moons(), []
    for ax, one in zip(panels, states, strict=True):
        probability, extent, accuracy = surface(one, -1, data, 120)
        found.append(probability)
        assert np.asarray(ax.images[0].get_array()) == pytest.approx(probability)
        assert ax.images[0].get_extent() == pytest.approx(list(extent))
        validation = accuracy_on(one, -1, data.x_val, data.y_val)
        assert ax.get_title() == f"seed {one.cell.seed}\n{accuracy:.3f} / {validation:.3f}"
        assert accuracy == accuracy_on(one, -1, data.x_train, data.y_train)
        crosses = probability.min() < 0.5 < probability.max()
        boundary = [each for each in ax.collections if not str(each.get_gid()).startswith("class")]
        assert bool(boundary) == crosses, "a boundary where there is one"
    title = figure.get_suptitle()
    share = disagreement(found)
    assert share is not None and "3 seeds" in title
    assert "two seeds decide {:.1%} ({:.1%} to {:.1%}) of the plane differently".format(*share) in title
    assert "differently" not in landscapes_figure(states[:1], 5.5).get_suptitle()
    other = made_up(cell_of("relu", seed=9), [0.5] * 40, [40], agreement="train_acc_last")
    assert "trained again, otherwise than stored" in landscapes_figure([*states, other], 5.5).get_suptitle()


def test_a_network_without_an_answer_has_no_accuracy() -> None:
    states = [kept(cell_of("relu", seed=seed)) for seed in (0, 1)]
    lost = dataclasses.replace(
        states[1], parameters=np.full_like(states[1].parameters, np.nan), diverged_epoch=7, epochs=states[1].epochs
    )
    figure = landscapes_figure([states[0], lost], 5.5)
    assert [ax.get_title() for ax in figure.axes if ax.images][1] == "seed 1, diverged\n– / –"
    assert "differently" not in figure.get_suptitle()


def test_landscapes_refuse_unlike_networks_and_data_without_a_plane() -> None:
    with pytest.raises(ValueError, match="nothing but the seed"):
        landscapes_figure([kept(cell_of("relu")), kept(cell_of("sep_up"))], 5.5)
    with pytest.raises(ValueError, match="nothing but the seed"):
        landscapes_figure([], 5.5)
