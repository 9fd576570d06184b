"""Memory that a process has used."""

import sys

import pytest

from jumpstart_exp.memory import peak_memory_bytes, reset_peak_memory, resident_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def test_the_peak_is_of_this_process_and_can_begin_anew():
    block = bytearray(200 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    with_block = peak_memory_bytes()
    assert with_block >= resident_bytes() - 2**20 and resident_bytes() > len(block)
    del block
    reset_peak_memory()
    assert peak_memory_bytes() < with_block - 100 * 2**20
