"""Files and texts that mean harm: parts that are none, results that cannot be, labels that other programs would run."""

import csv
import io
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.console import Console

from jumpstart_exp.__main__ import tidied_arguments
from jumpstart_exp.cell import Cell
from jumpstart_exp.report.__main__ import main as report
from jumpstart_exp.report.figures.drawing import plain_style, save_figure
from jumpstart_exp.report.figures.heatmaps import heatmap_figure
from jumpstart_exp.report.figures.scatters import scatter_figure
from jumpstart_exp.report.table.grid import FigureGrid, GridWarning, figure_grids
from jumpstart_exp.report.table.names import LONGEST_TITLE, label_title
from jumpstart_exp.report.tables.summaries import summary_jobs
from jumpstart_exp.report.tables.table import in_latex
from jumpstart_exp.result import CurveRow, Metric, Result
from jumpstart_exp.settings import legible
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.store import Store, StoreWarning, cell_schema, result_row
from jumpstart_exp.sweep.progress import Outcome, outcome_table, result_table

LABELS = [
    "<script>alert(1)</script>",
    "a & b &lt;i&gt;",
    "| --- | [link](http://x) |",
    "`rm -rf`",
    "$\\frac$ and $x^2$",
    "costs $5",
    "\\$HOME $\\unknown{",
    "\\input{/etc/passwd}",
    "100 % # {} _ ^ ~ \" '",
    "two\nlines\r\nand\ttabs",
    "[red]red[/red] [/]",
    "\x1b]0;title\x07\x1b[2J",
    "a\0b",
    "\u202egnp.exe \u200f\u2066",
    '=HYPERLINK("http://x")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "ℂ 日本語 😀",
    "x" * 10_000,
    "y" * 10_000,
    "x" * 9_999 + "!",
    "",
]
UNPRINTED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200e\u200f]")
"""What moves a terminal's cursor, or turns text around; only line ends may stay."""


def cell(seed: int = 0, method: str = "relu", **values: Any) -> Cell:
    penalty = PenaltySpec(kind="none" if method == "relu" else "UP")
    return Cell(depth=2, width=3, seed=seed, method=method, penalty=penalty, **values)


def result(of: Cell, **values: Any) -> Result:
    curve = (CurveRow(1, 0.5, 0.25, 0.75, 1.25, None, 0.0, 0.1, 0.2, 0.3),)
    metrics = {"train_acc": Metric(0.8, 0.9, 1), "val_acc": Metric(0.7, 0.8, 1)}
    values = {"n_params": 10, "seconds": 1.5, "peak_memory_bytes": 1000, **metrics, **values}
    return Result(of, "done", values.pop("engine", "eager"), curve=curve, **values)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two results."""
    store = Store(tmp_path / "results")
    for seed in (0, 1):
        store.write([result(cell(seed))])
    return store


def part(store: Store) -> pa.Table:
    """One row as it was stored by earlier versions, of a cell that the store has not."""
    table = pq.read_table(min(store.cells_dir.glob("*.parquet"))).drop_columns(["label_check"])
    return column(column(table, "seed", pa.array([9])), "key", pa.array([cell(9).key]))


def column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


# Parts that cannot be read


def invalid_text(table: pa.Table, name: str) -> pa.Table:
    content = pa.array([b"\xff\xfe\xfa"], pa.binary())
    return column(table, name, pa.Array.from_buffers(pa.string(), 1, content.buffers()))


REFUSED: dict[str, Callable[[pa.Table], pa.Table]] = {
    "other columns": lambda table: pa.table({"a": [1], "b": ["x"]}),
    "no columns": lambda table: pa.table({}),
    "a number for a text": lambda table: column(table, "method", pa.array([3])),
    "a text for a number": lambda table: column(table, "width", pa.array(["3"])),
    "a truth for a number": lambda table: column(table, "seconds", pa.array([True])),
    "a list for a number": lambda table: column(table, "depth", pa.array([[1, 2]])),
    "a structure for a text": lambda table: column(table, "error", pa.array([{"a": 1}])),
    "a dictionary for a text": lambda table: column(table, "key", table["key"].combine_chunks().dictionary_encode()),
    "a column twice": lambda table: table.append_column("depth", pa.array([7])),
    "a key twice": lambda table: table.append_column("key", pa.array(["other"])),
    "no key": lambda table: column(table, "key", pa.array([None], pa.string())),
    "no status": lambda table: column(table, "status", pa.array([None], pa.string())),
    "no method": lambda table: column(table, "method", pa.array([None], pa.string())),
    "an unknown status": lambda table: column(table, "status", pa.array(["won"])),
    "a status in capitals": lambda table: column(table, "status", pa.array(["DONE"])),
    "a status of ten megabytes": lambda table: column(table, "status", pa.array(["s" * 10_000_000])),
    "a status that is no text": lambda table: invalid_text(table, "status"),
    "a key that is no text": lambda table: invalid_text(table, "key"),
}


def folder(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def other_format(path: Path) -> None:
    path.write_bytes(b"\x80\x04cposix\nsystem\n(S'touch harmed'\ntR.")


NO_FILES: dict[str, Callable[[Path], None]] = {
    "folder": folder,
    "link to itself": loop,
    "pipe": os.mkfifo,
    "device": device,
    "pickle": other_format,
    "empty": lambda path: path.touch(),
    "only the magic": lambda path: path.write_bytes(b"PAR1PAR1PAR1"),  # type: ignore[dict-item, return-value]
}


@pytest.fixture(params=[*REFUSED, *NO_FILES])
def bad_part(request: pytest.FixtureRequest, store: Store) -> Path:
    path = store.cells_dir / "part-1-bad.parquet"
    if request.param in REFUSED:
        pq.write_table(REFUSED[request.param](part(store)), path)
    else:
        NO_FILES[request.param](path)
    return path


def warned(read: Callable[[], Any]) -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read()
    assert all(issubclass(warning.category, StoreWarning) for warning in caught)
    return found, [str(warning.message) for warning in caught]


def test_a_part_that_is_none_is_named_and_the_rest_is_read(store: Store, bad_part: Path) -> None:
    keys = {cell(0).key, cell(1).key}
    readers: list[Callable[[], Any]] = [
        lambda: set(Store(store.results_dir).stored()),
        lambda: set(Store(store.results_dir).cells()["key"]),
        lambda: set(Store(store.results_dir).curves()["key"]),
    ]
    for read in readers:
        found, messages = warned(read)
        assert found == keys
        (message,) = messages
        assert str(bad_part) in message and "\n" not in message and len(message) < 1000
    row, messages = warned(lambda: Store(store.results_dir).row(cell(1).key))
    assert row["seed"] == 1


def test_a_text_that_is_none_costs_its_part_where_it_is_read(store: Store) -> None:
    bad = store.cells_dir / "part-1-bad.parquet"
    pq.write_table(invalid_text(part(store), "error"), bad)
    for read in ("cells", "stored"):
        found, messages = warned(getattr(Store(store.results_dir), read))
        assert len(found) == 2
        assert [bad.name in message for message in messages] == [True]


def test_bad_parts_leave_the_report_as_it_is(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"results_dir={store.results_dir}", "only=heatmaps", "redraw=all"]
    assert report(arguments) == 0
    before = capsys.readouterr()
    row = part(store)
    for index, make in enumerate(REFUSED.values()):
        pq.write_table(make(row), store.cells_dir / f"part-{index}-bad.parquet")
    for name, make_file in NO_FILES.items():
        make_file(store.cells_dir / f"part-{name}-bad.parquet")
    drawn = {path: path.read_bytes() for path in (store.results_dir / "figures").iterdir()}
    assert report(arguments) == 0
    after = capsys.readouterr()
    assert before.err == "" and before.out == after.out
    lines = after.err.splitlines()
    assert len(lines) == len(REFUSED) + len(NO_FILES)
    assert all(line.startswith("warning: ") and "-bad.parquet" in line for line in lines)
    assert {path: path.read_bytes() for path in (store.results_dir / "figures").iterdir()} == drawn


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_part_without_permission_is_named(store: Store) -> None:
    bad = store.cells_dir / "part-1-bad.parquet"
    pq.write_table(part(store), bad)
    bad.chmod(0)
    found, messages = warned(lambda: set(store.stored()))
    assert found == {cell(0).key, cell(1).key}
    assert [str(bad) in message for message in messages] == [True]


@pytest.mark.parametrize("make", [*NO_FILES.values(), lambda path: pq.write_table(pa.table({"key": [1]}), path)])
def test_a_curve_that_is_none_costs_only_itself(store: Store, make: Callable[[Path], None]) -> None:
    bad = min(store.curves_dir.iterdir())
    bad.unlink()
    make(bad)
    curves, messages = warned(store.curves)
    assert len(set(curves["key"])) == 1
    assert [bad.name in message for message in messages] == [True]


def test_a_name_cannot_speak_to_the_terminal(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (store.cells_dir / "part-\x1b]0;title\x07\n\u202e.parquet").write_bytes(b"")
    assert report([f"results_dir={store.results_dir}", "only=heatmaps"]) == 0
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and "part-\\x1b]0;title\\x07\\n\\u202e.parquet" in shown
    assert not UNPRINTED.search(shown)


# Rows that no training writes


def test_what_older_parts_lack_and_what_is_long_is_read(store: Store) -> None:
    pq.write_table(column(part(store), "error", pa.array(["e" * 10_000_000])), store.cells_dir / "part-odd.parquet")
    pq.write_table(part(store).slice(0, 0), store.cells_dir / "part-empty.parquet")
    assert len(store.stored()[cell(9).key].error or "") == 10_000_000
    assert set(store.cells()["seed"]) == {0, 1, 9}


IMPOSSIBLE: list[tuple[str, Any]] = [
    *(("depth", value) for value in (None, 0, -1, 2**62)),
    *(("width", value) for value in (None, 0, -(2**62), 2**62)),
    *(("seed", value) for value in (None, -1, 2**62)),
    *(("dataset", value) for value in (None, "", "<script>")),
    *(("network.layout", value) for value in (None, "\\input{x}")),
    *(("optimizer.epochs", value) for value in (None, 0, -5)),
    *(("optimizer.lr", value) for value in (-1.0, np.inf)),
    *(("penalty.kind", value) for value in ("$x$", "")),
    ("penalty.balance", 1.5),
    ("penalty.layer_weights", [1.0, np.inf]),
    ("precision", "\x1b[31m"),
    *(("train_acc_best", value) for value in (np.inf, -0.5, 7.0)),
    ("val_acc_last", -np.inf),
    *(("n_params", value) for value in (0, -7)),
    *(("seconds", value) for value in (-1.0, np.inf)),
    ("peak_memory_bytes", -1),
    *(("train_loss_best", value) for value in (np.nan, -np.inf)),
    ("val_acc_best_epoch", 0),
    ("dead_units_last", 1.5),
    ("penalty_start", np.inf),
    ("dataset.augment", "none"),
]


@pytest.mark.parametrize(("name", "value"), IMPOSSIBLE)
def test_a_row_that_cannot_be_is_named_and_the_others_are_shown(store: Store, name: str, value: Any) -> None:
    odd = column(part(store), name, pa.array([value], cell_schema().field(name).type))
    pq.write_table(odd, store.cells_dir / "part-odd.parquet")
    rows, (message,) = warned(store.cells)
    assert set(rows["key"]) == {cell(0).key, cell(1).key} and store.left_out == 1
    assert cell(9).key in message and "part-odd.parquet" in message and message.isprintable()
    assert f"no training has {name}=" in message
    (grid,) = figure_grids(rows)
    assert grid.present.sum() == 2


def test_many_impossible_rows_are_counted(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [part(store)] * 30
    keys = pa.array([f"{index:032x}" for index in range(30)])
    odd = column(column(pa.concat_tables(rows), "depth", pa.array([-1] * 30)), "key", keys)
    pq.write_table(odd, store.cells_dir / "part-odd.parquet")
    assert report([f"results_dir={store.results_dir}", "only=heatmaps"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert lines[-1] == "warning: 25 more rows are left out that no training can have written"


def test_what_trainings_write_is_sound(store: Store) -> None:
    cells = [
        Cell.from_config({"dataset": {"name": "cifar10"}, "network": {"layout": "cnn"}, "precision": "bf16"}, "cnn"),
        Cell.from_config(
            {"penalty": {"kind": "UP", "layer_weights": [0.5] * 10}, "dataset": {"noise": 0.1}}, "weights"
        ),
        cell(3, network=NetworkSpec(norm="batch"), optimizer=OptimizerSpec(batch_size=16, shuffle=False)),
    ]
    store.write([result(each) for each in cells])
    store.write(
        [Result(cell(4), "failed", "native", error="x"), Result(cell(5), "diverged", "native", diverged_epoch=1)]
    )
    for path in store.cells_dir.iterdir():  # as earlier versions did, so that it is looked at when it is read
        pq.write_table(pq.read_table(path), path)
    assert len(store.cells()) == 7


def table_of(depths: Sequence[int], widths: Sequence[int], seeds: Sequence[int]) -> pd.DataFrame:
    """Rows one by one along all three axes at once."""
    base = stored_row(cell(0))
    rows = [
        {**base, "key": f"{index:032x}", "depth": depth, "width": width, "seed": seed}
        for index, (depth, width, seed) in enumerate(zip(depths, widths, seeds, strict=True))
    ]
    return pd.DataFrame(rows)


def stored_row(of: Cell) -> dict[str, Any]:
    return {**dict.fromkeys(cell_schema().names), **result_row(result(of)), "labels": [of.method]}


@pytest.mark.parametrize(
    ("depths", "widths", "seeds"),
    [
        (range(1, 1001), range(1, 1001), range(1000)),
        (range(1, 3001), [2] * 3000, [0] * 3000),
        ([2] * 1000, range(1, 1001), [0] * 1000),
    ],
)
def test_a_figure_beyond_all_paper_is_left_out(
    depths: Sequence[int], widths: Sequence[int], seeds: Sequence[int]
) -> None:
    with pytest.warns(GridWarning, match=r"^MOONS · mlp · 5000 epochs is left out: 1 methods × \d+ depths × "):
        assert figure_grids(table_of(depths, widths, seeds)) == []


# Labels


@pytest.fixture(scope="module")
def grid() -> FigureGrid:
    """A figure of two networks of each label, trained by an engine with a bad name."""
    base = stored_row(cell(0, "sep_up"))
    rows = [
        {**base, "key": f"{index:032x}", "method": label, "labels": [label], "width": width, "engine": LABELS[0]}
        for index, (label, width) in enumerate((label, width) for label in LABELS for width in (2, 3))
    ]
    relu = stored_row(cell(0, "relu"))
    rows += [{**relu, "key": f"{width:032x}", "width": width, "engine": LABELS[0]} for width in (2, 3)]
    (found,) = figure_grids(pd.DataFrame(rows))
    return found


def seen(figure: Figure) -> Iterator[str]:
    """Every text as it is drawn, and what of it matplotlib would take for a formula."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        drawn, is_formula = text._preprocess_math(text.get_text())  # type: ignore[attr-defined]
        assert is_formula is False, text.get_text()
        yield drawn


@pytest.mark.parametrize("draw", [heatmap_figure, scatter_figure])
def test_figures_show_labels_as_they_are(grid: FigureGrid, draw: Callable[[FigureGrid, str], Figure]) -> None:
    with plain_style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        texts = list(seen(draw(grid, "best")))
    words = "".join("".join(text.split()) for text in texts)
    for label in LABELS:
        if label.isprintable() and len(label) <= LONGEST_TITLE:
            assert "".join(label.split()) in words
    assert not any(UNPRINTED.search(text) for text in texts)
    assert max(map(len, texts)) < 200


def test_figures_of_bad_labels_are_drawn_without_a_word(grid: FigureGrid, tmp_path: Path) -> None:
    few = ["$\\frac$ and $x^2$", "costs $5", "two\nlines", "a\0b", "\u202egnp.exe", "日本語 😀"]
    base = stored_row(cell(0))
    rows = [{**base, "key": f"{i:032x}", "labels": [label]} for i, label in enumerate(few)]
    (found,) = figure_grids(pd.DataFrame(rows))
    paths = save_figure(lambda: heatmap_figure(found, "best"), tmp_path, found.slug)
    assert len(paths) == 2 and all(path.stat().st_size > 1000 for path in paths)
    assert matplotlib.rcParams["text.parse_math"] is True


def test_every_label_has_a_title_of_its_own_that_prints() -> None:
    titles = [label_title(label) for label in LABELS]
    assert len({*titles}) == len(LABELS)
    assert all((title.isprintable() and len(title) <= LONGEST_TITLE + 8) for title in titles)
    assert label_title("a\nb") != label_title("a\\nb")


@pytest.fixture(scope="module")
def written(grid: FigureGrid, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tables")
    paths = [path for job in summary_jobs(grid) for path in job.write(folder)]
    assert {path.parent for path in paths} == {folder}
    return {path.name.rpartition("_")[2]: path.read_text(encoding="utf-8") for path in paths}


def test_no_table_speaks_to_the_terminal(written: dict[str, str]) -> None:
    assert set(written) == {"best.md", "best.tex", "best.csv", "last.md", "last.tex", "last.csv", "cost.md", "cost.csv"}
    for text in written.values():
        assert not UNPRINTED.search(text)


@pytest.mark.parametrize("name", ["best.md", "cost.md"])
def test_markdown_has_neither_html_nor_more_columns_nor_links(written: dict[str, str], name: str) -> None:
    text = written[name]
    assert not re.search(r"(?<!\\)[<&`$]", text)
    assert not re.search(r"(?<!\\)\[", text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 1
    assert r"\<script\>alert(1)\</script\>" in text
    assert r"\`rm -rf\`" in text and r"\$\\frac\$ and \$x^2\$" in text


def test_latex_reads_no_file_and_no_formula(written: dict[str, str]) -> None:
    text = written["best.tex"]
    assert r"\input" not in text and r"\textbackslash{}input\{/etc/passwd\}" in text
    known = {"begin", "end", "centering", "caption", "hline", "multicolumn", "ensuremath", "times", "cdot", "lambda"}
    known |= {"ell", "Sigma", "texttt", "symbol", "textbackslash", "textasciitilde", "textasciicircum"}
    known |= {"textasciigrave"}
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= known
    bare = re.sub(r"\\ensuremath\{(?:\\\w+|[^{}])*\}", "", text)
    assert not re.search(r"(?<!\\)[#$%^_~]", bare)
    braces = re.sub(r"\\[{}]", "", text)
    assert braces.count("{") == braces.count("}")
    body = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in body[1:]}) == 1


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ('`a"', r"\textasciigrave{}a\symbol{34}"),
        ("😀", r"\texttt{U+1F600}"),
        ("日", r"\texttt{U+65E5}"),
        ("Ünal ž", "Ünal ž"),
    ],
)
def test_latex_has_a_letter_for_everything(text: str, escaped: str) -> None:
    assert in_latex(text) == escaped


@pytest.mark.parametrize("name", ["best.csv", "cost.csv"])
def test_no_cell_of_a_csv_is_a_formula(written: dict[str, str], name: str) -> None:
    rows = list(csv.reader(written[name].splitlines()))
    assert len({len(row) for row in rows}) == 1
    texts = [value for row in rows for value in row]
    assert not any(re.match(r"[=+@\t\r]|-\D|-\d+\+", text) for text in texts)
    shown = [text.removesuffix(" training") for text in texts]
    for label in LABELS:
        visible = legible(label, 20 * len(label) + 1)
        guarded = f"'{visible}" if visible[:1] in ("=", "+", "-", "@") else visible
        assert guarded in shown


# The terminal


@pytest.mark.parametrize("label", LABELS)
def test_tables_in_the_terminal_show_labels_as_they_are(label: str) -> None:
    of = cell(0, label)
    row = {**stored_row(of), "engine": label}
    terminal = Console(file=io.StringIO(), width=400, color_system=None, force_terminal=True)
    terminal.print(outcome_table([Outcome(label, "done", 0.9, 0.95, "classification")]))
    terminal.print(result_table(of, row))
    assert isinstance(terminal.file, io.StringIO)
    shown = terminal.file.getvalue()
    # rich's own sequences, which are for bold and the like
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert not UNPRINTED.search(plain)
    if len(label) < 100:
        words = "".join(legible(label).split())  # a caption is wrapped
        assert "".join(plain.split()).count(words) >= 3


# The command line

TYPED = [
    (["depth='\x1b]0;title\x07'"], ["depth=", "\\x1b]0;title"]),
    (["method='\x1b[31m'"], ["method=", "\\x1b[31m"]),
    (["penalty.weight=" + "9" * 400], ["penalty.weight=9999", "a number of at least 0"]),
    (["seed=" + "9" * 5000], ["seed=9999", "too long"]),
    (["penalty.layer_weights=" + "[" * 50 + "]" * 50], ["penalty.layer_weights=[[["]),
    (["-m", "depth=range(1e400)"], ["depth=range(1e400)", "finite"]),
    (["results_dir=~nobody-of-this-name/x"], ["results_dir='~nobody-of-this-name/x'", "home"]),
    (["depth=a=b"], ["depth=a=b cannot be read"]),
    (["hydra.sweeper.params={depth:1}"], ["hydra.sweeper.params={depth:1} ", "cannot be used"]),
    (["hydra.searchpath=[file://{tmp}]", "method=binary"], ["method/binary.yaml cannot be read", "no UTF-8"]),
]


@pytest.mark.parametrize(("typed", "expected"), TYPED)
def test_what_means_harm_is_one_line(
    answer: Callable[..., Any], tmp_path: Path, typed: list[str], expected: list[str]
) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "binary.yaml").write_bytes(b"# @package _global_\npenalty: {kind: \xff\xfe}\n")
    done = answer(*(argument.replace("{tmp}", str(tmp_path)) for argument in typed), "dry_run=true")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stdout == ""
    assert done.stderr.count("\n") == 1 and len(done.stderr) < 1000
    assert not UNPRINTED.search(done.stderr)
    for text in expected:
        assert text in done.stderr


@pytest.mark.parametrize(
    "name", ["a b", "it's", 'say "x"', "a\\", "a\\n", "a\\'b", "é,ü", "~", "[x]", "{y}", "=", "%s", "`id`", "a\x1bb"]
)
def test_a_folder_is_read_as_it_is_typed(name: str) -> None:
    (argument,) = tidied_arguments([f"results_dir={name}"])
    assert OverridesParser.create().parse_override(argument).value() == name
