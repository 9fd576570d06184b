"""The page in a real browser without a network: Debian's chromium, headless."""

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browsing import AUDIT, TEXTS, Browser, browsing, rect
from hydra import compose, initialize_config_dir
from page_stores import HOSTILE_ERROR, HOSTILE_LABEL, cell, cut, hostile, merged, moons, page, result, stored

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.schema import conf_dir, plain_config, register_schema, split_config
from jumpstart_exp.inspect.probe_files import write_probes
from jumpstart_exp.report.figures.scatters import LOOKS
from jumpstart_exp.report.page import write_page
from jumpstart_exp.report.page.colours import on_dark
from jumpstart_exp.report.papers.claims import Claim
from jumpstart_exp.report.papers.compared import Compared, compared
from jumpstart_exp.report.papers.layouts import interval_words
from jumpstart_exp.report.papers.measures import Measure
from jumpstart_exp.report.papers.published import read_published
from jumpstart_exp.report.statistics.frontier import frontiers
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.result import CurveRow, Metric
from jumpstart_exp.settings import legible
from jumpstart_exp.store import Store

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from browsing()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return stored(tmp_path_factory.mktemp("results"), moons())


@pytest.fixture(scope="module")
def table(store: Store) -> pd.DataFrame:
    return store.cells()


@pytest.fixture(scope="module")
def path(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "a page's #1.html"
    page(store, path, read_published())
    return path


def of(table: pd.DataFrame, method: str, depth: int, width: int) -> pd.DataFrame:
    chosen = (table["method"] == method) & (table["depth"] == depth) & (table["width"] == width)
    return table[chosen].sort_values("seed")


def test_it_loads_without_errors_and_shows_the_numbers_of_the_store(
    browser: Browser, path: Path, table: pd.DataFrame
) -> None:
    browser.requests()
    browser.open(path)
    assert browser.complaints() == []
    assert browser.requests() <= {path.as_uri(), "data:,", "about:blank"}
    assert browser.cell(1, 1, 0) == f"{of(table, 'sep_up', 10, 2)['train_acc_best'].mean():.4f}"
    assert browser.cell(0, 2, 1) == "lost"
    assert browser.cell(0, 0, 0) == f"{of(table, 'relu', 1, 2)['train_acc_best'].mean():.4f}"
    assert browser.js("return document.getElementById('trouble').hidden")


def test_choosing_a_method_changes_the_picture(browser: Browser, path: Path) -> None:
    browser.open(path)
    both = browser.numbers()
    browser.choose("method", "0")
    relu = browser.numbers()
    browser.choose("method", "1")
    sep_up = browser.numbers()
    assert len(relu) == len(sep_up) == 6 and relu != sep_up and both == relu + sep_up
    assert "method=sep_up" in browser.js("return location.hash")


def test_best_or_last_seed_and_metric_change_the_numbers(browser: Browser, path: Path, table: pd.DataFrame) -> None:
    browser.open(path)
    rows = of(table, "sep_up", 10, 3)
    browser.click("#moment-last")
    assert browser.cell(1, 1, 1) == f"{rows['train_acc_last'].mean():.4f}"
    browser.choose("seed", "2")
    assert browser.cell(1, 1, 1) == f"{rows['train_acc_last'].iloc[2]:.4f}"
    assert browser.cell(0, 0, 0) == "missing" and browser.cell(1, 2, 1) != "lost"
    browser.choose("metric", "val_loss")
    assert browser.cell(1, 1, 1) == "2.5"
    browser.choose("metric", "dead_units")
    assert browser.cell(1, 1, 1) == "0.2500"
    labels = "return [...document.querySelectorAll('#moment label')].map((each) => each.textContent)"
    assert browser.js(labels) == ["before training", "after training"]
    assert browser.text("#heatmaps-title") == "Dead units, after training"
    browser.choose("seed", "mean")
    browser.choose("metric", "train_acc_drop")
    assert browser.cell(1, 1, 1) == "+0.0235"
    browser.choose("metric", "trained")
    assert browser.cell(0, 1, 1) == "0.0000" and browser.cell(1, 1, 1) == "1.0000"


def test_the_published_stand_beside_ours(browser: Browser, path: Path, table: pd.DataFrame) -> None:
    browser.open(path)
    assert browser.js("return document.querySelectorAll('svg[data-kind=published]').length") == 0
    browser.click("#beside")
    published = {
        (p.method, p.depth, p.width): v for p, v in read_published().moons.items() if p.metric == "train_acc_best"
    }
    theirs = published["sep_up", 10, 3]
    ours = of(table, "sep_up", 10, 3)["train_acc_best"].mean()
    assert browser.cell(1, 1, 1, "published") == f"{theirs:.4f}"
    assert abs(float(browser.cell(1, 1, 1, "difference").replace("−", "-")) - (ours - theirs)) < 1.1e-4
    titles = browser.js("return [...document.querySelectorAll('#panels figcaption')].map((each) => each.textContent)")
    assert titles[3:] == [
        "Sep-UP · ours, mean of 3 seeds",
        "Sep-UP · published, authors, one seed, best epoch",
        "Sep-UP · ours minus published",
    ]


def test_each_method_tells_its_own_seeds(browser: Browser, tmp_path: Path) -> None:
    page(stored(tmp_path / "merged", merged()), tmp_path / "page.html", read_published())
    titles = "return [...document.querySelectorAll('#panels figcaption')].map((each) => each.textContent)"
    chosen = "return document.querySelector('#seed option').textContent"
    browser.open(tmp_path / "page.html")
    assert browser.js(titles) == ["ReLU · mean of 3 seeds", "Sep-UP · mean of 1–2 seeds"]
    assert browser.js(chosen) == "mean of 1–3" and "ours: mean of 1–3 seeds." in browser.text("#heatmaps-note")
    browser.click("#beside")
    assert browser.js(titles)[::3] == ["ReLU · ours, mean of 3 seeds", "Sep-UP · ours, mean of 1–2 seeds"]
    browser.choose("method", "0")
    assert browser.js(chosen) == "mean of 3" and "ours: mean of 3 seeds." in browser.text("#heatmaps-note")


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_method_looks_as_in_the_pictures(browser: Browser, tmp_path: Path, scheme: str) -> None:
    results = [each for each in merged() if each.cell.method == "sep_up"]
    for name, of, m in (("both", merged(), 1), ("alone", results, 0)):
        page(stored(tmp_path / name, of), tmp_path / f"{name}.html")
        browser.open(tmp_path / f"{name}.html", "cell=10,3,0,sep_up", scheme=scheme)
        colour, marker = LOOKS["sep_up"]
        assert marker == "D" and on_dark(colour) != colour
        colour = rgb(on_dark(colour) if scheme == "dark" else colour)
        for chart in ("frontier", "scatter"):
            mark = f"const e = document.querySelector('#{chart}-chart .mark[data-m=\"{m}\"]');"
            fill, outline = browser.js(mark + "return [getComputedStyle(e).fill, e.getAttribute('d')]")
            assert fill == colour and outline.count("L") == 3 and outline.startswith("M0 -")
            key = f"document.querySelectorAll('#{chart}-chart .keys-of-methods path')[{m}]"
            assert browser.js(f"return getComputedStyle({key}).fill") == colour
        strokes = (
            "return [...document.querySelectorAll('#cell .line, #cell .best')].map((e) => getComputedStyle(e).stroke)"
        )
        assert set(browser.js(strokes)) == {colour}


def test_the_best_epoch_stands_at_its_stored_accuracy(browser: Browser, tmp_path: Path) -> None:
    # training was best at epoch 120 and validation at 150, both behind the curve of epochs 1, 50 and 100
    losses = {name: Metric(0.5, 0.25, 100) for name in ("train_loss", "val_loss")}
    results = [result(cell("sep_up", 1, 2, 0), points=3, train_acc=Metric(0.5, 0.75, 120), **losses)]
    page(stored(tmp_path / "results", results), tmp_path / "page.html")
    browser.open(tmp_path / "page.html", "cell=1,2,0,sep_up")
    circle = "const c = document.querySelector('#cell circle.best');"
    at = browser.js(circle + "return [Number(c.getAttribute('cx')), Number(c.getAttribute('cy'))]")
    assert at == pytest.approx([34 + 356 * 120 / 150, 126 - 118 * 0.75], abs=0.06)
    assert browser.text("#cell .best-key") == "○ best epoch (curve: 3 of 5,000 epochs)"


def test_a_click_opens_the_curves_census_and_numbers(browser: Browser, path: Path, table: pd.DataFrame) -> None:
    browser.open(path)
    browser.click(rect(1, 1, 1))
    assert browser.text("#cell-title") == "Sep-UP · depth 10 × width 3"
    row = of(table, "sep_up", 10, 3).iloc[0]
    lines = browser.js(
        "return [...document.querySelectorAll('#cell dl div')].map((l) => [...l.children].map((e) => e.innerText))"
    )
    said = dict(lines)
    assert said["training accuracy"] == f"{row['train_acc_best']:.4f} at epoch 50; last {row['train_acc_last']:.4f}"
    assert said["validation loss"] == "0.5 at epoch 77; last 2.5"
    assert said["dead points, mean over layers"] == "0.5000 before → 0.5000 after training"
    assert said["key"] == row["key"]
    assert browser.js("return document.querySelectorAll('#cell .curve path[data-name=train_acc]').length") == 3
    assert int(browser.js("return document.querySelector('#cell .curve').dataset.points")) == 30
    # the curve is highest at epoch 50, its second point
    path_of = browser.js(
        "return document.querySelector('#cell .curve path[data-name=train_acc]:not(.faint)').getAttribute('d')"
    )
    heights = [float(point.split(" ")[1]) for point in path_of[1:].split("L")]
    assert heights.index(min(heights)) == 1 and len(heights) == 30
    places = [float(point.split(" ")[0]) for point in path_of[1:].split("L")]
    epochs = [1, *range(50, 1500, 50)]
    assert places == pytest.approx([34 + 356 * epoch / 4000 for epoch in epochs], abs=0.06)
    browser.click("#cell [data-seed='2']")
    assert browser.js("return location.hash").endswith("cell=10%2C3%2C2%2Csep_up")
    assert browser.text("#cell h3:nth-of-type(3)") == "Seed 2"


def test_the_losses_are_drawn_over_their_epochs_on_a_logarithmic_axis(browser: Browser, tmp_path: Path) -> None:
    train, val = [1.0, 0.1, 0.01, 0.0, 0.02], [0.7, 0.5, 0.5, 0.6, 5.0]
    curve = tuple(
        CurveRow(50 * step, 0.5, 0.5, *losses, None, 0, 0, 0, 0)
        for step, losses in enumerate(zip(train, val, strict=True), start=1)
    )
    metrics = {"train_loss": Metric(0.02, 0.0, 200), "val_loss": Metric(5.0, 0.5, 100)}
    accuracies = {name: Metric(0.5, 0.5, 50) for name in ("train_acc", "val_acc")}
    results = [result(cell("relu", 1, 2, 0), curve=curve, **metrics, **accuracies)]
    page(stored(tmp_path / "results", results), tmp_path / "page.html")
    browser.open(tmp_path / "page.html", "cell=1,2,0,relu")
    titles = "return [...document.querySelectorAll('#cell figcaption > span:first-child')].map((e) => e.textContent)"
    assert browser.js(titles) == ["accuracy", "loss, logarithmic", "dead, share"]

    def points(name: str) -> list[tuple[float, float]]:
        of = browser.js(f"return document.querySelector('#cell path[data-name={name}]').getAttribute('d')")
        return [(float(x), float(y)) for x, y in (each.split(" ") for each in of[1:].split("L"))]

    # from 0.005, the next round number below the least that is positive, to 10
    def height(loss: float) -> float:
        return 126 - 118 * max(0.0, math.log(loss / 0.005) / math.log(10 / 0.005)) if loss else 126.0

    for name, losses in (("train_loss", train), ("val_loss", val)):
        expected = [(34 + 356 * 50 * step / 250, height(loss)) for step, loss in enumerate(losses, start=1)]
        assert np.array(points(name)) == pytest.approx(np.array(expected), abs=0.3)  # rounded to one part in a hundred
    circle = "const c = document.querySelector('#cell circle[data-name=val_loss]');"
    at = browser.js(circle + "return [Number(c.getAttribute('cx')), Number(c.getAttribute('cy')), c.textContent]")
    assert at == [
        pytest.approx(34 + 356 * 100 / 250),
        pytest.approx(height(0.5), abs=0.1),
        "best validation loss 0.5 at epoch 100",
    ]
    ticks = "return [...document.querySelectorAll('#cell .curves:nth-of-type(2) text[text-anchor=end]')]"
    assert browser.js(ticks + ".map((e) => e.textContent)") == ["0.01", "0.1", "1", "10", "epoch"]


def test_the_command_gives_the_key_of_the_cell(browser: Browser, path: Path, table: pd.DataFrame) -> None:
    browser.open(path, "cell=20,2,1,relu")
    command = shlex.split(browser.text("#command"))
    assert command[:3] == ["python", "-m", "jumpstart_exp"]
    register_schema()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        config, _ = split_config(plain_config(compose("config", command[3:])))
    key = of(table, "relu", 20, 2)["key"].iloc[1]
    assert Cell.from_config(config, "any").key == key
    assert browser.text("#verify") == f"python -m jumpstart_exp.inspect verify=true key={key}"


def test_what_failed_says_why_and_what_diverged_says_when(browser: Browser, path: Path) -> None:
    browser.open(path, "cell=20,3,0,relu")
    assert "out of memory" in browser.text("#cell") and "no training curve" in browser.text("#cell")
    assert browser.js("return document.querySelector('#verify')") is None, "there is no training to compare"
    browser.open(path, "cell=20,3,1,sep_up")
    assert "at epoch 812" in browser.text("#cell")


def test_the_keyboard_alone_is_enough(browser: Browser, path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(path)
    browser.js("document.getElementById('border').focus()")
    browser.press(Keys.TAB)
    for _ in range(4):  # a box that can be scrolled takes the focus too
        if browser.js("return document.activeElement.getAttribute('role')") == "gridcell":
            break
        browser.press(Keys.TAB)
    label = "return document.activeElement.getAttribute('aria-label')"
    first = browser.js(label)
    browser.press(Keys.HOME, Keys.PAGE_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    assert browser.js(label).startswith("depth 10, width 3: ") and browser.js(label) != first
    assert browser.js("return getComputedStyle(document.querySelector('.heatmap .focus')).visibility") == "visible"
    assert not browser.js("return document.getElementById('tip').hidden")
    browser.press(Keys.ENTER)
    assert browser.text("#cell-title") == "ReLU · depth 10 × width 3"
    assert browser.js("return document.activeElement.id") == "cell"
    browser.press(Keys.ESCAPE)
    assert browser.js("return document.getElementById('cell').hidden")
    assert browser.js(label).startswith("depth 10, width 3: ")


def test_pointing_at_a_cell_shows_its_seeds_interval_and_share(browser: Browser, path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    browser.open(path)
    ActionChains(browser.driver).move_to_element(browser.driver.find_element("css selector", rect(1, 1, 1))).perform()
    tip = browser.text("#tip")
    assert "Sep-UP 10×3" in tip and "0: 1.0000, 1: 0.9882, 2: 0.9765" in tip and "[0.9765, 1.0000]" not in tip
    assert "3 of 3 seeds [0.4385, 1.0000]" in tip and "published" in tip and "authors, one seed" in tip


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_and_the_switch(browser: Browser, path: Path, scheme: str) -> None:
    browser.open(path, scheme=scheme)
    ground = "return getComputedStyle(document.body).backgroundColor"
    colours = {"light": "rgb(251, 251, 250)", "dark": "rgb(20, 23, 27)"}
    assert browser.js(ground) == colours[scheme]
    try:
        seen = []
        for _ in range(3):
            browser.click("#theme")
            seen.append(browser.js(ground))
        assert seen == [colours["light"], colours["dark"], colours[scheme]]
    finally:
        browser.js("localStorage.clear()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("by_switch", [False, True])
def test_text_and_charts_can_be_read_in_light_and_dark(
    browser: Browser, tmp_path: Path, scheme: str, by_switch: bool
) -> None:
    page(stored(tmp_path / "merged", merged()), tmp_path / "page.html")
    browser.open(tmp_path / "page.html", "cell=10,3,0,relu", scheme="light" if by_switch else scheme)
    if by_switch:
        browser.js("document.documentElement.dataset.theme = arguments[0]", scheme)
    grounds = "return [...new Set([...document.querySelectorAll('.chart, .curves')].map((e) => ground(e).join()))]"
    assert browser.js(AUDIT + grounds) == ["20,23,27" if scheme == "dark" else "251,251,250"]
    found = browser.js(AUDIT + TEXTS)
    assert len(found) > 100 and [each for each in found if each[0] < 4.5] == []
    if scheme == "dark":
        lines = """return [...document.querySelectorAll(".line, .trend, .whisker, .mark")].filter(seen)
          .map((e) => [e, getComputedStyle(e)[e.matches(".mark:not(.empty, .hollow)") ? "fill" : "stroke"]])
          .map(([e, colour]) => [contrast(e, colour), e.getAttribute("class")]);"""
        drawn = browser.js(AUDIT + lines)
        assert len(drawn) > 10 and [each for each in drawn if each[0] < 3] == []


def test_what_is_printed_is_light(browser: Browser, path: Path) -> None:
    browser.open(path, scheme="dark")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.js("return getComputedStyle(document.body).backgroundColor") == "rgb(251, 251, 250)"
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_phone_never_scrolls_the_page_sideways(browser: Browser, path: Path) -> None:
    beyond = "const root = document.documentElement; return root.scrollWidth - root.clientWidth"
    for address in ("", "published=1&cell=10,3,1,sep_up"):
        browser.open(path, address, wide=360, high=740)
        assert browser.js(beyond) == 0 and browser.js("return window.innerWidth") == 360


def test_a_view_comes_back_from_its_address(browser: Browser, path: Path) -> None:
    browser.open(path)
    browser.choose("metric", "val_acc")
    browser.click("#moment-last")
    browser.choose("method", "1")
    browser.choose("seed", "1")
    address, numbers = browser.js("return location.hash"), browser.numbers()
    browser.open(path, address[1:])
    assert browser.numbers() == numbers and browser.js("return location.hash") == address


def test_an_address_that_names_nothing_changes_nothing(browser: Browser, path: Path) -> None:
    browser.open(path)
    plain = browser.numbers()
    browser.open(path, "study=none&metric=toString&epoch=never&method=x&seed=-1&cell=1,2")
    assert browser.numbers() == plain and browser.complaints() == []


@pytest.fixture(scope="module")
def claimed(store: Store, table: pd.DataFrame) -> tuple[Path, Compared, Sequence[Claim]]:
    """A page with statements, of which one alone has a verdict."""
    found = compared(table, read_published())
    assert found.layouts and found.claims
    # the store trains too little for any statement: the first one is told as if it had been decided
    first, *others = found.claims
    decided = replace(
        first.findings[0], verdict="reproduced", ours="20 [10, 20], 3 seeds", measure=Measure(20, 10, 20, 10, 20, 3)
    )
    claims = [replace(first, findings=(decided, *first.findings[1:])), *others]
    path = store.results_dir / "claims.html"
    write_page(table, store, figure_grids(table), path, claims=claims, layouts=found.layouts)
    return path, found, claims


def test_layouts_and_claims_are_told_with_their_paper(
    browser: Browser, claimed: tuple[Path, Compared, Sequence[Claim]]
) -> None:
    path, found, claims = claimed
    browser.open(path)
    assert found.layouts[0].verdict in browser.text("#layouts-verdict")
    summaries = browser.js("return [...document.querySelectorAll('#claims td summary')].map((s) => s.textContent)")
    untrained = [claim for claim in claims if all(each.verdict == "not trained" for each in claim.findings)]
    quoted = [claim for claim in claims if claim.quote and claim not in untrained]
    quoted += [claim for claim in untrained if claim.quote]
    plural = "s" * (len(untrained) != 1)
    assert browser.text("#untrained-claims > summary") == f"Not trained: {len(untrained)} statement{plural}"
    hidden = "const d = document.getElementById('untrained-claims');"
    assert 0 < len(untrained) < len(claims)
    assert browser.js(hidden + "return [d.open, d.querySelectorAll('tbody tr').length]") == [False, len(untrained)]
    assert summaries == [f"{claim.paper}, {claim.place}" for claim in quoted]
    quotes = browser.js("return [...document.querySelectorAll('#claims q')].map((q) => q.textContent)")
    assert quotes == [claim.quote for claim in quoted] and quotes
    rows = browser.js("return [...document.querySelectorAll('#claims .layouts tbody tr')].map((r) => r.textContent)")
    measures = [measure for layout in found.layouts for measure in layout.measures]
    assert len(rows) == len(measures) == 6
    assert all(interval_words(of) in row for row, each in zip(rows, measures, strict=True) for of in each.of.values())


def test_a_claim_leads_to_its_cells(browser: Browser, claimed: tuple[Path, Compared, Sequence[Claim]]) -> None:
    path, _, (first, *_) = claimed
    browser.open(path)
    browser.choose("metric", "val_loss")
    assert browser.text("#claims tbody .to-cells") == "9 cells"
    browser.click("#claims tbody .to-cells")
    outlined = """return [...document.querySelectorAll('.outline')].map((r) =>
      [r.closest('svg').dataset.m, ...['x', 'y', 'width', 'height'].map((name) => Number(r.getAttribute(name)))])"""
    (m, *box), *others = browser.js(outlined)
    # width 3 of Sep-UP, all three depths: the upper one of two rows
    size = [
        float(browser.js(f"return document.querySelector(arguments[0]).getAttribute('{of}')", rect(1, 0, 1)))
        for of in ("width", "height")
    ]
    assert (m, others) == ("1", []) and box == pytest.approx([34, 4, 3 * size[0], size[1]], abs=0.01)
    assert browser.text("#heatmaps-title") == "Training accuracy, best epoch"
    assert (
        browser.text("#outlined-words") == f"Outlined: the cells of “{first.statement}” ({first.paper}, {first.place})."
    )
    assert browser.js("return document.activeElement.id") == "heatmaps"
    address = browser.js("return location.hash")
    browser.open(path, address[1:])  # the view can be shared
    assert browser.js(outlined) == [[m, *box]]
    browser.click("#outlined button")
    assert browser.js(outlined) == [] and "claim" not in browser.js("return location.hash")
    assert browser.js("return document.querySelectorAll('.cells-of-layouts a').length") == 3


def test_a_claim_about_one_place_opens_its_panel(browser: Browser, tmp_path: Path) -> None:
    settings = {"optimizer": {"epochs": 1000}}
    found = [result(cell("relu", 50, 4, seed, **settings)) for seed in (0, 1, 2)]
    store = stored(tmp_path / "results", found)
    table = store.cells()
    claims = compared(table, read_published()).claims
    write_page(table, store, figure_grids(table), tmp_path / "page.html", claims=claims)
    browser.open(tmp_path / "page.html")
    browser.click("#claims tbody .to-cells")
    assert browser.text("#cell-title") == "ReLU · depth 50 × width 4"


def test_every_table_downloads_as_csv(
    browser: Browser, claimed: tuple[Path, Compared, Sequence[Claim]], table: pd.DataFrame, tmp_path: Path
) -> None:
    path, found, claims = claimed
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.open(path, "cell=10,2,,sep_up")
    browser.js("document.getElementById('untrained-claims').open = true")
    counts = (
        "return [document.querySelectorAll('table').length, document.querySelectorAll('.tabled > .download').length]"
    )
    assert browser.js(counts) == [7, 7]
    browser.js("document.querySelectorAll('.download').forEach((button) => button.click())")
    browser.until(lambda: len([*tmp_path.glob("*.csv")]) == 7)
    slug = figure_grids(table)[0].slug
    files = {each.stem.removeprefix(f"{slug}_"): pd.read_csv(each) for each in tmp_path.glob("*.csv")}
    assert files.keys() == {
        "frontier_first_best",
        "ratios_best",
        "methods_best",
        "10x2_seeds",
        "layouts",
        "claims",
        "claims_not_trained",
    }
    own = of(table, "sep_up", 10, 2)
    assert files["10x2_seeds"]["seed"].tolist() == [0, 1, 2]
    for column in ("train_acc_best", "val_acc_last"):
        np.testing.assert_allclose(files["10x2_seeds"][column], own[column].to_numpy(float), atol=1e-5)
    points = frontiers(figure_grids(table)[0], "best", start="first")
    theirs = [(each.method, point.width, point.depth) for each in points for point in each.points]
    shown = files["frontier_first_best"].astype(object).where(lambda frame: frame.notna(), None)
    assert [*zip(shown["method"], shown["width"], shown["depth"], strict=True)] == theirs
    assert files["methods_best"].set_index("method")["trained"].to_dict() == {"relu": 5, "sep_up": 17}
    (first, _) = files["claims"].to_dict("records")
    assert (first["statement"], first["quote"], first["value"], first["low"]) == (
        claims[0].statement,
        claims[0].quote,
        20,
        10,
    )
    assert first["command"] == claims[0].findings[0].command
    distance = found.layouts[0].measures[0].of["paper"]
    ends = [np.nan if end is None else end for end in (distance.value, distance.low, distance.high)]
    assert files["layouts"].iloc[0][["value", "low", "high"]].tolist() == pytest.approx(ends, nan_ok=True)
    assert browser.complaints() == []


def test_no_text_of_a_table_is_a_formula_to_a_spreadsheet(browser: Browser, tmp_path: Path) -> None:
    label = '=HYPERLINK("x"),\n1'
    results = [result(Cell.from_config({"depth": 1, "width": 2, "seed": seed}, label)) for seed in (0, 1)]
    page(stored(tmp_path / "results", results), tmp_path / "page.html")
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.open(tmp_path / "page.html")
    browser.click("#tables-body .download")
    browser.until(lambda: [*tmp_path.glob("*.csv")])
    (line,) = pd.read_csv(next(tmp_path.glob("*.csv"))).to_dict("records")
    assert line["method"] == f"'{legible(label)}" and line["networks"] == 2


def test_a_caption_of_more_than_60_words_is_a_sentence_and_details(
    browser: Browser, claimed: tuple[Path, Compared, Sequence[Claim]]
) -> None:
    path, *_ = claimed
    browser.open(path, "cell=10,2,,sep_up&published=1")
    captions = """return [...document.querySelectorAll(".note, figcaption, caption, summary, #layouts-verdict, dd li")]
      .map((e) => [e.id, e.innerText, e.querySelector(":scope > details")?.textContent || ""])"""
    found = browser.js(captions)
    assert [open_ for _, open_, _ in found if len(open_.split()) > 60] == []
    told = {name: (open_, more) for name, open_, more in found if name}
    shown, more = told["frontier-note"]
    assert shown.startswith("The deepest network of each width") and shown.endswith("do.\nIn full")
    assert "An arrow: the grid, or what is trained, ends there" in more and "An arrow" not in shown
    # what is short stands open
    assert told["scatter-note"][1] == "" and "arrow keys" in told["scatter-note"][0]
    browser.click("#frontier-note summary")
    browser.click("#moment-last")  # drawn anew, it stays open
    assert "An arrow" in browser.js("return document.getElementById('frontier-note').innerText")


def test_a_row_without_a_key_shows_none(browser: Browser, store: Store, table: pd.DataFrame) -> None:
    altered = table.copy()
    altered.loc[(table["method"] == "sep_up") & (table["depth"] == 10) & (table["seed"] == 0), "key"] = "none"
    path = store.results_dir / "keyless.html"
    write_page(altered, store, figure_grids(altered), path)
    browser.open(path, "cell=10,3,0,sep_up")
    assert "not 32 hexadecimal digits" in browser.text("#no-command")
    assert "0" * 32 not in browser.text("#cell") and "none: the store's" in browser.text("#cell")


def test_one_outlier_leaves_the_colours_of_a_loss_to_the_others(browser: Browser, tmp_path: Path) -> None:
    losses = {(depth, width): 0.1 + depth / 100 for depth in range(1, 13) for width in range(2, 7)}
    losses[1, 2] = 1e9
    results = [result(cell("relu", *place, 0), val_loss=Metric(loss, loss, 1)) for place, loss in losses.items()]
    page(stored(tmp_path / "results", results), tmp_path / "page.html")
    browser.open(tmp_path / "page.html", "metric=val_loss")
    assert browser.cell(0, 0, 0) == "1.00e9" and len(set(browser.numbers())) > 10
    assert "≥ 0.22" in browser.text("#legend")


def test_frontier_scatter_and_tables_follow_the_choice(browser: Browser, path: Path) -> None:
    browser.open(path)
    marks = "return document.querySelectorAll('#scatter-chart .mark').length"
    assert browser.js(marks) == 11
    browser.choose("method", "1")
    assert browser.js(marks) == 6
    heads = browser.js(
        "return [...document.querySelectorAll('#frontier-ratios table:first-of-type th')].map((h) => h.textContent)"
    )
    assert heads[:2] == ["width", "Sep-UP"]
    rows = browser.js(
        "return [...document.querySelectorAll('#tables-body tbody tr')].map((r) => r.children[3].textContent)"
    )
    assert rows == ["5", "17"]
    shown = "return [document.querySelector('#frontier-note').textContent, document.querySelector('main').textContent]"
    note, whole = browser.js(shown)
    assert "Dots: each seed's own" in note and "95 % interval" not in whole, "three seeds have none"
    assert browser.js("return document.querySelectorAll('#frontier-chart .seed').length") > 0
    assert browser.js("return document.querySelectorAll('#scatter-chart .seed').length") > 0


def test_a_frontier_that_is_not_trained_is_told_from_none(browser: Browser, tmp_path: Path) -> None:
    page(stored(tmp_path / "cut", cut()), tmp_path / "page.html")
    browser.open(tmp_path / "page.html", "frontier=grid")
    rows = browser.js(
        "return [...document.querySelectorAll('#frontier-ratios table')].map("
        "(t) => [...t.tBodies[0].rows].map((r) => [...r.cells].map((c) => c.textContent)))"
    )
    assert [line[:2] for line in rows[0]] == [
        ["2", "not trained"],
        ["3", "none (seeds none, none)"],
        ["4", "1 (seeds 1, 1)"],
    ]
    chart = "const all = document.querySelectorAll(`#frontier-chart svg ${arguments[0]}`);"
    there = chart + "return [...all].map((e) => [e.tagName, e.getAttribute('class'), e.textContent])"
    assert browser.js(there, "[data-m='0'][data-width='2']") == [["text", "unknown", "?ReLU, width 2: not trained"]]
    assert browser.js(there, "[data-m='0'][data-width='3']") == [
        ["path", "mark hollow", "ReLU, width 3: none (seeds none, none)"]
    ]
    lines = browser.js(chart + "return [...all].map((e) => e.getAttribute('d').match(/[ML]/g).join(''))", ".trend")
    assert lines == ["M", "MLL"]
    counted = ["by the definition: from the grid's shallowest depth", "from the first depth that trains"]
    assert [line[:4] for line in rows[1]] == [
        ["Sep-UP", each, "at least 10.00", "seeds 10.00, 10.00"] for each in counted
    ]
    assert [line[4:] for line in rows[1]] == [["2", "4", "2, 3", "4", "–"]] * 2


def test_the_points_of_the_scatter_can_be_reached_by_keyboard(browser: Browser, path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(path)
    assert browser.js("return document.querySelectorAll('#scatter-chart [tabindex=\"0\"]').length") == 1
    browser.js("document.querySelector('#scatter-chart [tabindex=\"0\"]').focus()")
    label = "return document.activeElement.getAttribute('aria-label')"
    seen = [browser.js(label)]
    for _ in range(10):
        browser.press(Keys.ARROW_RIGHT)
        seen.append(browser.js(label))
    sizes = [int(each.split(", ")[1].split(" ")[0].replace(",", "")) for each in seen]
    assert len(set(seen)) == 11 and sizes == sorted(sizes)
    browser.press(Keys.HOME, Keys.ARROW_RIGHT)
    assert browser.js(label) == seen[1] and not browser.js("return document.getElementById('tip').hidden")
    browser.press(Keys.ENTER)
    opened = browser.text("#cell-title").replace(" · depth ", " ").replace(" × width ", "×")
    assert opened == seen[1].split(",")[0]
    browser.press(Keys.ESCAPE)
    assert browser.js(label) == seen[1]


def test_cells_are_large_enough_for_fingers_on_a_narrow_screen(browser: Browser, tmp_path: Path) -> None:
    wide = [cell("relu", depth, width, 0) for depth in range(1, 31) for width in (2, 3)]
    page(stored(tmp_path / "wide", [result(each, curve=()) for each in wide]), tmp_path / "page.html")
    browser.open(tmp_path / "page.html", wide=360, high=740)
    box = browser.js(
        "const r = document.querySelector(arguments[0]).getBoundingClientRect(); return [r.width, r.height]",
        rect(0, 0, 0),
    )
    assert min(box) >= 20
    scroll = "const box = document.querySelector('#panels .scroll'), root = document.documentElement;"
    assert browser.js(scroll + "return box.scrollWidth > box.clientWidth && root.scrollWidth === root.clientWidth")


def test_hostile_texts_do_nothing(browser: Browser, tmp_path: Path) -> None:
    page(stored(tmp_path / "hostile", hostile()), tmp_path / "hostile.html")
    browser.open(tmp_path / "hostile.html", "metric=val_acc")
    browser.click(rect(0, 1, 0))
    assert HOSTILE_ERROR in browser.text("#cell")
    browser.click(rect(0, 0, 0))
    assert (
        browser.text("#command") == "python -m jumpstart_exp method=sep_u depth=1 width=2 seed=0 optimizer.epochs=100"
    )
    assert HOSTILE_LABEL[:20] in browser.text("#panels")
    assert browser.driver.title == "jumpstart_exp: results"
    assert browser.js("return document.images.length + document.querySelectorAll('b, [onload], [onerror]').length") == 0
    assert browser.complaints() == []


def test_a_browser_that_cannot_unpack_says_so(browser: Browser, path: Path) -> None:
    source = "Object.defineProperty(window, 'DecompressionStream', {value: undefined})"
    command = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    try:
        browser.driver.get("about:blank")
        browser.driver.get(path.as_uri())
        browser.until(lambda: not browser.js("return document.getElementById('trouble').hidden"))
        assert "DecompressionStream" in browser.text("#trouble")
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", command)
        browser.complaints()


def test_a_study_of_a_regression_speaks_of_r2_and_one_of_classes_of_accuracy(browser: Browser, tmp_path: Path) -> None:
    table = {"name": "csv", "path": "own.csv", "target": "y", "task": "regression", "content": "x", "features": 1}
    own = [cell("relu", depth, 2, 0, dataset={**table, "train_points": 9, "val_points": 3}) for depth in (1, 2)]
    curve = tuple(CurveRow(epoch, 0.5, -3.0, 0.5, 4.0, None, 0.0, 0.0, 0.0, 0.0) for epoch in (1, 2))
    values = {"train_acc": Metric(0.25, 0.5, 1), "val_acc": Metric(-3.0, -3.0, 1), "curve": curve}
    results = [*(result(each, **values) for each in own), *(result(cell("relu", 1, 2, seed)) for seed in (0, 1, 2))]
    page(stored(tmp_path / "results", results), tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    chosen = "return [...document.querySelector('#metric').options].map((option) => option.text)"
    assert browser.js(chosen)[:2] == ["training accuracy", "validation accuracy"]
    slug = "return [...document.querySelector('#study').options].find((each) => each.text.startsWith('own')).value"
    browser.choose("study", browser.js(slug))
    assert browser.js(chosen)[:2] == ["training R²", "validation R²"]
    assert browser.text("#heatmaps-title") == "Training R², best epoch"
    assert "R² below 0 is 0 here" in browser.text("#heatmaps-note")
    assert "a training R² of 0.9 or more" in browser.text("#frontier-note")
    browser.choose("metric", "val_acc")
    browser.click(rect(0, 0, 0))
    shown = browser.text("#cell")
    assert "validation R²≤ 0 at epoch 1; last ≤ 0" in shown and "training R²0.5000 at epoch 1; last 0.2500" in shown
    for part in ("#cell", "#frontier-note", "#scatter-note", "#tables-body"):
        assert "accuracy" not in browser.text(part)
    assert browser.complaints() == []


def test_the_panel_has_what_the_probes_told(browser: Browser, tmp_path: Path) -> None:
    own, other = cell("sep_up", 3, 2, 0), cell("relu", 3, 2, 0)
    store = stored(tmp_path / "results", [result(own), result(other)])
    layers = [
        ("gradients", epoch, layer, quantity, number)
        for epoch in (0, 100)
        for layer in (1, 2, 3, 4)
        for quantity, number in (("localisation", 0.25 * layer), ("mean", 0.0 if layer == 1 else 10.0**layer + epoch))
    ]
    whole = [("regions", 0, 0, "regions", 1.0), ("regions", 100, 0, "regions", 1234.0)]
    columns = ["probe", "epoch", "layer", "quantity", "value"]
    write_probes(pd.DataFrame([*layers, *whole], columns=columns), tmp_path / "results", own.key)
    page(store, tmp_path / "page.html")
    browser.open(tmp_path / "page.html", "cell=3,2,0,sep_up")
    lines = "return [...document.querySelectorAll('#cell table tr')].map((r) => [...r.cells].map((c) => c.innerText))"
    assert browser.js(lines)[:2] == [
        ["", "before training", "epoch 100"],
        ["linear regions on the plane", "1", "1230"],
    ]
    charts = "return [...document.querySelectorAll('#cell svg')].map((e) => e.getAttribute('aria-label'))"
    assert [label for label in browser.js(charts) if "layers" in label] == [
        "share of the plane with 90 % of the gradient over 4 layers: before training and epoch 100",
        "mean of max |∂f/∂A| over the plane, logarithmic over 4 layers: before training and epoch 100",
    ]
    browser.open(tmp_path / "page.html", "cell=3,2,0,relu")
    assert "What the network does to the plane" not in browser.text("#cell")
    assert browser.complaints() == []
