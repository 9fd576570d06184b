"""The page's atlas in a real browser: what is chosen stands out, by pointer and by keyboard."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from atlas_stores import METHODS, write_store
from browsing import AUDIT, TEXTS, Browser, browsing
from selenium.webdriver.common.keys import Keys

from jumpstart_exp.report.atlas.atlas import Atlas, atlases
from jumpstart_exp.report.page import write_page
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.store import Store

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]

PRESSED = "return [...document.querySelectorAll('#atlas-frontier [aria-pressed=true]')].map((e) => e.dataset.line)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from browsing()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("atlas"), range(10))


@pytest.fixture(scope="module")
def atlas(store: Store) -> Atlas:
    (found,) = atlases(store.cells(), store)
    return found


@pytest.fixture(scope="module")
def path(store: Store, atlas: Atlas, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two atlases: the second is the first by another name, of cells that the store does not have."""
    table = store.cells()
    path = tmp_path_factory.mktemp("page") / "page.html"
    return write_page(table, store, figure_grids(table), path, of_atlas=[atlas, replace(atlas, study="atlas_quick")])


def names(browser: Browser) -> list[str]:
    """The methods of the ranking, from above."""
    return list(browser.js("return [...document.querySelectorAll('#atlas-ranking td label')].map((e) => e.innerText)"))


def column(browser: Browser, name: str) -> list[str]:
    """A column of the ranking, from above."""
    heads = browser.js("return [...document.querySelectorAll('#atlas-ranking th')].map((e) => e.innerText)")
    cells = f"#atlas-ranking td:nth-child({heads.index(name) + 1})"
    return list(browser.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", cells))


def at(atlas: Atlas, label: str) -> int:
    return atlas.grid.methods.index(label)


def point_at(browser: Browser, selector: str, x: float, y: float) -> None:
    """Move the pointer to a share of an element's box."""
    browser.js(
        "const e = document.querySelector(arguments[0]), at = e.getBoundingClientRect();"
        "e.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, pointerType: 'mouse',"
        " clientX: at.left + arguments[1] * at.width, clientY: at.top + arguments[2] * at.height }));",
        selector,
        x,
        y,
    )


def test_it_opens_with_the_best_and_the_baselines(browser: Browser, path: Path, atlas: Atlas) -> None:
    browser.open(path)
    assert browser.complaints() == []
    assert len(names(browser)) == len(METHODS)
    assert column(browser, "rank")[-1].startswith("8") and column(browser, "area, last epoch")[-1].startswith("0.010")
    pressed = browser.js(PRESSED)
    # the best five, of which Sep-UP is one, and plain ReLU
    assert len(pressed) == 6 and {str(at(atlas, label)) for label in ("relu", "sep_up")} <= {*pressed}
    boxes = (
        "return [...document.querySelectorAll('[data-choose]')].filter((e) => e.checked).map((e) => e.dataset.choose)"
    )
    assert sorted(browser.js(boxes)) == sorted(pressed)
    assert browser.js("return document.querySelector('nav [data-part=atlas]').textContent") == "The atlas"


def test_what_is_chosen_in_the_table_stands_out_in_every_chart(browser: Browser, path: Path, atlas: Atlas) -> None:
    browser.open(path)
    relu = at(atlas, "relu")
    grey = min({*map(str, range(len(METHODS)))} - {*browser.js(PRESSED)})
    browser.click(f"[data-choose='{relu}']")
    browser.click(f"[data-choose='{grey}']")
    assert grey in browser.js(PRESSED) and str(relu) not in browser.js(PRESSED)
    profiles = "#atlas-profiles [data-line='{}']"
    classes = [
        browser.js("return document.querySelector(arguments[0]).getAttribute('class')", profiles.format(m))
        for m in (grey, relu)
    ]
    assert [each.split()[0] for each in classes] == ["picked", "other"]
    assert browser.js("return document.activeElement.dataset.choose") == grey
    # a click beside the name chooses, too
    browser.click(f"tr:has([data-choose='{relu}']) td:first-child")
    assert str(relu) in browser.js(PRESSED) and browser.text("#said") == "ReLU stands out in the charts."


def test_a_line_is_chosen_by_keyboard(browser: Browser, path: Path) -> None:
    browser.open(path)
    line = "return document.activeElement.dataset.line"
    browser.js("document.querySelector('#atlas-frontier [tabindex=\"0\"]').focus()")
    order = browser.js("return [...document.querySelectorAll('[data-choose]')].map((e) => e.dataset.choose)")
    assert browser.js(line) == order[0]
    browser.press(Keys.ARROW_DOWN)
    assert browser.js(line) == order[1] and not browser.js("return document.getElementById('tip').hidden")
    assert "width 2: none" in browser.text("#tip") and "width 4: ≥ 50" in browser.text("#tip")
    browser.press(Keys.ENTER)
    assert browser.js(line) == order[1] and order[1] not in browser.js(PRESSED)
    browser.press(Keys.END, Keys.SPACE)
    assert browser.js(line) == order[-1]
    assert browser.js("return document.querySelector('#atlas-frontier .over').getAttribute('d')") != ""


def test_the_one_under_the_pointer_stands_out(browser: Browser, path: Path, atlas: Atlas) -> None:
    browser.open(path)
    he = at(atlas, "he")
    over = "return document.querySelector(arguments[0]).getAttribute('d')"
    own = browser.js(over, f"#atlas-frontier [data-line='{he}'] .line")
    browser.js(f"document.querySelector('#atlas-frontier [data-line=\"{he}\"]').scrollIntoView({{block: 'center'}})")
    point_at(browser, f"#atlas-frontier [data-line='{he}'] .hit", 0.5, 0.5)
    assert browser.js(over, "#atlas-frontier .over") == own and browser.text("#tip strong") == "ReLU, He"
    assert browser.js(over, "#atlas-profiles .over") == browser.js(over, f"#atlas-profiles [data-line='{he}'] .line")
    point_at(browser, "#atlas-frontier .many", 0.5, 0.99)
    assert browser.js(over, "#atlas-frontier .over") == "" and browser.js(
        "return document.getElementById('tip').hidden"
    )


def test_the_table_is_ordered_by_any_column(browser: Browser, path: Path, atlas: Atlas) -> None:
    browser.open(path)
    by_rank = names(browser)
    rate = "#atlas-ranking th:nth-child(3)"
    browser.click(f"{rate} button")
    assert column(browser, "learning rate") == [str(each) for each in sorted(atlas.rates.values())]
    browser.click(f"{rate} button")
    rates = [float(each) for each in column(browser, "learning rate")]
    assert rates == sorted(rates, reverse=True) and names(browser) != by_rank
    assert browser.js("return document.querySelector(arguments[0]).getAttribute('aria-sort')", rate) == "descending"
    # without a number for itself the baseline comes last, whatever the order
    for _ in range(2):
        browser.click("#atlas-ranking th:nth-child(9) button")
        assert names(browser)[-1] == "ReLU" and column(browser, "better than ReLU")[-1] == "–"
    browser.click("#atlas-ranking th:nth-child(1) button")
    assert names(browser) == by_rank


def test_the_number_under_the_pointer_is_the_places(browser: Browser, path: Path, atlas: Atlas) -> None:
    browser.open(path)
    picture = f"#atlas [data-multiple='{at(atlas, 'sep_up')}']"
    point_at(browser, picture, 0.5, 0.25)
    assert browser.text("#tip strong") == "Sep-UP 10×4"
    assert browser.text("#tip .what").startswith("9 of 10 seeds train, last epoch [0.5")
    fills = (
        "return [...document.querySelectorAll(arguments[0] + ' path')]"
        ".map((e) => e.getAttribute('d') + e.getAttribute('fill'))"
    )
    last = browser.js(fills, picture)
    browser.click("#atlas [name=atlas-moment][value=best]")
    assert browser.js(fills, picture) != last and browser.text("#atlas-frontier-title").endswith(", best epoch")
    point_at(browser, picture, 0.5, 0.75)
    assert browser.text("#tip .what").startswith("2 of 10 seeds train, best epoch")


def test_a_click_opens_the_methods_cells(browser: Browser, path: Path, atlas: Atlas, store: Store) -> None:
    browser.open(path)
    browser.click(f"a:has([data-multiple='{at(atlas, 'crelu')}'])")
    browser.until(lambda: browser.text("#heatmaps-title") == "Share of seeds that train, last epoch")
    grid = next(each for each in figure_grids(store.cells()) if "crelu" in each.methods)
    assert browser.js("return document.getElementById('study').value") == grid.slug
    assert browser.text("#panels figcaption").startswith("CReLU")
    assert browser.js("return document.activeElement.id") == "heatmaps"
    # an atlas of cells that are nowhere on the page leads nowhere
    browser.choose("atlas-study", "atlas_quick")
    assert browser.js("return document.querySelectorAll('#atlas-multiples a').length") == 0
    assert "experiment=atlas_quick" in browser.text("#atlas-train")


def test_an_area_of_too_few_seeds_is_marked(browser: Browser, path: Path, tmp_path: Path) -> None:
    browser.open(path)
    assert not any("†" in each for each in column(browser, "area, last epoch"))
    store = write_store(tmp_path, seeds=[0, 1], methods=[method for method in METHODS if method != "crelu"])
    write_store(tmp_path, seeds=[0], methods=["crelu"])
    table = store.cells()
    write_page(table, store, figure_grids(table), tmp_path / "page.html", of_atlas=atlases(table, store))
    browser.open(tmp_path / "page.html")
    marked = dict(zip(names(browser), column(browser, "area, last epoch"), strict=True))
    assert [name for name, area in marked.items() if area.endswith(" †")] == ["CReLU"]
    assert "the most at 6 places of CReLU." in browser.text("#atlas-ranking .note")
    assert "There is no interval of fewer than 10 seeds" in browser.text("#atlas-ranking .note")


def test_the_tables_download_as_csv(browser: Browser, path: Path, atlas: Atlas, tmp_path: Path) -> None:
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    browser.open(path)
    browser.js("document.querySelectorAll('#atlas .download').forEach((button) => button.click())")
    browser.until(lambda: len([*tmp_path.glob("*.csv")]) == 5)
    files = {each.stem.removeprefix("atlas_moons_"): pd.read_csv(each) for each in tmp_path.glob("*.csv")}
    assert files.keys() == {"ranking", "frontier_last", "profiles_last", "census", "stability"}
    ranking = files["ranking"].set_index("method")
    assert ranking["learning_rate"].to_dict() == dict(atlas.rates)
    assert ranking["area_last"]["crelu"] == 0.5 and ranking["area_last_low"].notna().all()
    frontier = files["frontier_last"].set_index(["method", "width"])["depth"]
    assert frontier["he", 4] == 10 and pd.isna(frontier["he", 2])
    profile = files["profiles_last"].set_index(["method", "at_least"])["share"]
    # sep_up trains both shallow places of width 4 with nine of ten seeds, and those of width 2 with one
    assert (profile["sep_up", 0.9], profile["sep_up", 1.0], profile["crelu", 0.2]) == (
        pytest.approx(1 / 3, abs=1e-4),
        0,
        1,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_light_and_dark(browser: Browser, path: Path, scheme: str) -> None:
    browser.open(path, scheme=scheme)
    browser.js("document.querySelectorAll('#atlas details').forEach((each) => { each.open = true; })")
    found = browser.js(AUDIT + TEXTS)
    assert len(found) > 300 and [each for each in found if each[0] < 4.5] == []
    marks = """return [...document.querySelectorAll("#atlas .picked .line, #atlas .dot1, #atlas .dot0")].filter(seen)
      .map((e) => contrast(e, getComputedStyle(e).stroke));"""
    drawn = browser.js(AUDIT + marks)
    assert len(drawn) > 20 and (scheme == "light" or min(drawn) >= 3)


def test_a_phone_never_scrolls_the_atlas_sideways(browser: Browser, path: Path) -> None:
    browser.open(path, wide=360, high=740)
    beyond = "const root = document.documentElement; return root.scrollWidth - root.clientWidth"
    assert browser.js(beyond) == 0
    key = "return [...document.querySelectorAll('#atlas-frontier .keys-of-methods > span')].map((e) => e.textContent)"
    assert len(browser.js(key)) == 6  # there is no room for names at the lines
