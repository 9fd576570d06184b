"""docs/atlas.md: every number of its findings is what results/atlas says."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jumpstart_exp.config.studies import experiment_cells
from jumpstart_exp.report.atlas.area import areas
from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.atlas.rates import best_rates, read_rates
from jumpstart_exp.report.atlas.summary import read_summary, summary_path, summary_paths
from jumpstart_exp.report.atlas.tables import prediction_values, ranking_values, stability_values

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "results"
PAGE = ROOT / "docs" / "atlas.md"

MARKED = re.compile(r"<!--(?P<what>[^>]+?)-->(?P<text>−?\d{1,3}(?:,\d{3})*(?:\.\d+)?)(?P<unit> %)?")
"""A number, behind the expression that it is the value of: <!--area('crelu')-->0.93."""

FINDINGS = re.compile(r"<!-- findings -->(.*?)<!-- end of findings -->", re.DOTALL)


@cache
def atlas(study: str = "atlas_moons") -> Atlas:
    return read_summary(summary_path(RESULTS, study))


def at_method(method: str) -> int:
    return atlas().grid.methods.index(method)


def of_ranking(method: str, column: str) -> Any:
    values = ranking_values(atlas())
    return values.loc[values["method"] == method, column].item()


def of_stability(method: str, column: str) -> Any:
    values = stability_values(atlas())
    return values.loc[values["method"] == method, column].item()


def of_prediction(method: str, moment: str, column: str = "auc") -> float:
    values = prediction_values(atlas())
    return float(values.loc[(values["method"] == method) & (values["moment"] == moment), column].item())


VOCABULARY: dict[str, Callable[..., Any]] = {
    "methods": lambda: len(atlas().grid.methods),
    "seeds": lambda: len(atlas().grid.seeds),
    "networks": lambda: int(atlas().grid.present.sum()),
    "area": lambda method, at_epoch="last": float(areas(atlas(), at_epoch).area[at_method(method)]),
    "rank": lambda method: of_ranking(method, "rank"),
    "rate": lambda method: of_ranking(method, "learning_rate"),
    "trains": lambda method, at_epoch="last": of_ranking(method, f"trains_{at_epoch}"),
    "over": lambda method, baseline: of_ranking(method, f"over_{baseline}"),
    "time": lambda method: of_ranking(method, "time"),
    "parameters": lambda method: of_ranking(method, "parameters"),
    "lost": lambda method: of_stability(method, "lost"),
    "auc": of_prediction,
    "at_smallest_rate": lambda: sum(rate == min(atlas().rates.values()) for rate in atlas().rates.values()),
    "mean_at_rate": lambda method, rate: float(
        read_rates(RESULTS / "atlas" / "rates.csv").query("method == @method and learning_rate == @rate")["mean"].item()
    ),
}
"""What the page's expressions are made of."""


def numbers() -> list[tuple[str, str, str]]:
    return [(found["what"], found["text"], found["unit"] or "") for found in MARKED.finditer(PAGE.read_text())]


@pytest.mark.parametrize(("what", "text", "unit"), numbers())
def test_the_number_is_the_summarys(what: str, text: str, unit: str) -> None:
    value = eval(what, {"__builtins__": {}}, dict(VOCABULARY))  # the page is ours
    digits = len(text.partition(".")[2])
    assert f"{value * (100 if unit else 1):,.{digits}f}".replace("-", "−") == text, what


def test_every_number_of_the_findings_is_read_back() -> None:
    (findings,) = FINDINGS.findall(PAGE.read_text())
    left = re.sub(r"`[^`]*`|\[[^]]*\]\([^)]*\)", "", MARKED.sub("", findings))
    left = re.sub(r"\d+×\d+", "", left)  # networks that are named
    assert re.findall(r"[^\s]*\d[^\s]*", left) == []
    assert len(MARKED.findall(findings)) > 20


def test_the_vocabulary_is_used_and_its_numbers_are_numbers() -> None:
    used = {name for what, _, _ in numbers() for name in VOCABULARY if f"{name}(" in what}
    assert used == {*VOCABULARY}


def test_the_summaries_are_small_and_of_the_studies_that_there_are() -> None:
    paths = summary_paths(RESULTS)
    assert summary_path(RESULTS, "atlas_moons") in paths
    assert sum(path.stat().st_size for path in paths) < 2_000_000
    for path in paths:
        found = read_summary(path)
        own = {
            (cell.method, cell.depth, cell.width): cell.optimizer.lr for cell in experiment_cells(found.study, "paper")
        }
        present = found.grid.present.any(axis=-1)
        for method, depth, width in np.argwhere(present):
            label = found.grid.methods[method]
            assert own[label, found.grid.depths[depth], found.grid.widths[width]] == found.rates[label]


def test_each_method_has_the_rate_that_the_coarse_grid_gave_it() -> None:
    chosen = best_rates(
        read_rates(RESULTS / "atlas" / "rates.csv").query("learning_rate in [0.001, 0.003, 0.01, 0.03]")
    )
    study = {cell.method: cell.optimizer.lr for cell in experiment_cells("atlas_moons", "paper")}
    assert {method: study[method] for method in chosen} == chosen
