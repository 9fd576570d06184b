"""The papers' figures by name: what is drawn of which rows, what is said where rows are missing, and the files."""

import dataclasses
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from stored_tables import parameters, row, table

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.entries import EntryError
from jumpstart_exp.config.studies import STUDIES, study_cells
from jumpstart_exp.inspect.recorded_states import CURVE, RecordedStates, write_recorded_states
from jumpstart_exp.networks.build import parameter_shapes
from jumpstart_exp.report.figures.drawing import plain_style
from jumpstart_exp.report.geometry.computed import COMPUTED
from jumpstart_exp.report.papers.drawn import (
    draw_paper_figure,
    paper_commands,
    write_computed_figure,
    write_paper_figure,
)
from jumpstart_exp.report.papers.figures import FIGURES, PAPERS, PaperError, PaperSource, paper_source, read_figures

CONF = Path(__file__).parents[3] / "conf" / "experiment"


def accuracy(of: Cell) -> float:
    """Another one for every network and seed."""
    learned = {"relu": 0.0, "relu_bn": 0.1, "sep_up": 0.2}.get(of.method, 0.15)
    return 0.55 + of.depth / 5000 + of.width / 2000 + learned + 0.002 * of.seed


def study_rows(name: str, variant: str = "paper", seeds: Sequence[int] = (0,), **only: Any) -> list[dict[str, Any]]:
    """Rows of a study's cells; `only` are the values of fields that are wanted."""
    wanted = [c for c in study_cells(name, variant) if all(getattr(c, key) in of for key, of in only.items())]
    unseeded = {dataclasses.replace(cell, seed=0): None for cell in wanted}
    cells = [dataclasses.replace(cell, seed=seed) for cell in unseeded for seed in seeds]
    rows = [row(cell, accuracy(cell)) for cell in cells]
    for each in rows:
        each |= {f"{metric}_{at_epoch}": 0.25 for metric in ("train_loss", "val_loss") for at_epoch in ("best", "last")}
    return rows


def drawn(name: str, rows: list[dict[str, Any]], at_epoch: str = "best", variant: str | None = None) -> Figure:
    source = paper_source(FIGURES[name], table(rows), variant)
    assert source is not None
    with plain_style():
        return draw_paper_figure(FIGURES[name], source, at_epoch)


def source_of(name: str, rows: list[dict[str, Any]], variant: str | None = None) -> PaperSource | None:
    return paper_source(FIGURES[name], table(rows), variant)


def panels(figure: Figure) -> dict[str, Axes]:
    """Panels by their sub-captions."""
    axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>" and ax.get_visible()]
    return {ax.get_xlabel().split("\n")[1]: ax for ax in axes}


def shown(ax: Axes) -> np.ndarray:
    return np.ma.filled(ax.collections[0].get_array(), np.nan)


def test_every_figure_and_table_of_the_papers_has_a_name() -> None:
    assert set(FIGURES) == {
        *(f"cpaior-{n}" for n in (2, 3, 4)),
        *(f"iclr-{n}" for n in range(1, 13)),
        *(f"sepcons-{n}" for n in range(1, 9)),
        *(f"rai-{n}" for n in range(2, 6)),
        *(f"geometry-{n}" for n in range(2, 19)),
        *("cpaior-table-1", "iclr-table-1", "sepcons-table-2", "geometry-table-statements"),
    }


def test_each_figure_s_methods_are_those_of_its_study_and_bear_the_paper_s_names() -> None:
    for figure in FIGURES.values():
        for study, labels in figure.shows.items():
            swept = re.search(r"^ +method: ([\w,.-]+)$", (CONF / f"{study}.yaml").read_text(), re.MULTILINE)
            if swept:  # the others take theirs from another study
                assert {*labels} <= {*swept[1].split(",")}
    names = {name: [title for _, title in own.methods] for name, own in FIGURES.items() if not own.is_computed}
    assert names["cpaior-2"] == ["Baseline", "Jumpstart"]
    assert names["iclr-1"] == ["ReLU", "ReLU + BN", "Sep-UP"]
    assert names["sepcons-1"] == ["ReLU", "ReLU + BN", "Sep-P+U", "Sep-U", "Sep-P", "Sep-L"]
    assert names["sepcons-table-2"] == ["ReLU", "ReLU + BN", "Sep-L", "Sep-P", "Sep-U", "Sep-P+U"]


FIGURE = """
- name: iclr-1
  paper: ICLR
  place: figure 1
  kind: heatmaps
  shows: {iclr_moons: [relu]}
  caption: what
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: heatmaps", "kind: maps", "kind='maps' is not allowed: it must be one of heatmaps, rows"),
        ("paper: ICLR", "paper: ICRL", "paper=ICRL is not allowed: one of CPAIOR, ICLR, SepCons"),
        ("iclr_moons", "iclr_suns", "shows: study=iclr_suns is not allowed"),
        ("[relu]", "[rely]", "shows: ICLR has no name of the method rely"),
        ("[relu]", "[]", r"shows: iclr_moons=\[\] is not allowed: it must be a list"),
        ("caption:", "title:", "title is no key"),
    ],
)
def test_a_wrong_figure_is_named_by_file_figure_and_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    (tmp_path / "some.yaml").write_text(FIGURE)
    assert read_figures(tmp_path / "some.yaml")["iclr-1"].methods == (("relu", "ReLU"),)
    (tmp_path / "some.yaml").write_text(FIGURE.replace(old, new))
    with pytest.raises(EntryError, match=rf"^some\.yaml: iclr-1: {words}"):
        read_figures(tmp_path / "some.yaml")


def test_iclr_1_has_three_methods_training_above_validation_each_number_at_its_place() -> None:
    rows = study_rows("iclr_moons", seeds=(0, 1), method=["relu", "relu_bn", "sep_up"])
    found = panels(drawn("iclr-1", rows))
    depths, widths = [1, *range(10, 121, 10)], [1, 2, 3, 4, 5, 10, 15, 20, 25]
    captions = ["(a) ReLU training", "(b) ReLU + BN training", "(c) Sep-UP training"]
    captions += ["(d) ReLU validation", "(e) ReLU + BN validation", "(f) Sep-UP validation"]
    assert [*found] == captions
    for caption, learned, below in zip(captions, (0, 0.1, 0.2) * 2, (0,) * 3 + (0.05,) * 3, strict=True):
        ax = found[caption]
        expected = [[0.55 + d / 5000 + w / 2000 + learned + 0.001 - below for d in depths] for w in widths]
        np.testing.assert_allclose(shown(ax), expected)
        assert [label.get_text() for label in ax.get_xticklabels()] == [*map(str, depths)]


def test_the_last_epoch_is_drawn_on_demand_and_named() -> None:
    rows = study_rows("iclr_mnist_small", depth=[4], width=[2])
    best, last = (drawn("iclr-2", rows, at_epoch) for at_epoch in ("best", "last"))
    (first, *_), (other, *_) = panels(best).values(), panels(last).values()
    assert shown(first)[0, 0] - shown(other)[0, 0] == pytest.approx(0.1)
    assert "mean of the best epoch" in best.get_suptitle() and "mean of the last epoch" in last.get_suptitle()


def test_iclr_3_has_a_row_a_method_and_its_numbers() -> None:
    found = panels(drawn("iclr-3", study_rows("iclr_cifar10")))
    assert [*found] == ["(a) Training accuracy", "(b) Validation accuracy"]
    for ax, below in zip(found.values(), (0, 0.05), strict=True):
        numbers = {tuple(map(int, text.get_position())): text.get_text() for text in ax.texts}
        assert numbers == {
            (place, 2 - method): f"{0.55 + depth / 5000 + 0.005 + 0.1 * method - below:.2f}"
            for place, depth in enumerate((2, 10, 25, 30, 40))
            for method in range(3)
        }
    (first, *_) = found.values()
    assert [label.get_text() for label in first.get_yticklabels()] == ["Sep-UP", "ReLU + BN", "ReLU"]


def test_cpaior_3_has_a_column_a_learning_rate_the_greater_first() -> None:
    rows = study_rows("cpaior_cifar10", method=["relu", "sep_up_mean_1"], width=[2, 8])
    figure = drawn("cpaior-3", rows)
    captions = [ax.get_xlabel().split("\n")[1] for ax in figure.axes if ax.get_xlabel()]
    assert captions == ["(a) learning rate 0.001", "(b) learning rate 0.0001"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:2] == ["Baseline", "Jumpstart, mean, λ = 1"]
    expected = {parameters(cell) for cell in study_cells("cpaior_cifar10", "paper") if cell.width in (2, 8)}
    for ax in figure.axes:
        (points,) = [line for line in ax.lines if line.get_gid() == "points relu"]
        assert {*points.get_xdata()} == expected


def test_the_line_says_seeds_variant_and_what_is_missing_or_diverged() -> None:
    rows = study_rows("iclr_moons", seeds=(0, 1, 2), method=["relu", "sep_up"], depth=[1, 10])[1:]
    rows += [row(dataclasses.replace(study_cells("iclr_moons", "paper")[0], seed=7, width=3), None, "diverged")]
    line = drawn("iclr-1", rows).get_suptitle().replace("\n", " ")
    assert line.startswith("ICLR, figure 1, ours: mean of the best epoch, 2 to 4 seeds · variant=paper (MLP)")
    assert "not trained: ReLU + BN" in line and "1 diverged" in line
    whole = drawn("iclr-1", study_rows("iclr_moons", method=["relu", "relu_bn", "sep_up"])[1:]).get_suptitle()
    assert "1 seed " in whole.replace("\n", " ") and "1 of 351 networks missing" in whole.replace("\n", " ")


def test_seeds_beyond_the_study_s_own_count_and_other_settings_do_not() -> None:
    rows = study_rows("iclr_mnist_small", seeds=(5, 9))
    other = [row(dataclasses.replace(cell, optimizer=dataclasses.replace(cell.optimizer, lr=0.5)), 0.9)
             for cell in study_cells("iclr_mnist_small", "paper")]  # fmt: skip
    source = source_of("iclr-2", rows + other)
    assert source is not None and source.seed_range() == (2, 2) and len(source.rows) == len(rows)
    assert source_of("iclr-2", other) is None


def test_the_paper_s_variant_is_drawn_where_both_are_stored_and_the_other_on_demand(tmp_path: Path) -> None:
    both = study_rows("iclr_mnist_small") + study_rows("iclr_mnist_small", "code")
    assert source_of("iclr-2", both).variant == "paper"
    assert source_of("iclr-2", both, "code").variant == "code"
    code = study_rows("mnist_table1_small", "code")
    assert source_of("cpaior-table-1", code).variant == "code"
    assert source_of("cpaior-table-1", code, "paper") is None
    tex, md = write_paper_figure("cpaior-table-1", tmp_path, table(code), tmp_path)
    assert (tex.name, md.name) == ("cpaior-table-1_code_small.tex", "cpaior-table-1_code_small.md")
    assert "variant=code (CNN)" in md.read_text()


def test_a_variant_with_more_of_the_figure_s_methods_goes_before_the_paper_s() -> None:
    rows = study_rows("iclr_mnist_small", method=["relu"])
    rows += study_rows("iclr_mnist_small", "code", method=["relu", "sep_up"])
    assert source_of("iclr-2", rows).variant == "code"


def test_the_study_in_small_stands_in_only_where_there_is_nothing_of_the_study(tmp_path: Path) -> None:
    small = study_rows("iclr_mnist_small")
    source = source_of("iclr-2", small)
    assert source.is_small and source.study == "iclr_mnist_small"
    assert "only in small (iclr_mnist_small" in drawn("iclr-2", small).get_suptitle()
    written = write_paper_figure("iclr-2", tmp_path, table(small), tmp_path, dpi=40, at_epoch="last")
    assert {path.name for path in written} == {"iclr-2_small_last.pdf", "iclr-2_small_last.png"}
    assert not source_of("iclr-2", small + study_rows("iclr_mnist", depth=[2], width=[2])).is_small


@pytest.mark.parametrize(
    ("name", "near"), [("iclr1", "iclr-1"), ("cpaior_2", "cpaior-2"), ("sepcons-table", "sepcons-")]
)
def test_an_unknown_name_gets_the_nearest_one(name: str, near: str, tmp_path: Path) -> None:
    with pytest.raises(PaperError) as caught:
        write_paper_figure(name, tmp_path, pd.DataFrame(), tmp_path)
    assert f"figure={name}" in str(caught.value) and f"did you mean {near}" in str(caught.value)
    assert "\n" not in str(caught.value) and "iclr-12" in str(caught.value)


def test_an_unknown_variant_is_named_with_what_is_allowed(tmp_path: Path) -> None:
    for name in ("iclr-1", "iclr-6"):
        with pytest.raises(PaperError, match=r"variant=both is not allowed: one of paper, code"):
            write_paper_figure(name, tmp_path, table(study_rows("iclr_mnist_small")), tmp_path, variant="both")


COMPUTED_NAMES = [name for name, figure in FIGURES.items() if figure.is_computed]


def test_what_is_computed_needs_no_results_and_is_drawn_by_its_name(tmp_path: Path) -> None:
    assert [
        *(f"geometry-{n}" for n in (*range(2, 13), 17, 18)),
        "geometry-table-statements",
    ] == COMPUTED_NAMES
    assert {*COMPUTED} == {*COMPUTED_NAMES[:-1]}
    (png, pdf) = write_paper_figure("geometry-2", tmp_path / "none", pd.DataFrame(), tmp_path, dpi=50)
    assert (png.name, pdf.name) == ("geometry-2.png", "geometry-2.pdf")
    assert "Geometry" in pdf_text(pdf.read_bytes())
    assert paper_commands(FIGURES["geometry-2"]) == ("python -m jumpstart_exp.report figure=geometry-2",)
    with pytest.raises(PaperError, match="figure=iclr-1 is of stored results: iclr_moons"):
        write_computed_figure("iclr-1", tmp_path)


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in COMPUTED_NAMES])
def test_where_the_store_has_nothing_one_line_says_which_commands_make_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(PaperError) as caught:
        write_paper_figure(name, tmp_path / "my results", pd.DataFrame(), tmp_path / "figures")
    text = str(caught.value)
    commands = re.findall("`([^`]+)`", text)
    assert commands == [*paper_commands(FIGURES[name], results_dir=str(tmp_path / "my results"))]
    assert [f"+experiment={study} " in command for study, command in zip(FIGURES[name].studies, commands, strict=False)]
    assert all(command.endswith(f" results_dir='{tmp_path}/my results'") for command in commands)
    assert f"figure={name} " in commands[-1] and "\n" not in text and not (tmp_path / "figures").exists()
    assert any("jumpstart_exp.inspect study=" in command for command in commands) == FIGURES[name].is_inside
    small = [study.name for study in STUDIES if study.small_of == FIGURES[name].studies[0]]
    assert all(f"+experiment={each}" in text for each in small)


def test_rows_that_contradict_each_other_are_an_error_of_one_line(tmp_path: Path) -> None:
    rows = study_rows("iclr_mnist_small", seeds=(0, 1))
    rows[0]["n_params"] += 1
    with pytest.raises(PaperError, match=r"figure=iclr-2: n_params of"):
        write_paper_figure("iclr-2", tmp_path, table(rows), tmp_path)


def pdf_text(content: bytes) -> str:
    """All letters that the PDF shows as text, by its own operators."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    shown = []
    for stream in streams:
        try:
            operators = zlib.decompress(stream)
        except zlib.error:
            continue
        for array, single in re.findall(rb"\[((?:[^\]\\]|\\.)*)\]\s+TJ|(\((?:[^()\\]|\\.)*\))\s+Tj", operators):
            parts = re.findall(rb"\(((?:[^()\\]|\\.)*)\)", array or single)
            shown.append(re.sub(rb"\\(.)", rb"\1", b"".join(parts)).replace(b"\0", b"").decode("latin-1"))
    return "\n".join(shown)


def test_the_pdf_has_the_paper_s_width_embedded_fonts_and_text_as_text(tmp_path: Path) -> None:
    rows = study_rows("iclr_mnist_small", depth=[4, 20])
    (pdf,) = [
        path for path in write_paper_figure("iclr-2", tmp_path, table(rows), tmp_path, dpi=40) if path.suffix == ".pdf"
    ]
    content = pdf.read_bytes()
    assert b"/FontFile2" in content and b"/Type3" not in content and b"CreationDate" not in content
    text = pdf_text(content)
    assert "(b) ReLU + BN training" in text and "gure 2, ours: mean of the best epoch" in text and "width" in text
    (box,) = set(re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ", content))
    assert float(box) == pytest.approx(PAPERS["ICLR"].width * 72)


@pytest.mark.parametrize(("name", "study"), [("cpaior-4", "cpaior_cifar100_small"), ("iclr-3", "iclr_cifar10")])
def test_figures_are_as_wide_as_their_paper_s_text_with_letters_of_five_points_or_more(name: str, study: str) -> None:
    labels = [label for label, _ in FIGURES[name].methods]
    figure = drawn(name, study_rows(study, method=labels))
    assert figure.get_figwidth() == {"cpaior-4": 4.8, "iclr-3": 5.5}[name]
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 5


def test_the_same_store_gives_the_same_bytes_whatever_the_rows_order(tmp_path: Path) -> None:
    rows = study_rows("iclr_mnist_small", seeds=(0, 1), depth=[4])
    once, again = (
        write_paper_figure("iclr-2", tmp_path, table(of), tmp_path / name, dpi=60)
        for name, of in (("once", rows), ("again", rows[::-1]))
    )
    for one, other in zip(once, again, strict=True):
        assert one.name == other.name and one.read_bytes() == other.read_bytes()


def test_tables_are_written_as_latex_and_markdown(tmp_path: Path) -> None:
    rows = study_rows("table2_50x4", seeds=(0, 1))
    tex, md = write_paper_figure("sepcons-table-2", tmp_path, table(rows), tmp_path)
    assert (tex.name, md.name) == ("sepcons-table-2.tex", "sepcons-table-2.md")
    assert "| Sep-P+U | 0.763 (0.762–0.764) | 0.713 (0.712–0.714) | 0.2500 (0.2500–0.2500) |" in md.read_text()
    assert r"Sep-P+U & 0.763 (0.762--0.764) &" in tex.read_text()
    tex, md = write_paper_figure("iclr-table-1", tmp_path, table(rows), tmp_path)
    assert "| Sep-UP | 0.763" in md.read_text() and "Sep-P+U" not in md.read_text()
    assert "Sep-L" not in md.read_text() + tex.read_text(), "the ICLR paper's table has none"
    mnist = table(study_rows("mnist_table1", depth=[2, 4]))
    tex, md = write_paper_figure("cpaior-table-1", tmp_path, mnist, tmp_path, threshold=0.7)
    assert "| Successful model | 0 of 6 | 0 of 6 | 6 of 6 | 6 of 6 |" in md.read_text()


def kept(cell: Cell, results_dir: Path) -> None:
    """Snapshots of a network before and after a training that did nothing."""
    count = sum(int(np.prod(shape)) for shape in parameter_shapes(cell).values())
    values = np.random.default_rng(0).normal(size=(1, count)).astype(np.float32).repeat(2, axis=0)
    curve = np.full((2, len(CURVE)), 0.5)
    curve[:, 0] = [1, cell.optimizer.epochs]
    write_recorded_states(
        RecordedStates(
            cell=cell,
            engine="native",
            device="cpu",
            diverged_epoch=None,
            agreement="",
            asked=2,
            epochs=np.array([0, cell.optimizer.epochs]),
            parameters=values,
            running=np.ones((2, 2, cell.depth, 4 if cell.network.norm == "batch" else 0), np.float32),
            census=np.zeros((2, 6, cell.depth)),
            curve=curve,
        ),
        results_dir,
    )


def test_figures_of_the_inside_are_drawn_of_the_lowest_seed_with_all_snapshots(tmp_path: Path) -> None:
    cells = [*study_cells("table2_50x4", "paper"), *study_cells("constraints_only_50x4", "paper")]
    cells = [dataclasses.replace(cell, seed=seed) for cell in cells for seed in (3, 5)]
    stored = table([row(cell, 0.6) for cell in cells])
    for cell in cells:
        if not (cell.seed == 3 and cell.method == "relu_bn"):
            kept(cell, tmp_path)
    found = {}
    for name in ("sepcons-8", "sepcons-6"):
        png, pdf = write_paper_figure(name, tmp_path, stored, tmp_path / "figures", dpi=40)
        assert (pdf.name, png.name) == (f"{name}.pdf", f"{name}.png")
        found[name] = pdf_text(pdf.read_bytes())
    assert "gure 8, ours" in found["sepcons-8"] and "seed 5" in found["sepcons-8"]
    for title in ("ReLU", "ReLU + BN", "Sep-L", "Sep-P+U"):
        assert title in found["sepcons-8"]
    assert "seed 3" in found["sepcons-6"] and "Sep-P+U" in found["sepcons-6"] and "Sep-UP" not in found["sepcons-6"]
    with pytest.raises(PaperError, match=r"jumpstart_exp\.inspect study=dynamics_50x4 method=sep_up"):
        write_paper_figure("iclr-12", tmp_path, stored, tmp_path / "figures")


def test_landscapes_show_every_seed_and_the_study_in_small_only_alone(tmp_path: Path) -> None:
    def keep(name: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
        unseeded = {dataclasses.replace(each, seed=0) for each in study_cells(name, "paper") if each.method == "rai"}
        cells = [dataclasses.replace(each, seed=seed) for each in unseeded for seed in seeds]
        for each in cells[:-1]:
            kept(each, tmp_path)
        return [row(each, 0.6) for each in cells]

    small = keep("rai_shallow_small", (0, 2, 3))
    _, pdf = write_paper_figure("rai-3", tmp_path, table(small), tmp_path / "figures", dpi=40)
    assert pdf.name == "rai-3_small.pdf" and "only in small" in pdf_text(pdf.read_bytes()).replace("\n", " ")
    both = [*small, *keep("rai_shallow", (1, 4, 5, 6))]
    png, pdf = write_paper_figure("rai-3", tmp_path, table(both), tmp_path / "figures", dpi=40)
    text = pdf_text(pdf.read_bytes())
    assert (png.name, pdf.name) == ("rai-3.png", "rai-3.pdf")
    assert [f"seed {seed}" in text for seed in range(7)] == [False, True, False, False, True, True, False]
    assert "42-100-100-42" in text and "3 seeds" in text
    with pytest.raises(PaperError, match=r"inspect study=rai_shallow method=relu seed=0,1,2,3,4,5,6,7,8,9 epochs=0"):
        write_paper_figure("rai-2", tmp_path, table(both), tmp_path / "figures")


def test_a_damaged_file_of_snapshots_is_named(tmp_path: Path) -> None:
    (cell,) = (cell for cell in study_cells("table2_50x4", "paper") if cell.method == "relu")
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots" / f"{cell.key}.npz").write_bytes(b"not a snapshot")
    with pytest.raises(PaperError, match=rf"figure=iclr-6: .*{cell.key}\.npz is left out"):
        write_paper_figure("iclr-6", tmp_path, table([row(cell, 0.6)]), tmp_path)
