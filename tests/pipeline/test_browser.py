"""Reports in a real browser: nothing is fetched, nothing complains, everything is seen, read aloud and printed."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser
from tiny_world import FIRST, World, command, stamp

LIGHT = 3_000_000  # bytes of a page: what a mail takes and a telephone opens
ONE = "quality.withhold.seeds=0"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def reports(world: World, browser: Browser) -> dict[str, Path]:
    """The pages of a run of three cycles, by what they are of."""
    run = shutil.copytree(world.folder / "run", world.folder / "reported")
    times = "--from", stamp(FIRST), "--to", stamp(FIRST + 2)
    where = "-c", world.config, f"run_dir={run}", ONE
    steps = (
        ("assimilate", "--method", "oi", *times),
        ("verify", "--method", "oi", "verify.report=false"),
        ("assimilate", "--method", "gaussian", "--cycle", stamp(FIRST), "assimilate.report=true"),
        ("assimilate", "--method", "gaussian", "--from", stamp(FIRST + 1), "--to", stamp(FIRST + 2)),
        ("verify", "--method", "gaussian"),
    )
    for verb, *arguments in steps:
        ended = command(verb, *where, *arguments)
        assert ended.code == 0, ended.err
    period = run / "verification" / "gaussian" / "report.html"
    first, *_, newest = sorted((run / "analyses" / "gaussian").glob("*/report.html"))
    return {"period": period, "cycle": newest, "assimilate": first}


def test_what_is_fetched_and_what_complains_is_noticed(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<img src='http://127.0.0.1:9/map.png'><script>console.error('oh'); nothing()</script>")
    browser.open(page)
    assert "http://127.0.0.1:9/map.png" in browser.requested()
    assert "oh" in " ".join(browser.said()) and "nothing is not defined" in " ".join(browser.said())


PAGES = ("period", "cycle", "assimilate")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_self_contained_light_and_silent(browser: Browser, reports: dict[str, Path], name: str) -> None:
    page = reports[name]
    assert page.stat().st_size < LIGHT
    browser.open(page)
    shown = browser.value("Array.from(document.images).every(i => i.complete && i.naturalWidth > 100)")
    assert shown and browser.value("document.images.length") >= 8
    assert browser.requested() == [page.absolute().as_uri()]  # the page itself, and nothing else
    assert browser.said() == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_not_blank(browser: Browser, reports: dict[str, Path], name: str) -> None:
    browser.open(reports[name])
    picture = browser.picture()
    height = browser.value("document.documentElement.scrollHeight")
    assert picture.shape[0] == height > 1500  # several screens: captureBeyondViewport takes all of them
    # Nowhere is a whole screen (900 rows) of one colour; text and pictures are on each.
    for top in range(0, height - 900, 900):
        assert np.ptp(picture[top : top + 900], axis=(0, 1)).max() > 0.5
    # Maps are coloured: pixels whose channels differ by more than a quarter cover more than a map's worth (200 x 200).
    assert (np.ptp(picture, axis=2) > 0.25).sum() > 40_000


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_aloud(browser: Browser, reports: dict[str, Path], name: str) -> None:
    """After WCAG 2.1: texts of pictures (1.1.1), headers of tables and order of headings (1.3.1), language (3.1.1)."""
    browser.open(reports[name])
    texts = browser.value("Array.from(document.images).map(i => i.alt)")
    assert min(map(len, texts)) > 40 and len(set(texts)) == len(texts)
    assert browser.value("Array.from(document.querySelectorAll('table')).every(t => t.caption.innerText.length > 10)")
    assert browser.value(
        "Array.from(document.querySelectorAll('thead')).every(h => !h.querySelector('th:not([scope])'))"
    )
    levels = browser.value("Array.from(document.querySelectorAll('h1,h2,h3,h4')).map(h => +h.tagName[1])")
    assert levels[0] == 1 and max(np.diff(levels)) <= 1 and levels.count(1) == 1
    assert browser.value("document.documentElement.lang") == "en"
    links = "Array.from(document.querySelectorAll('nav a')).every(a => document.querySelector(a.hash))"
    assert browser.value(links) and browser.value("document.querySelectorAll('nav a').length") >= 4
    ids = browser.value("Array.from(document.querySelectorAll('[id]')).map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_words_stand_out_from_their_ground(browser: Browser, reports: dict[str, Path]) -> None:
    """WCAG 2.1, 1.4.3: a contrast of 4.5 for text of usual size."""
    browser.open(reports["period"])
    seen = browser.value(
        "Array.from(document.querySelectorAll('p,td,th,caption,figcaption,a,dt,dd,small,footer')).map(e => {"
        " let b = e; while (b && getComputedStyle(b).backgroundColor == 'rgba(0, 0, 0, 0)') b = b.parentElement;"
        " return [getComputedStyle(e).color, b ? getComputedStyle(b).backgroundColor : 'rgb(255, 255, 255)']; })"
    )

    def luminance(colour: str) -> float:
        c = np.array([int(n) for n in re.findall(r"\d+", colour)[:3]]) / 255
        return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])

    for pair in {tuple(p) for p in seen}:
        dark, light = sorted(map(luminance, pair))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, pair


@pytest.mark.parametrize("name", ["period", "cycle"])
def test_a_page_fits_a_telephone_and_paper(browser: Browser, reports: dict[str, Path], name: str) -> None:
    browser.open(reports[name], width=390)
    assert browser.value("document.documentElement.scrollWidth") <= 390  # wide tables scroll by themselves
    paper = browser.printed()
    sheets = len(re.findall(rb"/Type\s*/Page\b", paper))
    assert paper.startswith(b"%PDF") and 2 <= sheets <= 40
    browser.open(reports[name], width=720)  # A4 without its margins: 18 cm at 96 dots an inch are 680
    browser.ask("Emulation.setEmulatedMedia", media="print")
    # Chromium shrinks a page that is a little wider than the paper; what is shrunk by a tenth can still be read.
    assert browser.value("document.documentElement.scrollWidth") <= 1.1 * 720


def test_a_page_says_what_happened(browser: Browser, reports: dict[str, Path]) -> None:
    browser.open(reports["cycle"])
    words: Any = browser.value("document.body.innerText")
    facts = json.loads((reports["cycle"].parent / "provenance.json").read_text())
    assert {"background", "operators and quality control", "posterior"} < facts["seconds"].keys()
    for said in ("RMS O-B", "analysis: posterior", "What became of every value", facts["command"][:40], "withheld"):
        assert said in words
