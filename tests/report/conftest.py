"""Shared by the report's tests."""

import pytest


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are files of nothing, where the test asks which there are."""
    monkeypatch.setattr("jumpstart_exp.report.figures.drawing.figure_files", lambda draw: {"png": b"", "pdf": b""})
