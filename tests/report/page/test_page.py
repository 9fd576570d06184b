"""The page as a file: what stands in it, how large it is, that it is always the same and takes nothing for markup."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from page_stores import (
    HOSTILE_ENGINE,
    HOSTILE_ERROR,
    HOSTILE_LABEL,
    SEEDS,
    cell,
    cut,
    hostile,
    merged,
    moons,
    page,
    part,
    result,
    stored,
)
from test_packing import decoded

from jumpstart_exp.report.figures.scatters import LOOKS
from jumpstart_exp.report.page import write_page
from jumpstart_exp.report.page.claimed_cells import ClaimedCells
from jumpstart_exp.report.page.colours import DARK_GROUND, contrast, on_dark
from jumpstart_exp.report.page.contents import page_contents
from jumpstart_exp.report.page.curves import LEAST_POINTS
from jumpstart_exp.report.page.packing import Block, text_length
from jumpstart_exp.report.page.published_values import claim_entries, layout_entries
from jumpstart_exp.report.papers.claims import Claim, Finding, assertions
from jumpstart_exp.report.papers.layouts import LayoutComparison, LayoutMeasure
from jumpstart_exp.report.papers.published import read_published
from jumpstart_exp.report.statistics.frontier import Start, frontiers
from jumpstart_exp.report.statistics.intervals import means, wilson
from jumpstart_exp.report.statistics.seedwise import Interval
from jumpstart_exp.report.table.grid import FigureGrid, figure_grids
from jumpstart_exp.report.tables.seeds import moments_table
from jumpstart_exp.result import METRICS, CurveRow, LayerCensus, Metric, Result
from jumpstart_exp.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return stored(tmp_path_factory.mktemp("page"), moons())


@pytest.fixture(scope="module")
def grid(store: Store) -> FigureGrid:
    (only,) = figure_grids(store.cells())
    return only


@pytest.fixture(scope="module")
def contents(store: Store, grid: FigureGrid) -> tuple[dict[str, Any], Block]:
    return page_contents(store.cells(), store, [grid])


class Tags(HTMLParser):
    """The elements of a page with the names of their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def test_a_second_page_has_the_same_bytes(store: Store, tmp_path: Path) -> None:
    published = read_published()
    first = page(store, tmp_path / "first.html", published)
    assert page(Store(store.results_dir), tmp_path / "second.html", published) == first
    assert not re.search(r"/tmp/|\d\d:\d\d:\d\d", first)


def test_hostile_texts_add_no_element(store: Store, tmp_path: Path) -> None:
    plain = Tags(page(store, tmp_path / "plain.html")).found
    text = page(stored(tmp_path / "hostile", hostile()), tmp_path / "hostile.html")
    assert Tags(text).found == plain
    assert "onerror" not in text.replace(part(text, "head"), "")
    assert not re.search("[<>&]", part(text, "head"))
    head = json.loads(part(text, "head"))
    assert head["studies"][0]["methods"][0]["label"] == HOSTILE_LABEL
    assert head["errors"] == [HOSTILE_ERROR]
    assert head["tracebacks"] == [f"line\n  {HOSTILE_ERROR}"]
    assert HOSTILE_ENGINE in {origin["engine"] for origin in head["origins"]}


def test_the_page_may_load_nothing_and_run_its_own_script_only(store: Store, tmp_path: Path) -> None:
    text = page(store, tmp_path / "page.html")
    script, style = (re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL) for tag in ("script", "style"))
    assert len(script) == len(style) == 1
    digests = [base64.b64encode(hashlib.sha256(of.encode()).digest()).decode() for of in (script[0], style[0])]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{digests[0]}'",
        f"style-src 'sha256-{digests[1]}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    # the one address is the name of SVG's elements
    outside = text.replace(part(text, "head"), "").replace(part(text, "block"), "")
    assert set(re.findall(r"\w+://[^\s\"'<]*", outside)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write\(|\beval\(|\bfetch\(", text)


def test_rows_are_those_of_the_store(store: Store, contents: tuple[dict[str, Any], Block]) -> None:
    head, block = contents
    keys = ["".join(f"{byte:02x}" for byte in key) for key in decoded(block, "rows.key")]
    table = store.cells().set_index("key").loc[keys]
    assert len(keys) == len(store.cells())
    for column, error in (("train_acc_best", 1e-5), ("val_acc_last", 1e-5), ("dead_points_start", 1e-5)):
        np.testing.assert_allclose(decoded(block, f"rows.{column}"), table[column].to_numpy(float), atol=error)
    for column in ("val_loss_best", "seconds"):
        np.testing.assert_allclose(decoded(block, f"rows.{column}"), table[column].to_numpy(float), rtol=1e-3)
    assert decoded(block, "rows.train_acc_best_epoch").tolist() == table["train_acc_best_epoch"].tolist()
    assert [head["statuses"][code] for code in decoded(block, "rows.status")] == table["status"].tolist()


def test_a_study_points_at_its_rows(store: Store, grid: FigureGrid, contents: tuple[dict[str, Any], Block]) -> None:
    _, block = contents
    keys = ["".join(f"{byte:02x}" for byte in key) for key in decoded(block, "rows.key")]
    of_table = store.cells()["key"].tolist()
    shown = decoded(block, "study0.rows")
    assert shown.shape == grid.rows.shape
    for here, there in zip(shown.reshape(-1), grid.rows.reshape(-1), strict=True):
        assert (here < 0 and there < 0) or keys[here] == of_table[there]


def test_intervals_are_those_of_the_statistics(grid: FigureGrid, contents: tuple[dict[str, Any], Block]) -> None:
    _, block = contents
    assert grid.seed_range()[1] == 3
    np.testing.assert_allclose(
        decoded(block, "study0.train_acc_best.mean"), means(grid.accuracy["train_acc_best"]).mean, atol=1e-5
    )
    for end in ("low", "high"):
        assert np.isnan(decoded(block, f"study0.train_acc_best.{end}")).all(), "three seeds have no interval"


def test_six_seeds_have_students_interval(tmp_path: Path) -> None:
    store = stored(tmp_path / "results", [result(cell("sep_up", 10, 3, seed)) for seed in range(6)])
    (only,) = figure_grids(store.cells())
    _, block = page_contents(store.cells(), store, [only])
    of = means(only.accuracy["train_acc_best"])
    for end, wanted in (("low", of.low), ("high", of.high)):
        assert not np.isnan(wanted).any()
        np.testing.assert_allclose(decoded(block, f"study0.train_acc_best.{end}"), np.clip(wanted, 0, 1), atol=2e-5)


def test_shares_count_every_seed_that_the_store_has(grid: FigureGrid, contents: tuple[dict[str, Any], Block]) -> None:
    _, block = contents
    trains = decoded(block, "study0.trained_best")
    wanted = np.nan_to_num(grid.accuracy["train_acc_best"]) >= 0.95 - 1e-9
    np.testing.assert_array_equal(trains.astype(bool), wanted)
    low, high = wilson(wanted.sum(axis=-1), grid.present.sum(axis=-1))
    np.testing.assert_allclose(decoded(block, "study0.trained_best.low"), low, atol=1e-5)
    np.testing.assert_allclose(decoded(block, "study0.trained_best.high"), high, atol=1e-5)


def test_frontiers_are_of_both_starts(grid: FigureGrid, contents: tuple[dict[str, Any], Block]) -> None:
    study = contents[0]["studies"][0]
    for start in get_args(Start):
        for at_epoch in ("best", "last"):
            shown = [[(point["width"], point["depth"]) for point in of] for of in study["frontiers"][start][at_epoch]]
            found = frontiers(grid, at_epoch, start=start)
            assert shown == [[(point.width, point.depth) for point in of.points] for of in found]


def test_a_frontier_says_whether_the_next_depth_is_missing(tmp_path: Path) -> None:
    store = stored(tmp_path, cut())
    (only,) = figure_grids(store.cells())
    study = page_contents(store.cells(), store, [only])[0]["studies"][0]
    relu = study["frontiers"]["grid"]["best"][only.methods.index("relu")]
    assert [(point["width"], point["depth"], point["cut"]) for point in relu] == [
        (2, None, True),
        (3, None, False),
        (4, 1, False),
    ]


def test_ratios_stand_for_both_starts_even_where_there_is_none(tmp_path: Path) -> None:
    # relu trains at width 4 only, to depth 1, and Sep-UP everywhere to depth 10, the end of the grid
    store = stored(tmp_path / "some", cut())
    (only,) = figure_grids(store.cells())
    ratios = page_contents(store.cells(), store, [only])[0]["studies"][0]["ratios"]
    for start in ("grid", "first"):
        (found,) = ratios[start]["best"]
        assert (found["ratio"], found["widths"], found["left_out"]) == (pytest.approx(10), (4,), (2, 3))
        assert (found["at_least"], found["at_most"], found["seeds"], found["without"]) == ((4,), (), 2, 0)
    store = stored(tmp_path / "none", [each for each in cut() if each.cell.width == 3])
    (only,) = figure_grids(store.cells())
    ratios = page_contents(store.cells(), store, [only])[0]["studies"][0]["ratios"]
    assert (
        ratios["grid"]["best"] == ratios["first"]["last"] == [{"method": only.methods.index("sep_up"), "ratio": None}]
    )


def test_shares_of_the_summary_are_those_of_the_tables(store: Store, grid: FigureGrid) -> None:
    summary = page_contents(store.cells(), store, [grid])[0]["studies"][0]["summary"]
    for at_epoch in ("best", "last"):
        values = moments_table(grid).values
        own = values[values["measured"] == f"trains_{at_epoch}"].set_index("method")[["mean", "least", "most"]]
        table = {label: ends for label, *ends in own.itertuples()}
        shown = summary[at_epoch]["methods"]
        assert {
            label: [of["share"], of["least"], of["most"]] for label, of in zip(grid.methods, shown, strict=True)
        } == table
    # each place counts once, whatever seeds it lacks
    succeeded = np.nan_to_num(grid.accuracy["train_acc_best"][0]) >= 0.95 - 1e-9
    share = (succeeded.sum(axis=-1) / grid.present[0].sum(axis=-1)).mean()
    assert summary["best"]["methods"][0]["share"] == pytest.approx(share)
    assert summary["best"]["methods"][0]["trained"] == succeeded.sum()


def test_what_is_no_key_has_neither_key_nor_command(store: Store) -> None:
    table = store.cells()
    bad = int(np.flatnonzero((table["method"] == "sep_up") & (table["depth"] == 10))[0])
    table.loc[bad, "key"] = "no key at all"
    head, block = page_contents(table, store, figure_grids(table))
    has_key, sets = decoded(block, "rows.has_key"), decoded(block, "rows.command")
    (place,) = np.flatnonzero(has_key == 0)
    assert head["commands"][sets[place]]["before"] == ""
    assert "not 32 hexadecimal digits" in head["commands"][sets[place]]["reason"]
    others = np.delete(sets, place)
    assert all(head["commands"][number]["before"] for number in others)


def test_a_method_has_its_own_seeds_and_its_look_in_the_pictures(tmp_path: Path) -> None:
    store = stored(tmp_path, merged())
    (only,) = figure_grids(store.cells())
    methods = page_contents(store.cells(), store, [only])[0]["studies"][0]["methods"]
    assert {each["label"]: (each["fewest_seeds"], each["most_seeds"]) for each in methods} == {
        "relu": (3, 3),
        "sep_up": (1, 2),
    }
    assert all((each["colour"], each["marker"]) == LOOKS[each["label"]] for each in methods)


def test_every_methods_colour_can_be_seen_on_a_dark_ground() -> None:
    found = [on_dark(colour) for colour, _ in LOOKS.values()]
    assert all(contrast(colour, DARK_GROUND) >= 3.5 for colour in found) and len({*found}) == len(LOOKS)
    assert (contrast("#000000", "#ffffff"), on_dark("#56b4e9")) == (pytest.approx(21), "#56b4e9")
    # WCAG's own example of the least contrast of text: 4.5
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)


@pytest.fixture(scope="module")
def cells(store: Store, grid: FigureGrid) -> ClaimedCells:
    return ClaimedCells(store.cells(), [grid])


def test_a_claim_is_trained_if_either_variant_is(cells: ClaimedCells) -> None:
    def trained(*verdicts: str) -> bool:
        findings = tuple(Finding("paper", verdict, "", None, "", None) for verdict in verdicts)
        return bool(claim_entries([claimed(*findings)], cells)[0]["is_trained"])

    assert trained("not trained", "undecided") and trained("not reproduced") and not trained("not trained")


def claimed(*findings: Finding, name: str = "moons_jumpstart_width_3") -> Claim:
    return Claim(name, "CPAIOR", "section 4", "It trains.", "we train", "depth", (60.0,), "", "at least 60", findings)


def test_claims_point_at_their_cells(cells: ClaimedCells) -> None:
    def of(name: str, variant: str = "paper") -> tuple[str, list[dict[str, Any]]]:
        (entry,) = claim_entries([claimed(Finding(variant, "undecided", "", None, "", None), name=name)], cells)
        return entry["metric"], entry["findings"][0]["cells"]

    # depths 1, 10, 20; widths 2, 3; relu is the first method, and one seed of its 1×2 is missing
    everywhere = {"study": 0, "depths": [0, 1, 2]}
    one_width = [{**everywhere, "methods": [1], "widths": [1], "count": 9}]
    assert of("moons_jumpstart_width_3") == ("train_acc", one_width)
    assert of("moons_times_deeper") == ("train_acc", [{**everywhere, "methods": [0, 1], "widths": [0, 1], "count": 35}])
    assert of("moons_jumpstart_width_3", "code") == of("moons_jumpstart_width_25") == ("train_acc", [])
    assert of("mnist_pairs_validation") == ("val_acc", [])
    assert cells.of_layout("paper", ["sep_up"]) == [{**everywhere, "methods": [1], "widths": [0, 1], "count": 18}]


def test_cells_in_several_studies_of_the_page_are_shown_in_as_few(tmp_path: Path) -> None:
    # relu stands beside both values of λ, sep_up at one of them each
    places = [(depth, width) for depth in (1, 5) for width in (2, 3)]
    rates = [
        cell("sep_up", *place, 0, penalty={"kind": "UP", "weight": weight})
        for place in places
        for weight in (1e-4, 1e-3)
    ]
    table = stored(
        tmp_path, [result(each) for each in (*rates, *(cell("relu", *place, 0) for place in places))]
    ).cells()
    grids = figure_grids(table)
    assert len(grids) == 2
    (only,) = ClaimedCells(table, grids).of("moons_times_deeper", "paper")
    assert only["count"] == 8 and {*grids[only["study"]].methods} == {"relu", "sep_up"}


def test_every_statement_has_a_metric_of_the_page(cells: ClaimedCells) -> None:
    assert {cells.metric_of(each.name) for each in assertions()} == {"train_acc", "val_acc"}


def test_claims_name_their_paper_and_layouts_their_numbers(cells: ClaimedCells) -> None:
    (entry,) = claim_entries([claimed()], cells)
    assert (entry["place"], entry["quote"]) == ("CPAIOR, section 4", "we train")
    measure = LayoutMeasure(
        "distance",
        {"paper": Interval(0.25, 0.125, 0.5, 0, 1, 6), "code": Interval(0.0625, None, None, 0.03125, 0.125, 3)},
        Interval(0.1875, 0.0, 0.4, 0, 1, 6),
        "code",
    )
    of_all = LayoutComparison(
        methods=("relu", "sep_up"),
        places=24,
        seeds=3,
        measures=(measure,),
        between_seeds={},
        nearer="code",
        verdict="2×1 is nearer",
        lost={"code": "3 of 120 cells diverged"},
    )
    of_one = replace(of_all, methods=("sep_up",), verdict="undecided", measures=())
    entries = layout_entries([of_all, of_one], cells)
    assert [(entry["methods"], entry["verdict"]) for entry in entries] == [
        ("all methods", "2×1 is nearer"),
        ("Sep-UP", "undecided"),
    ]
    assert entries[0]["lost"] == ["2×1 (variant=code): 3 of 120 cells diverged"]
    (line,) = entries[0]["measures"]
    assert [of["words"] for of in line["of"]] == ["0.250 [0.125, 0.500]", "0.062 [range 0.031, 0.125]"]
    assert line["of"][1] == {"words": "0.062 [range 0.031, 0.125]", "value": 0.0625, "low": None, "high": None}
    assert (line["difference"]["words"], line["nearer"]) == ("0.188 [0.000, 0.400]", "2×1 (variant=code)")


def test_published_values_stand_beside_the_studies_that_repeat_them(store: Store, tmp_path: Path) -> None:
    published = read_published()
    head = json.loads(part(page(store, tmp_path / "page.html", published), "head"))
    beside = head["studies"][0]["published"]
    shown = {(metric, m, d, w): value for metric, m, d, w, value in beside["values"]}
    wanted = {
        (
            place.metric.removesuffix("_best"),
            ("relu", "sep_up").index(place.method),
            (1, 10, 20).index(place.depth),
            (2, 3).index(place.width),
        ): value
        for place, value in published.moons.items()
        if place.method in ("relu", "sep_up") and place.depth in (1, 10, 20) and place.width in (2, 3)
    }
    assert shown == wanted and len(wanted) == 2 * 2 * 3 * 2
    assert any("authors" in source for source in beside["sources"])


def test_published_values_stand_beside_nothing_else(tmp_path: Path) -> None:
    head = json.loads(part(page(stored(tmp_path, hostile()), tmp_path / "page.html", read_published()), "head"))
    assert "published" not in head["studies"][0]


def test_how_it_was_made_counts_what_is_shown(contents: tuple[dict[str, Any], Block], store: Store) -> None:
    made = {line["name"]: line["texts"] for line in contents[0]["made"]}
    assert made["cells"] == ["35 in all", "31 done", "1 diverged", "3 failed"]
    assert made["seeds"] == [f"{SEEDS[0]}–{SEEDS[-1]}"]
    assert made["hours of training"] == [f"{35 * 1.5 / 60:.1f} minutes of computing"]
    assert made["engine"] == ["native: 35 cells"]
    assert any(str(store.cells()["git_commit"].iloc[0]) in text for text in made["commit"])


def test_a_page_of_no_study_can_be_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "nothing")
    write_page(store.cells(), store, [], tmp_path / "page.html")
    assert json.loads(part((tmp_path / "page.html").read_text(), "head"))["studies"] == []


def test_noisy_cells_take_less_than_300_bytes_each(tmp_path: Path) -> None:
    # 20,000 cells of 300 bytes are 6 MB; measured over 240 cells, less what a page of none takes
    random = np.random.default_rng(3)
    results = [noisy(random, depth, width, seed) for depth in range(1, 5) for width in range(1, 31) for seed in (0, 1)]
    nothing = Store(tmp_path / "nothing")
    write_page(nothing.cells(), nothing, [], tmp_path / "empty.html")
    store = stored(tmp_path / "noisy", results)
    table = store.cells()
    grids = figure_grids(table)
    head, block = page_contents(table, store, grids, room=0)
    assert head["curves"]["points"] == LEAST_POINTS
    _, empty = page_contents(nothing.cells(), nothing, [])
    names = sum(len(json.dumps(entry)) for entry in head["entries"].values())
    taken = text_length(block.length) - text_length(empty.length)
    assert taken / len(results) < 300, (taken, names)


def noisy(random: np.random.Generator, depth: int, width: int, seed: int) -> Result:
    """A result in which every number is drawn anew."""

    def one() -> float:
        return float(random.random())

    census = [LayerCensus(*(tuple(one() for _ in range(depth)) for _ in range(4))) for _ in range(2)]
    metric = {}
    for name in METRICS:
        last, best = sorted((one(), one()), reverse=name.endswith("loss"))
        metric[name] = Metric(last, best, int(random.integers(1, 5000)))
    curve = tuple(CurveRow(epoch, *(one() for _ in range(9))) for epoch in (1, *range(50, 5001, 50)))
    of = cell("sep_up", depth, width, seed)
    return result(of, census_start=census[0], census_last=census[1], seconds=one(), curve=curve, **metric)
