"""Columns from buffers are what `pyarrow.array` makes, without pandas."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from jumpstart_exp.store.columns import empty_table, integers, text_in_every_row, texts, truths


@pytest.mark.parametrize("values", [[], [""], ["a", "", "é☃", "a" * 1000], ["\x00", "b"] * 20])
def test_texts(values: list[str]) -> None:
    found = texts(values)
    found.validate(full=True)
    assert found.equals(pa.array(values, pa.string()))


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_a_text_in_every_row(rows: int) -> None:
    assert text_in_every_row("part-é", rows).equals(pa.array(["part-é"] * rows, pa.string()))


@pytest.mark.parametrize("values", [[], [0], [3, -1, 2**63 - 1, -(2**63)]])
def test_integers(values: list[int]) -> None:
    assert integers(values).equals(pa.array(values, pa.int64()))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1000])
def test_truths(count: int) -> None:
    values = np.random.default_rng(count).random(count) < 0.5
    assert truths(values).equals(pa.array(values.tolist(), pa.bool_()))


def test_an_empty_table_has_the_schema() -> None:
    schema = pa.schema([("key", pa.string()), ("losses", pa.list_(pa.float64()))], metadata={b"a": b"b"})
    assert empty_table(schema).equals(schema.empty_table(), check_metadata=True)


def test_none_of_them_imports_pandas() -> None:
    program = (
        "import sys, numpy, pyarrow; from jumpstart_exp.store.columns import *; "
        "texts(['a']), text_in_every_row('a', 2), integers([1]), truths(numpy.array([True])); "
        "empty_table(pyarrow.schema([('a', pyarrow.string())])); print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
