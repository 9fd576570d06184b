"""Quantised arrays: decoded here from their description alone."""

import base64
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumpstart_exp.report.page.packing import (
    COARSE_FRACTION,
    DIFFERENCE,
    FRACTION,
    POSITIVE,
    Block,
    Scale,
    text_length,
)


def decoded(block: Block, name: str) -> np.ndarray[Any, Any]:
    """The array as the page reads it: base64, zlib, bytes from the lowest on, then the scale."""
    entry = block.entries[name]
    content = base64.b64decode(block.text())[entry["start"] : entry["start"] + entry["length"]]
    size = np.dtype(entry["type"]).itemsize
    planes = np.frombuffer(zlib.decompress(content), np.uint8).reshape(size, -1).astype(np.int64)
    codes = sum(planes[i] << (8 * i) for i in range(size)).reshape(entry["shape"])
    if entry["type"] == "int32":
        codes = np.where(codes >= 2**31, codes - 2**32, codes)
    if "scale" not in entry:
        return codes
    low, high, count = (entry["scale"][part] for part in ("low", "high", "codes"))
    if entry["scale"]["log"]:
        numbers = np.where(codes == 1, 0.0, low * (high / low) ** ((codes - 2) / (count - 2)))
    else:
        numbers = low + (codes - 1) / (count - 1) * (high - low)
    return np.where(codes == 0, np.nan, numbers)


def test_arrays_come_back_with_their_shapes() -> None:
    block = Block()
    arrays = {
        "a": np.array([[0, 255], [7, 1]], np.uint8),
        "b": np.array([0, 65_535, 258], np.uint16),
        "c": np.array([[[-1, 2**31 - 1]]], np.int32),
        "d": np.array([2**32 - 1, 3], np.uint32),
        "e": np.empty(0, np.uint16),
    }
    for name, array in arrays.items():
        block.add(name, array)
    for name, array in arrays.items():
        np.testing.assert_array_equal(decoded(block, name), array)


@pytest.mark.parametrize(("scale", "error"), [(FRACTION, 0.5 / 65_500), (COARSE_FRACTION, 0.5 / 250)])
@given(values=st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=40))
def test_fractions_are_off_by_half_a_step_at_most(scale: Scale, error: float, values: list[float]) -> None:
    block = Block()
    block.add("x", np.array(values), scale)
    np.testing.assert_allclose(decoded(block, "x"), values, rtol=0, atol=error * (1 + 1e-9))


@given(values=st.lists(st.floats(1e-12, 1e12) | st.just(0.0) | st.just(float("nan")), max_size=40))
def test_positive_numbers_are_off_by_less_than_a_thousandth(values: list[float]) -> None:
    block = Block()
    block.add("x", np.array(values), POSITIVE)
    np.testing.assert_allclose(decoded(block, "x"), values, rtol=1e-3, atol=0)


def test_ends_take_what_lies_beyond_them() -> None:
    block = Block()
    block.add("x", np.array([-3.0, 3.0]), DIFFERENCE)
    block.add("y", np.array([1e-30, 1e30]), POSITIVE)
    np.testing.assert_array_equal(decoded(block, "x"), [-1, 1])
    np.testing.assert_allclose(decoded(block, "y"), [2.0**-60, 2.0**60])


def test_arrays_are_zlib_streams_without_a_date() -> None:
    block = Block()
    block.add("x", np.zeros(9, np.uint8))
    assert block.parts[0][:1] == b"\x78"  # gzip, which has a date, begins with 1f 8b


@given(count=st.integers(0, 1000))
def test_text_length_is_that_of_base64(count: int) -> None:
    assert text_length(count) == len(base64.b64encode(bytes(count)))
