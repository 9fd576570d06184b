"""The tables as files: what they say, escaped for where they go."""

import csv
import re
from pathlib import Path

import pytest
from stored_tables import CIFAR10, MNIST, cell, grid_rows, row, table

from jumpstart_exp.report.table.grid import FigureGrid, figure_grids
from jumpstart_exp.report.tables.summaries import summary_jobs


def only(rows: list[dict]) -> FigureGrid:
    (grid,) = figure_grids(table(rows))
    return grid


def written(grid: FigureGrid, folder: Path) -> list[Path]:
    """Best, last and cost, each as Markdown first."""
    return [path for job in summary_jobs(grid) for path in job.write(folder)]


def published() -> FigureGrid:
    """MNIST's grid: relu trains to depth 12 at widths 2 and 4 and to 24 at width 8 (CPAIOR, section 4)."""

    def accuracy(of) -> float:
        if of.method == "relu" and of.depth > (24 if of.width == 8 else 12):
            return 0.1124
        return 0.98 + (0.001 if (of.method == "relu") == (of.width == 8) else 0) + of.depth / 1e5

    return only(grid_rows(["relu", "sep_up"], [2, *range(4, 69, 4)], [2, 4, 8], [0], accuracy, **MNIST))


def markdown_rows(path: Path) -> dict[str, list[str]]:
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    cells = [[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({len(row) for row in cells}) == 1
    return {row[0]: row[1:] for row in cells}


def test_table_one_of_the_mnist_study(tmp_path: Path) -> None:
    grid = published()
    paths = written(grid, tmp_path)
    assert {path.parent for path in paths} == {tmp_path}
    rows = markdown_rows(paths[0])
    assert rows[""] == ["ReLU training", "ReLU validation", "Sep-UP training", "Sep-UP validation"]
    assert rows["best overall accuracy"] == ["0.98124", "0.93124", "0.98168", "0.93168"]
    assert rows["of depth×width (seed)"] == ["24×8 (0)", "24×8 (0)", "68×2 (0)", "68×2 (0)"]
    assert rows["networks that train"] == ["15 of 54", "15 of 54", "54 of 54", "54 of 54"]
    assert rows["best for the depth-width pair"] == ["7 of 54", "7 of 54", "47 of 54", "47 of 54"]
    assert rows["ties"] == ["0 of 54"] * 4
    caption = paths[0].read_text().splitlines()[0]
    assert "is 0.2247 or more (chance is 0.1);" in caption and "no accuracy there: 0." in caption


def test_the_csv_holds_the_numbers_unrounded_under_the_labels(tmp_path: Path) -> None:
    rows = [row(cell(m, d, 2, 0), v) for m, d, v in (("relu", 2, 2 / 3), ("sep_up", 2, 0.96), ("sep_up", 3, 0.8))]
    with written(only(rows), tmp_path)[2].open(newline="") as file:
        found = {row[0]: row[1:] for row in csv.reader(file)}
    assert found[""] == ["relu training", "relu validation", "sep_up training", "sep_up validation"]
    assert [float(value) for value in found["best_accuracy"]] == [2 / 3, 2 / 3 - 0.05, 0.96, 0.96 - 0.05]
    assert found["best_depth"] == ["2"] * 4 and found["wins"] == ["0", "0", "1", "1"]
    assert found["trained"] == ["0", "0", "1", "1"] and found["networks"] == ["1", "1", "2", "2"]
    assert found["compared"] == found["left_out"] == ["1"] * 4 and found["threshold"] == ["0.95"] * 4


def test_a_method_of_which_nothing_is_left_has_dashes(tmp_path: Path) -> None:
    paths = written(only([row(cell("relu", 2, 2, 0), None, "failed"), row(cell("sep_up", 2, 2, 0), 0.9)]), tmp_path)
    rows = markdown_rows(paths[0])
    assert rows["best overall accuracy"] == ["–", "–", "0.9", "0.85"]
    assert rows["best for the depth-width pair"] == ["0 of 0"] * 4
    assert rows["failed"] == ["1", "1", "0", "0"]
    with paths[2].open(newline="") as file:
        assert {row[0]: row[1:] for row in csv.reader(file)}["best_accuracy"][:2] == ["", ""]


def test_latex_is_a_plain_tabular_with_everything_escaped(tmp_path: Path) -> None:
    rows = [row(cell(m, 2, 2, s, **CIFAR10), 0.9) for m in ("relu", "sep_up_l2_1e-1", "my_100%_{#1}^&") for s in (0, 1)]
    text = written(only(rows), tmp_path)[1].read_text()
    lines = text.splitlines()
    assert r"\begin{tabular}{lrrrrrr}" in lines and lines[-2:] == [r"\end{tabular}", r"\end{table}"]
    assert r"\multicolumn{2}{c}{my\_100\%\_\{\#1\}\textasciicircum{}\&}" in text
    assert r"{Sep-UP \ensuremath{\ell}\ensuremath{_2} \ensuremath{\lambda}=0.1}" in text
    body = lines[lines.index(r"\hline") + 2 : -3]
    cells = [line for line in body if line.endswith(r" \\")]
    assert len(cells) == 10
    assert all(len(re.findall(r"(?<!\\)&", line)) == 6 for line in cells)
    bare = re.sub(r"\\ensuremath\{(?:[^{}])*\}", "", text)
    assert not re.search(r"(?<!\\)[_^#$%~]", bare), "nothing that LaTeX reads as a command"
    assert text.isascii()
    braces = re.sub(r"\\[{}]", "", text)
    assert braces.count("{") == braces.count("}")


def test_a_label_cannot_break_the_markdown_table(tmp_path: Path) -> None:
    rows = [row(cell(m, 2, 2, 0), 0.9) for m in ("relu", "a|b")]
    assert markdown_rows(written(only(rows), tmp_path)[0])[""][2] == r"a\|b training"


def test_the_cost_is_stated_by_pair_and_summed_up(tmp_path: Path) -> None:
    rows = []
    for depth, ratio in ((2, 1.2), (3, 1.5), (4, 1.8)):
        rows += [row(cell("relu", depth, 2, 0), 0.9) | {"seconds": 10.0, "peak_memory_bytes": 2_000_000}]
        rows += [row(cell("sep_up", depth, 2, 0), 0.9) | {"seconds": 10.0 * ratio, "peak_memory_bytes": 3_000_000}]
    grid = only(rows)
    markdown, numbers = written(grid, tmp_path)[6:]
    assert [markdown.name, numbers.name] == [f"{grid.slug}_cost.md", f"{grid.slug}_cost.csv"]
    text = markdown.read_text()
    assert "time × 1.50 (median), × 1.48 (geometric mean) over 3 pairs" in text  # (1.2·1.5·1.8)^(1/3) = 1.4797
    assert "memory × 1.50 (median)" in text and "as noisy as the machine" in text
    line = "| Sep-UP | eager, cpu | 3×2 | 1 | 10 | 15 | 1.50 | 2.0 | 3.0 | 1.50 |"
    assert line in text.splitlines()
    with numbers.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [float(each["time_ratio"]) for each in found] == pytest.approx([1.2, 1.5, 1.8])
    assert {each["engine"] + each["device"] + each["memory_bytes_with"] for each in found} == {"eagercpu3000000.0"}


def test_shares_of_a_fleets_time_are_called_estimates(tmp_path: Path) -> None:
    rows = [row(cell(m, 2, 2, 0), 0.9) | {"engine": "stacked"} for m in ("relu", "sep_up")]
    assert "partly estimates" in written(only(rows), tmp_path)[6].read_text()


def test_nothing_to_compare_writes_no_cost(tmp_path: Path) -> None:
    grid = only([row(cell(m, 2, 2, 0), 0.9) for m in ("relu", "relu_bn")])
    assert [path.name for path in written(grid, tmp_path)] == [
        f"{grid.slug}_{at_epoch}.{kind}" for at_epoch in ("best", "last") for kind in ("md", "tex", "csv")
    ]
    assert not [*summary_jobs(only([row(cell("relu", 2, 2, 0), 0.9)]))], "one method: nothing to compare"


def test_a_second_run_writes_the_same_bytes(tmp_path: Path) -> None:
    first, second = (written(published(), tmp_path / run) for run in ("one", "two"))
    assert len(first) == 8
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
