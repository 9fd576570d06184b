"""Arrow's columns from Python's values, and back, as buffers: `pyarrow.array` imports pandas, which takes 0.2 s."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from jumpstart_exp.late import LateModule

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
else:
    np = LateModule("numpy")
    pa = LateModule("pyarrow")


def texts(values: Sequence[str]) -> pa.Array:
    """Texts, none of them null."""
    encoded = [value.encode() for value in values]
    ends = np.fromiter(accumulate(map(len, encoded), initial=0), np.int32, len(encoded) + 1)
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))], null_count=0
    )


def text_in_every_row(value: str, rows: int) -> pa.Array:
    """The same text so many times."""
    return pa.repeat(texts([value])[0], rows)


def integers(values: Sequence[int]) -> pa.Array:
    """Numbers of 64 bits, none of them null."""
    return pa.Array.from_buffers(
        pa.int64(), len(values), [None, pa.py_buffer(np.array(values, np.int64))], null_count=0
    )


def truths(values: NDArray[np.bool_]) -> pa.Array:
    """Truths (rows,), none of them null."""
    bits = np.packbits(values, bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)], null_count=0)


def empty_table(schema: pa.Schema) -> pa.Table:
    """A table of no row."""
    return pa.table([pa.nulls(0, field.type) for field in schema], schema=schema)
