"""The atlas's tables: rows in the order of the ranking, what is missing, and what the captions say of it."""

from typing import Any

import made_atlases
import numpy as np
import pytest

from jumpstart_exp.report.atlas.area import areas
from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.report.atlas.comparison_figures import prediction_figure, profile_figure, stability_figure
from jumpstart_exp.report.atlas.improvement import improvement
from jumpstart_exp.report.atlas.tables import (
    prediction_table,
    prediction_values,
    ranking_table,
    ranking_values,
    stability_table,
    stability_values,
)
from jumpstart_exp.report.figures.drawing import figure_files
from jumpstart_exp.report.tables.table import as_csv, as_latex, as_markdown

RANKED = ["the rival_1", "the rival_0", "the sep_up", "the relu"]


DEPTHS = (1, 3, 10, 30, 100)


def of_seeds(count: int) -> np.ndarray:
    return made_atlases.seeds_made(np.random.default_rng(1), 4, count, DEPTHS)[0]


def atlas_made(last: np.ndarray, **made: Any) -> Atlas:
    return made_atlases.atlas_made(last, depths=DEPTHS, **made)


def lines(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|\n ").split(" | ")] for line in text.splitlines() if "|" in line]


def test_the_ranking_has_every_statistic_of_its_method() -> None:
    atlas = atlas_made(of_seeds(10))
    values, found, over = ranking_values(atlas), areas(atlas, "last"), improvement(atlas.grid, "sep_up")
    assert values["title"].tolist() == RANKED
    assert values["rank"].tolist() == sorted(values["rank"])
    assert over is not None
    for row in values.itertuples():
        place = atlas.grid.methods.index(row.method)
        assert (row.area, row.area_low, row.area_high) == (found.area[place], found.low[place], found.high[place])
        assert (row.rank, row.rank_first, row.rank_last) == (found.rank[place], found.first[place], found.last[place])
        each = over.each[place]
        if each is None:
            assert row.method == "sep_up" and np.isnan(row.over_sep_up) and np.isnan(row.over_sep_up_p)
        else:
            assert (row.over_sep_up, row.over_sep_up_p_adjusted) == (each.value, over.adjusted[place])
        assert (row.seeds, row.lacking, row.learning_rate, row.time, row.parameters) == (10, 0, 0.01, 1, 1)


def test_the_ranking_is_shown_with_intervals_and_the_least_p_value() -> None:
    table = ranking_table(atlas_made(of_seeds(10)))
    text = as_markdown(table)
    assert "the 10 seeds resampled together" in text and "none can be below 0.002." in text
    assert "has fewer seeds than others" not in text
    heads, _, first, *others = lines(text)
    assert heads[:4] == ["rank", "method", "learning rate", "seeds"]
    row = table.values.iloc[0]
    assert first[0] == f"1 \\[{row.rank_first:.0f}–{row.rank_last:.0f}\\]"
    assert first[4] == f"{row.area:.3f} ({row.area_low:.3f} to {row.area_high:.3f})"
    assert first[7] == f"{row.over_relu:.2f} (p {row.over_relu_p_adjusted:.2g})"
    assert others[-1][7] == "–", "relu is not compared with itself"
    assert as_csv(table).splitlines()[1].startswith("1,") and r"\begin{tabular}" in as_latex(table)


def test_few_seeds_have_no_intervals_and_the_caption_says_so() -> None:
    text = as_markdown(ranking_table(atlas_made(of_seeds(5))))
    assert "No intervals: 5 seeds that all methods have everywhere are too few to resample, 10 are needed." in text
    assert "none can be below 0.062." in text
    assert [line[0] for line in lines(text)[2:]] == ["1", "2", "3", "4"]
    assert "No intervals: 1 seed that all methods" in as_markdown(ranking_table(atlas_made(of_seeds(1))))


def test_methods_that_lack_seeds_are_named() -> None:
    last = of_seeds(10)
    last[2, :, 0] = np.nan
    last[3, 1, 1, 4:] = np.nan
    table = ranking_table(atlas_made(last))
    assert "the rival_0 (5)" in table.caption and "the rival_1 (1)" in table.caption
    assert "the relu (" not in table.caption
    assert "No intervals: 4 seeds" in table.caption


def test_of_many_methods_that_lack_seeds_the_worst_are_named() -> None:
    last = np.ones((10, len(DEPTHS), 3, 4))
    for method in range(1, 10):
        last[method, :2].reshape(6, 4)[: method if method < 6 else 6, 0] = np.nan
    caption = ranking_table(atlas_made(last)).caption
    assert (
        "the rival_4 (6); the rival_5 (6); the rival_6 (6); the rival_7 (6); the rival_3 (5); the rival_2 (4); 3 others"
        in caption
    )


def test_without_relu_nothing_is_compared_with_it() -> None:
    atlas = atlas_made(of_seeds(3), methods=("he", "sep_up", "crelu", "rezero"))
    heads, _, *rows = lines(as_markdown(ranking_table(atlas)))
    for name in ("P over ReLU", "time", "parameters"):
        assert {row[heads.index(name)] for row in rows} == {"–"}, name
    assert "–" not in {row[heads.index("P over Sep-UP")] for row in rows if row[1] != "the sep\\_up"}


def test_the_census_is_told_in_the_order_of_the_ranking_and_none_of_smooth_activations() -> None:
    last = of_seeds(10)
    census = np.random.default_rng(0).uniform(0.1, 0.5, last.shape)
    census[2] = np.nan
    atlas = atlas_made(last, census=census)
    values = prediction_values(atlas)
    kept = [title for title in RANKED if title != "the rival_0"]
    assert values["title"].tolist() == [title for title in kept for _ in range(2)]
    assert values["moment"].tolist() == ["start", "early"] * 3
    row, shown = values.iloc[0], lines(as_markdown(prediction_table(atlas)))[2]
    assert shown[2] == f"{row.auc:.2f} ({row.low:.2f} to {row.high:.2f})"
    assert shown[3] == f"{row.within:.2f} ({row.within_low:.2f} to {row.within_high:.2f})"
    assert shown[4:] == [f"{row.pairs:,}", f"{row.trained} of {row.networks}"]
    smooth = atlas_made(last, census=np.full(last.shape, np.nan))
    assert len(lines(as_markdown(prediction_table(smooth)))) == 2, "heads only"


def test_who_trains_stably_is_told_in_the_order_of_the_ranking() -> None:
    last = of_seeds(4)
    last[0] = 0.5
    best = np.where(last >= 0.95, 1.0, 0.5)
    best[1, 4, 2] = 1.0
    atlas = atlas_made(last, best=best)
    assert stability_values(atlas)["title"].tolist() == RANKED
    shown = {line[0]: line[1:] for line in lines(as_markdown(stability_table(atlas)))[2:]}
    assert shown["the relu"] == ["0 of 60", "0", "–"]
    kept, gone = (last[1] >= 0.95).sum(), (last[1, 4, 2] < 0.95).sum()
    assert gone > 0
    assert shown["the sep\\_up"][:2] == [f"{kept + gone} of 60", str(kept)]
    assert shown["the sep\\_up"][2].startswith(f"{gone / (kept + gone):.1%} (")


def partial_stores() -> dict[str, Atlas]:
    lacking, none = of_seeds(10), of_seeds(1)
    lacking[0, :, 0], lacking[1, 1], lacking[2, :, :, 3:], lacking[3, 0, 0, 0] = np.nan, np.nan, np.nan, np.nan
    none[:] = 0.5
    return {
        "lacking": atlas_made(lacking),
        "untrained": atlas_made(none),
        "all": atlas_made(np.ones_like(lacking)),
        "diverged": atlas_made(lacking, diverged=np.random.default_rng(0).random(lacking.shape) < 0.5),
        "smooth": atlas_made(none, census=np.full(none.shape, np.nan)),
    }


@pytest.mark.parametrize(("name", "atlas"), partial_stores().items())
def test_whatever_is_missing_is_drawn_and_told(name: str, atlas: Atlas) -> None:
    for table in (ranking_table(atlas), prediction_table(atlas), stability_table(atlas)):
        assert "nan" not in as_markdown(table).lower(), name
        assert as_latex(table) and as_csv(table)
    for figure in (profile_figure, prediction_figure, stability_figure):
        files = figure_files(lambda draw=figure: draw(atlas), dpi=40)
        assert {*files} == {"png", "pdf"}
