"""The comparison's tables, read back; and that the published numbers are only read."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from study_rows import study_table

from jumpstart_exp.cell import Cell
from jumpstart_exp.report.papers.compared import Compared, compared, comparison_jobs
from jumpstart_exp.report.papers.comparison_tables import claims_caption
from jumpstart_exp.report.papers.published import published_dir, read_published


@pytest.fixture(scope="module")
def store() -> pd.DataFrame:
    def at_50x4(cell: Cell) -> tuple[float, float]:
        return (0.9 + cell.seed / 100, 0.8) if cell.method == "sep_up" else (0.5, 0.4)

    def on_the_grid(cell: Cell) -> tuple[float, float]:
        return 0.7, 0.6

    def where(cell: Cell) -> bool:
        return cell.depth in (1, 10) and cell.width == 3

    table2 = study_table("table2_50x4", "paper", range(3), at_50x4)
    grid = study_table("cpaior_moons", "paper", range(3), on_the_grid, where)
    return pd.concat([table2, grid], ignore_index=True)


@pytest.fixture(scope="module")
def found(store: pd.DataFrame) -> Compared:
    return compared(store, read_published())


def written(found: Compared, folder: Path) -> dict[str, str]:
    paths = [path for job in comparison_jobs(found) if job.folder == "tables" for path in job.write(folder)]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in paths)
    return {path.name: path.read_text() for path in paths}


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_writes_every_comparison_as_markdown_latex_and_csv(found: Compared, tmp_path: Path) -> None:
    stems = ["published_claims", "moons_paper_published", "table2_50x4_paper_published", "moons_layouts"]
    names = {f"{stem}.{kind}" for stem in stems for kind in ("md", "tex", "csv")}
    assert {*written(found, tmp_path)} == names | {"moons_paper_published_places.csv"}
    folders = [job.folder for job in comparison_jobs(found)]
    assert folders == ["tables", "figures", *["tables"] * 4]


def test_table_2_beside_ours(found: Compared, tmp_path: Path) -> None:
    texts = written(found, tmp_path)
    rows = {(row["method"], row["metric"]): row for row in read(texts["table2_50x4_paper_published.csv"])}
    assert len(rows) == 12
    sep_up = rows["sep_up", "train_acc_best"]
    assert (sep_up["published"], sep_up["mean"], sep_up["least"], sep_up["most"]) == ("0.9882", "0.91", "0.9", "0.92")
    assert (sep_up["seeds"], sep_up["is_inside"], sep_up["reached"]) == ("3", "False", "0")
    (line,) = [own for own in texts["table2_50x4_paper_published.md"].splitlines() if "Sep-UP | training" in own]
    assert "| 50×4 | 0.9882 | 0 of 3" in line and r"| 0.910 \[range 0.900, 0.920\] |" in line
    assert "95 %" not in texts["table2_50x4_paper_published.md"], "of three seeds nothing is called so"
    assert "losses are not compared" in texts["table2_50x4_paper_published.md"]
    assert r"\textbackslash" not in texts["table2_50x4_paper_published.tex"]
    assert texts["table2_50x4_paper_published.tex"].count(r" \\") == 13


def test_claims_are_written_with_both_numbers_and_verdicts(found: Compared, tmp_path: Path) -> None:
    texts = written(found, tmp_path)
    rows = {(row["name"], row["variant"]): row for row in read(texts["published_claims.csv"])}
    own = rows["sepcons_50x4_sep_l", "paper"]
    assert (own["published"], own["value"], own["low"], own["high"]) == ("1", "0.5", "", "")
    assert (own["verdict"], own["note"], own["count"]) == ("undecided", "fewer than 6 seeds", "3")
    other = rows["moons_jumpstart_width_25", "code"]
    assert (other["value"], other["verdict"], other["by_table"]) == ("", "not trained", "70")
    assert other["command"] == "python -m jumpstart_exp -m +experiment=cpaior_moons variant=code seed=0,1,...,9"
    lines = texts["published_claims.md"].splitlines()
    assert len(lines) == 2 + 2 + len(found.claims)
    assert any("undecided" in line for line in lines[4:])
    assert f"; `{other['command']}` |" in texts["published_claims.md"], "code, nothing escaped: it can be copied"
    assert lines[3] == "| --- | --- | --- | --- | ---: | --- | --- | --- | --- |"


def test_statements_that_are_trained_come_first(found: Compared, tmp_path: Path) -> None:
    texts = written(found, tmp_path)
    names = list(dict.fromkeys(row["name"] for row in read(texts["published_claims.csv"])))
    known = {claim.name for claim in found.claims if any(finding.measure is not None for finding in claim.findings)}
    assert 0 < len(known) < len(names) and {*names[: len(known)]} == known
    papers = [claim.name for claim in found.claims if claim.name in known]
    assert names[: len(known)] == papers, "in the papers' order"
    rows = texts["published_claims.md"].splitlines()[4:]
    without = [" reproduced" not in row and "undecided" not in row for row in rows]
    assert without == sorted(without) and sum(without) == len(names) - len(known)


def test_the_claims_caption_says_the_threshold_in_use(store: pd.DataFrame, found: Compared) -> None:
    told = "at least 0.95 on MOONS, 0.2247 on MNIST, 0.2 on CIFAR-10, 0.02 on CIFAR-100, 0.99 on Strip. "
    assert told in claims_caption(found.claims)
    given = claims_caption(compared(store, read_published(), 0.9).claims)
    assert "at least 0.9 on MOONS and MNIST and CIFAR-10 and CIFAR-100 and Strip. " in given and told not in given


def test_how_many_cells_diverged_is_said(tmp_path: Path) -> None:
    def where(cell: Cell) -> bool:
        return cell.depth in (1, 10) and cell.width == 3 and cell.method == "relu"

    store = study_table(
        "cpaior_moons", "paper", range(3), lambda cell: None if cell.depth == 10 and cell.seed else (0.7, 0.6), where
    )
    texts = written(compared(store, read_published()), tmp_path)
    assert "2 of 6 cells diverged: left out of means, ranges and counts." in texts["moons_paper_published.md"]
    said = "2 of 6 cells diverged: left out of the mean absolute difference, counted as not trained."
    assert f"MLP (variant=paper): {said}" in texts["moons_layouts.md"]


def test_the_same_store_gives_the_same_bytes_in_any_order(store: pd.DataFrame, found: Compared, tmp_path: Path) -> None:
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
    first = written(found, tmp_path / "first")
    shuffled = store.sample(frac=1, random_state=3)
    assert written(compared(shuffled, read_published()), tmp_path / "again") == first


def test_the_published_numbers_are_only_read(store: pd.DataFrame, tmp_path: Path) -> None:
    def state() -> dict[str, tuple[bytes, int]]:
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in published_dir().iterdir()}

    before = state()
    for job in comparison_jobs(compared(store, read_published())):
        assert job.folder == "figures" or job.write(tmp_path)
    assert state() == before


def test_an_empty_store_has_claims_but_no_tables() -> None:
    found = compared(pd.DataFrame(), read_published())
    assert (found.grids, found.layouts) == ({}, ())
    assert {own.verdict for claim in found.claims for own in claim.findings} == {"not trained"}
    assert not [*comparison_jobs(found)]
