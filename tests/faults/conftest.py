from collections.abc import Iterator

import pytest

from faults.sweeps import Sweeps


@pytest.fixture
def sweeps() -> Iterator[Sweeps]:
    with Sweeps() as started:
        yield started
