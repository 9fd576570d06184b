"""A real browser without a network, for the tests of the page: Debian's chromium, headless."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_WAIT = 10.0

AUDIT = """
const channels = (colour) => (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
const linear = (c) => c <= 0.04045 * 255 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const ground = (element) => {
  const own = channels(getComputedStyle(element).backgroundColor);
  return own.length === 3 || own[3] === 1 || !element.parentElement ? own : ground(element.parentElement);
};
const contrast = (element, colour) => {
  const [low, high] = [luminance(channels(colour)), luminance(ground(element))].sort((one, other) => one - other);
  return (high + 0.05) / (low + 0.05);
};
const seen = (element) => element.checkVisibility() && element.getClientRects().length > 0;
"""
"""Of scripts that look at contrasts (WCAG 2.2) of what can be seen."""

# numbers and question marks in cells have the cells' own grounds
TEXTS = """return [...document.querySelectorAll("body *:not(script, style, option, .number, .unknown)")]
  .filter((e) => seen(e) && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
  .map((e) => [contrast(e, getComputedStyle(e)[e instanceof SVGElement ? "fill" : "color"]), e.textContent]);"""
"""After AUDIT: the contrast of every text, and the text."""


class Browser:
    """One headless browser with one page in it."""

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        options.binary_location = shutil.which("chromium") or ""
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
            options.add_argument(argument)
        # no name is resolved and no proxy is there: whatever is asked of a network fails
        options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
        options.add_argument("--proxy-server=127.0.0.1:9")
        options.add_argument("--disable-background-networking")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))

    def open(self, path: Path, address: str = "", *, wide: int = 1280, high: int = 900, scheme: str = "light") -> None:
        self.driver.get("about:blank")
        command = self.driver.execute_cdp_cmd
        command(
            "Emulation.setDeviceMetricsOverride",
            {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": False},
        )
        wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        command("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(f"{path.as_uri()}#{address}" if address else path.as_uri())
        self.until(lambda: self.js("return document.documentElement.dataset.ready") == "yes")

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, is_so: Callable[[], Any]) -> None:
        end = time.monotonic() + _WAIT
        while not is_so():
            assert time.monotonic() < end, self.driver.get_log("browser")

    def text(self, selector: str) -> str:
        return str(self.js("return document.querySelector(arguments[0]).textContent", selector))

    def choose(self, name: str, value: str) -> None:
        from selenium.webdriver.support.ui import Select

        Select(self.driver.find_element("id", name)).select_by_value(value)
        self.settle()

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()
        self.settle()

    def settle(self) -> None:
        """Wait until what was chosen is drawn: numbers are unpacked in between."""
        self.driver.execute_async_script(
            "const done = arguments[0]; setTimeout(() => requestAnimationFrame(() => done()), 20)"
        )

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def cell(self, m: int, d: int, w: int, kind: str = "ours") -> str:
        return str(self.js("return document.querySelector(arguments[0]).dataset.value", rect(m, d, w, kind)))

    def numbers(self, kind: str = "ours") -> list[str]:
        cells = f'document.querySelectorAll("svg[data-kind={kind}] [role=gridcell]")'
        return list(self.js(f"return [...{cells}].map((rect) => rect.getAttribute('fill'))"))

    def complaints(self) -> list[Any]:
        return [entry for entry in self.driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]

    def requests(self) -> set[str]:
        """Where anything was asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        return {url.partition("#")[0] for url in sent}


def rect(m: int, d: int, w: int, kind: str = "ours") -> str:
    return f'svg[data-kind="{kind}"] [data-m="{m}"][data-d="{d}"][data-w="{w}"]'


def browsing() -> Iterator[Browser]:
    """A browser for a fixture; the tests are skipped where none is installed, and fail there in CI."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        reason = f"{' and '.join(missing)} not found: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    made = Browser()
    yield made
    made.driver.quit()
