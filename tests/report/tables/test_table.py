"""One table in Markdown, LaTeX and CSV, read back by what would read it."""

import csv
import io
import re
from pathlib import Path

import pandas as pd
import pytest

from jumpstart_exp.report.tables.table import (
    Column,
    Table,
    WithCommand,
    as_csv,
    as_latex,
    as_markdown,
    at,
    in_latex,
    interval,
    table_job,
)


def frame(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(rows, dtype=object)


SEEDS = Table(
    "50 % of α & β: λ_1 | x",
    frame(
        {"name": "ReLU_BN", "seeds": 3, "loss": 1 / 3, "loss_low": 0.25, "loss_high": 0.5, "ok": True, "note": "a|b"},
        {
            "name": "Sep, #1",
            "seeds": None,
            "loss": 2.0,
            "loss_low": None,
            "loss_high": None,
            "ok": None,
            "note": "=1+1",
        },
        {"name": "none", "seeds": 0, "loss": None, "loss_low": None, "loss_high": None, "ok": False, "note": "c"},
    ),
    (
        Column("", "{name}", "l"),
        Column("Train %", "{seeds} of {loss:.1f}"),
        Column("Val.", interval("loss", form="{:.2f} [{:.2f}, {:.2f}]"), missing=""),
        Column("run", lambda row: WithCommand("so", f"run {row.note}"), "l", width=2.5),
    ),
    groups=(("Sep-P+U #1", 2), ("Seeds", 1)),
    shown_only=("name",),
)


def test_markdown_has_every_cell_escaped_and_missing_values_as_dashes() -> None:
    lines = as_markdown(SEEDS).splitlines()
    assert lines[:2] == [r"50 % of α \& β: λ\_1 \| x", ""]
    assert lines[2:] == [
        r"|  | Sep-P+U \#1 Train % | Sep-P+U \#1 Val. | Seeds run |",
        "| --- | ---: | ---: | --- |",
        r"| ReLU\_BN | 3 of 0.3 | 0.33 \[0.25, 0.50\] | so; run a\|b |",
        r"| Sep, \#1 | – | 2.00 | so; `run =1+1` |",
        "| none | – | – | so; `run c` |",
    ]


def test_latex_has_titles_over_columns_and_widths_of_their_own() -> None:
    assert as_latex(SEEDS).splitlines()[:8] == [
        r"\begin{table}",
        r"\centering",
        r"\caption{50 \% of \texttt{U+03B1} \& \texttt{U+03B2}: \ensuremath{\lambda}\_1 \ensuremath{|} x}",
        r"\begin{tabular}{lrrp{2.5cm}}",
        r"\hline",
        r" & \multicolumn{2}{c}{Sep-P+U \#1} & \multicolumn{1}{c}{Seeds} \\",
        r" & Train \% & Val. & run \\",
        r"\hline",
    ]
    assert r"ReLU\_BN & 3 of 0.3 & 0.33 [0.25, 0.50] & so; run a\ensuremath{|}b \\" in as_latex(SEEDS)


def test_csv_has_the_values_with_whole_numbers_whole_and_no_formula() -> None:
    first, second, third = csv.DictReader(io.StringIO(as_csv(SEEDS)))
    assert [*first] == ["seeds", "loss", "loss_low", "loss_high", "ok", "note"]
    assert [*first.values()] == ["3", "0.333333333", "0.25", "0.5", "True", "a|b"]
    assert [*second.values()] == ["", "2.0", "", "", "", "'=1+1"]
    assert [*third.values()] == ["0", "", "", "", "False", "c"]
    whole = Table("", frame({"x": 1 / 3, "text": "a\nb"}), digits=None)
    assert as_csv(whole) == f"x,text\n{1 / 3!r},a\\nb\n"


def test_neighbouring_rows_make_one_line() -> None:
    rows = [{"of": of, "width": width, "value": 10 * width} for of, width in (("a", 1), ("a", 2), ("b", 2))]
    columns = (
        Column("of", "{of}"),
        Column("1", at("width", 1, lambda row: str(row.value))),
        Column("2", at("width", 2, lambda row: str(row.value))),
        Column("rows", lambda *rows: str(len(rows))),
    )
    table = Table("", frame(*rows), columns, by=("of",))
    assert as_markdown(table).splitlines()[2:] == ["| a | 10 | 20 | 2 |", "| b |  | 20 | 1 |"]
    assert as_csv(table) == "of,width,value\na,1,10\na,2,20\nb,2,20\n"


def test_rows_can_be_shown_as_columns() -> None:
    values = pd.DataFrame({"best": [0.5, None], "seeds": [3, 4]}, index=["=x 1", "y 2"], dtype=object)
    columns = (Column("the best", "{best:.2f}"), Column("of", "{seeds}"))
    table = Table("c", values, columns, across=("1", "2"), groups=(("x", 1), ("y", 1)), notes=("a_b", "c"))
    assert as_csv(table) == ",'=x 1,y 2\nbest,0.5,\nseeds,3,4\n"
    assert as_markdown(table).splitlines() == [
        *("c", "", r"- a\_b", "- c", "", "|  | x 1 | y 2 |", "| --- | ---: | ---: |"),
        *("| the best | 0.50 | – |", "| of | 3 | 4 |"),
    ]


@pytest.mark.parametrize(("lines", "kind"), [(39, "tabular"), (40, "longtable")])
def test_long_tables_break_over_pages_in_latex(lines: int, kind: str) -> None:
    text = as_latex(Table("c", frame(*({"x": x} for x in range(lines))), (Column("x", "{x}"),)))
    assert f"\\begin{{{kind}}}{{r}}\n" in text
    assert text.startswith("% needs \\usepackage{longtable}\n") == (kind == "longtable")
    assert re.findall(r"\\begin{(\w+)}", text) == re.findall(r"\\end{(\w+)}", text)[::-1]
    assert text.count("\\\\\n") == lines + 1 + (kind == "longtable"), "a line a row, the heads, the caption"


def test_a_job_writes_the_kinds_of_the_table(tmp_path: Path) -> None:
    made = Table("c", frame({"x": 1}), (Column("x", "{x}"),), kinds=("md", "csv"))
    paths = table_job("name", lambda: made).write(tmp_path / "new")
    assert [path.name for path in paths] == ["name.md", "name.csv"]
    assert [path.read_text() for path in paths] == ["c\n\n| x |\n| ---: |\n| 1 |\n", "x\n1\n"]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("sep_up", r"sep\_up"),
        ("a\\b", r"a\textbackslash{}b"),
        ("20×8", r"20\ensuremath{\times}8"),
        ("{}", r"\{\}"),
        ("a~b|c<d", r"a\textasciitilde{}b\ensuremath{|}c\ensuremath{<}d"),
    ],
)
def test_latex_escapes(text: str, escaped: str) -> None:
    assert in_latex(text) == escaped
