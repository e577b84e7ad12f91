"""Somebody at a headless Chromium, who clicks what is on a page and reads what it says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.waiting import wait_until

DRIVER = shutil.which("chromedriver")
PICTURES = os.environ.get("ETCDAERO_TEST_PICTURES")
"""A directory: the pages that a test passes are kept there as pictures."""
PATIENCE = 60.0
MOST_TABS = 60
WIDE, NARROW = (1280, 900), (390, 844)


class Visitor:
    """A browser on one site."""

    def __init__(self, site: str, driver: webdriver.Chrome) -> None:
        self._site = site
        self.driver = driver

    def goes_to(self, path: str) -> None:
        self.driver.get(self._site + path)

    @property
    def path(self) -> str:
        return self.driver.current_url.removeprefix(self._site)

    @property
    def text(self) -> str:
        """What the page says."""
        while True:
            try:
                return self.driver.find_element(By.TAG_NAME, "body").text
            except StaleElementReferenceException:
                continue  # the next page came in between

    def sees(self, words: str) -> None:
        """Wait for words, whatever the case: the styles change it. Pages that poll get the time to."""
        self._waits(lambda: words.casefold() in self.text.casefold(), words)

    def sees_when_reloading(self, words: str) -> None:
        """Wait for words on a page that is loaded anew."""

        def there() -> bool:
            self.driver.refresh()
            return words.casefold() in self.text.casefold()

        self._waits(there, words)

    def _waits(self, there: Callable[[], bool], words: str) -> None:
        try:
            wait_until(there, PATIENCE, words)
        except AssertionError:
            raise AssertionError(f"{words!r} is not on {self.path}, which says: {self.text}") from None

    def clicks(self, words: str, *, within: str = "//body", stays: bool = False) -> None:
        """Click the link or button that says this; return when the page has come that it leads to.

        ``stays``: a script of the page makes something else of it.
        """
        found = self._only(
            f"{within}//a[normalize-space()={_quoted(words)}] | {within}//button[normalize-space()={_quoted(words)}]"
            f" | {within}//input[@type='submit' and @value={_quoted(words)}]"
        )
        leads = not stays and found.tag_name != "button"
        before = self.driver.find_element(By.TAG_NAME, "html")
        found.click()
        if leads:
            self._waits(lambda: _is_gone(before), f"what comes after {words!r}")

    def fills(self, **fields: str) -> None:
        for name, value in fields.items():
            field = self._only(f"//*[@name={_quoted(name)}]")
            field.clear()
            field.send_keys(value)

    def presses(self, *keys: str) -> None:
        """Press keys, on whatever has the focus."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def tabs_to(self, words: str) -> None:
        """Go on by the tabulator to what is called so: its text, its value or its name."""
        for _ in range(MOST_TABS):
            self.presses(Keys.TAB)
            at = self.driver.switch_to.active_element
            if words in (at.text.strip(), at.get_attribute("value"), at.get_attribute("name")):
                assert self.shows_focus(), f"{words!r} on {self.path} has the focus, and nothing shows it"
                return
        raise AssertionError(f"{words!r} on {self.path} is not reached by the tabulator")

    def shows_focus(self) -> bool:
        """Tell whether what has the focus looks otherwise than without it."""
        differs: bool = self.driver.execute_script("""
            const look = (e) => { const s = getComputedStyle(e); return [s.outlineStyle, s.outlineWidth, s.boxShadow,
                s.borderColor, s.textDecorationLine, s.backgroundColor].join(); };
            const e = document.activeElement, with_ = look(e);
            e.blur();
            const without = look(e);
            e.focus({focusVisible: true});
            return with_ !== without;
        """)
        return differs

    def checks(self, name: str) -> None:
        self.driver.find_element(By.NAME, name).click()

    def _only(self, path: str) -> WebElement:
        """Return what is shown there; right after a click the page may still be the one before."""
        found: list[WebElement] = []

        def there() -> bool:
            found[:] = [each for each in self.driver.find_elements(By.XPATH, path) if each.is_displayed()]
            return bool(found)

        self._waits(there, path)
        return found[0]

    def complaints(self) -> list[str]:
        """What the browser has complained about since the last question: scripts that failed, the security policy."""
        found = [each["message"] for each in self.driver.get_log("browser")]
        return [each for each in found if "/favicon.ico" not in each]  # the browser asks for it by itself

    def overflows(self) -> bool:
        """Tell whether the page is wider than the window."""
        wider: bool = self.driver.execute_script(
            "return document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"
        )
        return wider

    def looks(self, name: str) -> None:
        """Look at the page wide and narrow, light and dark: nothing may stick out; keep pictures where wanted."""
        for theme in ("light", "dark"):
            self.driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
            for size in (WIDE, NARROW):
                self.driver.set_window_size(*size)
                assert not self.overflows(), f"{name}: the page is wider than {size[0]} pixels"
                if PICTURES is not None:
                    Path(PICTURES).mkdir(parents=True, exist_ok=True)
                    narrow = "" if size is WIDE else "-narrow"
                    self.driver.save_screenshot(str(Path(PICTURES, f"{name}-{theme}{narrow}.png")))
        self.driver.set_window_size(*WIDE)
        self.driver.execute_script("delete document.documentElement.dataset.theme")


@contextmanager
def visiting(site: str, *, scripts: bool = True) -> Iterator[Visitor]:
    """Open a browser on a site (without a slash at the end). ``scripts``: whether it runs those of pages."""
    options = webdriver.ChromeOptions()
    if not scripts:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(PATIENCE)
    driver.set_window_size(*WIDE)
    try:
        yield Visitor(site, driver)
    finally:
        driver.quit()


def _is_gone(element: WebElement) -> bool:
    """Tell whether another page has come. In between Chromium's driver has errors of its own: that is not yet."""
    try:
        element.is_enabled()
    except StaleElementReferenceException:
        return True
    except WebDriverException:
        return False
    return False


def _quoted(words: str) -> str:
    quote = "'" if "'" not in words else '"'
    return quote + words + quote
