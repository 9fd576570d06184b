"""Tables over seeds of known stores, read back from their files."""

import csv
from pathlib import Path

import pytest
from scipy import stats
from stored_tables import CIFAR10, cell, grid_rows, row, table

from jumpstart_exp.cell import Cell
from jumpstart_exp.report.statistics.intervals import resamples
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids
from jumpstart_exp.report.tables.seeds import seed_jobs


def only(rows: list[dict]) -> FigureGrid:
    (grid,) = figure_grids(table(rows))
    return grid


def some(seeds: int = 3) -> FigureGrid:
    """ReLU trains at depth 1 in all seeds and at depth 5 in none, Sep-UP at both; a last epoch 0.1 below."""
    return only(
        grid_rows(
            ["relu", "sep_up"],
            [1, 5],
            [2, 4],
            [*range(seeds)],
            lambda c: 0.97 + c.seed / 100 if c.method == "sep_up" or c.depth == 1 else 0.6,
        )
    )


def write_seed_tables(grid: FigureGrid, folder: Path) -> list[Path]:
    return [path for job in seed_jobs(grid) for path in job.write(folder)]


def read(folder: Path, grid: FigureGrid, name: str) -> list[dict[str, str]]:
    with (folder / f"{grid.slug}_{name}.csv").open(newline="") as lines:
        return [*csv.DictReader(lines)]


def test_every_place_has_its_mean_interval_share_and_seeds(tmp_path: Path) -> None:
    rows = [row(cell("relu", 2, 4, seed), value) for seed, value in enumerate((0.9, 0.96, 0.99))]
    rows += [row(cell("relu", 2, 4, 3), None, "diverged"), row(cell("relu", 2, 4, 4), None, "failed")]
    grid = only(rows)
    write_seed_tables(grid, tmp_path)
    (found,) = read(tmp_path, grid, "places_best")
    named = ("method", "depth", "width", "seeds", "diverged", "failed", "trained", "threshold")
    assert [found[name] for name in named] == ["relu", "2", "4", "5", "1", "1", "2", "0.95"]
    assert float(found["train_acc"]) == pytest.approx(0.95)
    assert [found[f"train_acc_{end}"] for end in ("low", "high")] == ["", ""], "three accuracies have no interval"
    assert [float(found[f"train_acc_{end}"]) for end in ("least", "most")] == pytest.approx([0.9, 0.99])
    assert float(found["val_acc"]) == pytest.approx(0.9)
    wilson = stats.binomtest(2, 5).proportion_ci(method="wilson")
    assert [float(found[name]) for name in ("share", "share_low", "share_high")] == pytest.approx([0.4, *wilson])
    text = (tmp_path / f"{grid.slug}_places_best.md").read_text()
    assert (
        "| ReLU | 2×4 | 2 of 5 | 0.12 to 0.77 | 0.950 (range 0.900 to 0.990) | 0.900 (range 0.850 to 0.940) |" in text
    )
    assert "95 %" not in text and "0.95 of cases on average, 0.83 at the worst" in text


def test_from_six_seeds_on_the_mean_has_students_interval_and_its_worst_coverage(tmp_path: Path) -> None:
    values = (0.9, 0.96, 0.99, 0.91, 0.97, 0.98)
    grid = only([row(cell("relu", 2, 4, seed), value) for seed, value in enumerate(values)])
    write_seed_tables(grid, tmp_path)
    (found,) = read(tmp_path, grid, "places_best")
    ends = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert [float(found[f"train_acc_{end}"]) for end in ("low", "high")] == pytest.approx([ends.low, ends.high])
    text = (tmp_path / f"{grid.slug}_places_best.md").read_text()
    assert "Student's t" in text and "0.46 of cases where some seeds train" in text


def test_the_frontier_and_its_ratio_are_written_with_the_widths_left_out(tmp_path: Path) -> None:
    grid = some()
    write_seed_tables(grid, tmp_path)
    found = {
        (line["method"], line["width"]): line["depth"]
        for line in read(tmp_path, grid, "frontier")
        if (line["moment"], line["start"]) == ("best", "grid")
    }
    assert found == {("relu", "2"): "1", ("relu", "4"): "1", ("sep_up", "2"): "5", ("sep_up", "4"): "5"}
    lines = read(tmp_path, grid, "frontier_ratio")
    ratio = next(line for line in lines if (line["moment"], line["start"]) == ("best", "grid"))
    assert float(ratio["ratio"]) == pytest.approx(5) and (ratio["widths"], ratio["left_out"]) == ("2 4", "")
    assert (ratio["at_least"], ratio["at_most"], ratio["seeds"]) == ("2 4", "", "3")
    none = next(line for line in lines if (line["moment"], line["start"]) == ("last", "grid"))
    assert (none["ratio"], none["left_out"]) == ("", "2 4"), "0.1 less at the last epoch: nobody trains"
    text = (tmp_path / f"{grid.slug}_frontier.md").read_text()
    assert "| Sep-UP | best | from the grid's shallowest depth | 5+ | 5+ |" in text


def test_best_against_last_is_written_for_accuracies_and_shares(tmp_path: Path) -> None:
    grid = some()
    write_seed_tables(grid, tmp_path)
    found = {(line["method"], line["measured"]): float(line["mean"]) for line in read(tmp_path, grid, "moments")}
    assert found["sep_up", "train_acc_best_minus_last"] == pytest.approx(0.1)
    assert found["sep_up", "train_acc_beyond_relu"] == pytest.approx(0.0, abs=1e-9)
    assert (found["relu", "trains_best"], found["relu", "trains_last"]) == (0.5, 0.0)


def test_differences_have_every_place_and_all_together(tmp_path: Path) -> None:
    grid = some(8)
    write_seed_tables(grid, tmp_path)
    lines = [line for line in read(tmp_path, grid, "differences_best") if line["measured"] == "train_acc"]
    overall, *places = lines
    assert (overall["depth"], float(overall["mean"])) == ("", pytest.approx((0.37 + 0.035) / 2))
    assert [(line["depth"], line["width"], line["significant"]) for line in places] == [
        ("1", "2", "0"),
        ("1", "4", "0"),
        ("5", "2", "1"),
        ("5", "4", "1"),
    ]
    assert float(places[2]["p"]) == 2.0**-7 and float(places[2]["p_adjusted"]) == 2.0**-6
    text = (tmp_path / f"{grid.slug}_differences_best.md").read_text()
    assert "| Sep-UP | ReLU | training accuracy | +0.203 (+0.203 to +0.203)" not in text
    assert text.splitlines()[4].endswith("| 8 | 4 | 2 | 0 |") and "Benjamini and Hochberg" in text


def test_the_tables_use_the_grids_threshold(tmp_path: Path) -> None:
    grid = some().at_threshold(0.5)
    write_seed_tables(grid, tmp_path)
    places, frontier = (read(tmp_path, grid, name) for name in ("places_last", "frontier"))
    assert {(line["trained"], line["threshold"]) for line in places} == {("3", "0.5")}, "0.5 and above"
    assert {line["depth"] for line in frontier} == {"5"}
    assert "at least 0.5)" in (tmp_path / f"{grid.slug}_frontier.md").read_text()


def test_what_a_figure_supports_depends_on_its_seeds_depths_and_methods(tmp_path: Path) -> None:
    def names(grid: FigureGrid) -> list[str]:
        return list(
            dict.fromkeys(path.stem.removeprefix(f"{grid.slug}_") for path in write_seed_tables(grid, tmp_path))
        )

    every = ["places_best", "places_last", "moments", "frontier", "frontier_ratio"]
    assert names(some(1)) == every
    assert names(some(2)) == [*every, "differences_best", "differences_last"]
    assert names(only(grid_rows(["relu"], [5], [2], [0, 1], lambda c: 0.9))) == every[:3]


def test_one_seed_says_that_it_has_no_interval(tmp_path: Path) -> None:
    grid = some(1)
    assert "One seed: no intervals." in text_of(grid, "frontier", tmp_path)
    assert "| ReLU | 1×2 | 1 of 1 | 0.21 to 1.00 | 0.970 | 0.920 |" in text_of(grid, "places_best", tmp_path)
    assert "(one seed: no interval)" in text_of(grid, "moments", tmp_path)


HOSTILE = "=cmd|'<script>alert(1)</script>' & \\input{x} $x$ `y` | 100%"


def test_hostile_labels_are_escaped_in_every_kind(tmp_path: Path) -> None:
    rows = grid_rows(["relu", HOSTILE], [1, 5], [2], [0, 1], lambda c: 0.9, **CIFAR10)
    paths = write_seed_tables(only(rows), tmp_path)
    assert {path.suffix for path in paths} == {".md", ".tex", ".csv"}
    for path in paths:
        text = path.read_text()
        if path.suffix == ".md":
            assert "<script>" not in text
            lines = [line for line in text.splitlines() if line.startswith("| ")]
            assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
        elif path.suffix == ".tex":
            assert "\\input" not in text and "$x$" not in text
        else:
            with path.open(newline="") as lines:
                assert not any(value.startswith(("=", "+", "@")) for line in csv.reader(lines) for value in line)


def test_a_second_run_writes_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_seed_tables(some(14), tmp_path / run) for run in ("one", "two"))
    assert len(first) == 21 and [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def text_of(grid: FigureGrid, name: str, folder: Path) -> str:
    write_seed_tables(grid, folder)
    return (folder / f"{grid.slug}_{name}.md").read_text()


def test_missing_depths_are_no_failures_in_the_frontiers_table(tmp_path: Path) -> None:
    rows = grid_rows(["relu"], [1, 5], [2, 4, 8], [0], lambda c: 1.0 if c.width == 4 else 0.6)
    grid = only([each for each in rows if each["width"] == 2 or each["depth"] == 5])
    text = text_of(grid, "frontier", tmp_path)
    missing = "depths below 5 are missing"
    assert f"ReLU | best | from the grid's shallowest depth | none | not trained; {missing} | not trained" in text
    assert f"ReLU | best | from the first depth that trains | none | 5+; {missing} | not trained; {missing}" in text


def test_the_ratio_stands_at_lower_thresholds_too(tmp_path: Path) -> None:
    def accuracy(c: Cell) -> float:
        return 0.92 if c.method == "relu" and c.depth == 5 else 0.97 if c.method == "sep_up" or c.depth == 1 else 0.6

    grid = only(grid_rows(["relu", "sep_up"], [1, 5, 10], [2], [0, 1], accuracy))
    write_seed_tables(grid, tmp_path)
    lines = [
        line for line in read(tmp_path, grid, "frontier_ratio") if (line["moment"], line["start"]) == ("best", "grid")
    ]
    assert [(line["threshold"], float(line["ratio"])) for line in lines] == [("0.95", 10), ("0.9", 2), ("0.75", 2)]
    assert "counted over only those depths at which both methods have networks" in text_of(
        grid, "frontier_ratio", tmp_path
    )
    sides = (tmp_path / f"{grid.slug}_frontier_ratio.md").read_text().splitlines()[3]
    assert sides == "|" + " --- |" * 4 + " ---: |" * 4 + " --- |" * 4, "texts to the left, numbers to the right"
    assert "at the threshold 0.95. Its sensitivity" in text_of(grid, "frontier_ratio", tmp_path)
    assert "and at the thresholds 0.9 and 0.75." in text_of(grid, "frontier", tmp_path)
    images = only(grid_rows(["relu", "sep_up"], [2, 10], [10], [0], lambda c: 0.5, **CIFAR10))
    assert "thresholds" not in text_of(images, "frontier_ratio", tmp_path)


def test_why_there_is_no_ratio_and_how_many_resamples_have_none(tmp_path: Path) -> None:
    rows = [row(cell("relu", d, 2, 0), 1.0) for d in (1, 5)] + [row(cell("sep_up", d, 2, 1), 1.0) for d in (1, 5)]
    assert "0.95 | no seed in common |" in text_of(only(rows), "frontier_ratio", tmp_path)
    never = grid_rows(["relu", "sep_up"], [1, 5], [2], [*range(9)], lambda c: 1.0 if c.seed % 3 < 2 else 0.6)
    apart = [row(cell("relu", d, 2, 0), 1.0) for d in (1, 5)] + [row(cell("sep_up", d, 2, 0), 1.0) for d in (2, 10)]
    assert "0.95 | no depth in common |" in text_of(only(apart), "frontier_ratio", tmp_path)
    without = sum(int((drawn % 3 == 2).sum() > 4) for drawn in resamples(9))
    told = f"1 distinct ratio in 2000 resamples, without {without} that have no width"
    assert f"× 1.00 | 1.00 to 1.00 ({told}) | 9 |" in text_of(only(never), "frontier_ratio", tmp_path)


def test_lost_cells_and_the_corrections_assumption_are_said(tmp_path: Path) -> None:
    rows = grid_rows(["relu", "sep_up"], [1, 5], [2], [0, 1, 2], lambda c: 0.9)
    for each, status in zip(rows, ("diverged", "diverged", "failed"), strict=False):
        each |= {"status": status, "train_acc_last": None, "val_acc_last": None}
    text = text_of(only(rows), "moments", tmp_path)
    assert "2 of 12 cells diverged, 1 failed: left out of the accuracies, counted as not trained." in text
    assert "if the places are independent or depend positively." in text_of(only(rows), "differences_best", tmp_path)
