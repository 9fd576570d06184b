import multiprocessing

import pytest
from program import FORKED


@pytest.fixture
def quick_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from a process that has imported torch."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: FORKED)
