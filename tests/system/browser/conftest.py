"""A real browser in front of the real program.

`page` is one tab of a headless Chromium, clean for each test; a test that leaves an error in the
browser's console fails. Skipped with one line where there is no Chromium.
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from selenium.webdriver.remote.webelement import WebElement

    from support.running import StartServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")


class Page:
    """What a user can do and see."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.origin = ""
        self.allowed: tuple[str, ...] = ()

    def open(self, origin: str, route: str = "") -> None:
        """Open the page at one of its routes and wait until it is connected."""
        self.origin = origin
        self.driver.get("about:blank")
        self.driver.get(f"{origin}/ui/#/{route}")
        self.wait_for(".dot.connected")

    def go(self, route: str) -> None:
        """Follow a link inside the page."""
        self.script("location.hash = arguments[0]", f"#/{route}")

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, true: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
        """Look until something holds; elements that were just replaced are looked up again."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if found := true():
                    return found
            except StaleElementReferenceException:
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"never: {what}\n{self.text('body')[:3000]}")
            time.sleep(0.03)

    def wait_for(self, selector: str, text: str = "", seconds: float = 30.0) -> WebElement:
        """Wait for a visible element whose text contains something."""

        def find() -> WebElement | None:
            for element in self.all(selector):
                if text in element.text and (element.is_displayed() or not text):
                    return element
            return None

        found: WebElement = self.until(find, f"{selector} with {text!r}", seconds)
        return found

    def click(self, selector: str, text: str = "") -> None:
        """Click on something, as soon as it is there and takes clicks."""

        def press() -> bool:
            for element in self.all(selector):
                if text in element.text and element.is_displayed() and element.is_enabled():
                    element.click()
                    return True
            return False

        self.until(press, f"a click on {selector} {text!r}")

    def size(self, width: int, height: int) -> None:
        """Show the page in a window of that size; below 500 pixels it is a phone."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )

    def read(self, look: Callable[[], Any], seconds: float = 30.0) -> Any:
        """Return what a look finds; look again when an element was replaced in the middle of it."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return look()
            except StaleElementReferenceException:
                if time.monotonic() > deadline:
                    raise

    def text(self, selector: str) -> str:
        found: str = self.read(lambda: "\n".join(one.text for one in self.all(selector)))
        return found

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def module(self, name: str, code: str, *arguments: Any) -> Any:
        """Run code with `m`, a module of the page; its value comes back."""
        wrapped = (
            "const [name, args, done] = [arguments[0], arguments[1], arguments[2]];"
            f"import(name).then(async (m) => {{ {code} }})"
            ".then((value) => done({value}), (error) => done({error: String(error)}))"
        )
        found = self.driver.execute_async_script(wrapped, f"/ui/{name}", list(arguments))
        assert "error" not in found, found["error"]
        return found.get("value")

    def keys(self, *keys: str) -> None:
        """Press keys wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def focused(self) -> str:
        """What has the focus, by its name or text."""
        element = self.driver.switch_to.active_element
        return (element.accessible_name or element.text).strip()

    def complaints(self) -> list[str]:
        """Errors and warnings of the console."""
        logged: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # selenium's
        lines = [f"{entry['level']} {entry['message']}" for entry in logged]
        return [line for line in lines if not any(known in line for known in self.allowed)]


def started(profile: Path, *more: str) -> webdriver.Chrome:
    """Start a Chromium with some more flags."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium with its driver here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--no-proxy-server",
        f"--user-data-dir={profile}",
        *more,
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One Chromium for all tests."""
    chromium = started(tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.quit()


@pytest.fixture
def page(driver: webdriver.Chrome, modelswap_server: StartServer) -> Iterator[Page]:
    """A tab at desktop size; it must not have complained at the end.

    Leaves before the servers do, or it would complain of that.
    """
    _ = modelswap_server
    driver.set_window_size(1280, 900)
    shown = Page(driver)
    shown.complaints()  # of a test before
    yield shown
    if shown.origin:
        driver.execute_script("try { localStorage.clear() } catch {}")
    driver.get("about:blank")
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert shown.complaints() == []
