"""The leaderboard's page in a Chromium without a window, used with mouse and keyboard; skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import headless_browser
import pytest
from headless_browser import Browser, Page
from written_pages import HOSTILE, page_of, write_curves, write_totals
from written_suites import write_suite

pytestmark = pytest.mark.skipif(
    headless_browser.executable() is None, reason="no Chromium here: none of its names is on the PATH"
)

LOSSES = "[...document.querySelectorAll('#task-0-table tbody tr:not([hidden])')].map((row) => row.dataset.loss)"
OPEN = "document.getElementById('panel').open"
TITLE = "document.getElementById('panel-title').textContent"
FEW = "#task-0-table tr[data-loss=softmax_eql] button[data-metric=few]"
PANEL = "[...document.querySelectorAll('#panel svg')].map((each) => each.getAttribute('aria-label'))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser.start() as started:
        yield started


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tasks; one loss has a failed run, one a name that must stay a name; of a class there are no samples."""
    folder = tmp_path_factory.mktemp("pages")
    both = {"many": 90.0, "few": 20.0}
    outcomes: Any = {
        ("digits", "cross_entropy"): [{"top1": 70.0, **both}, {"top1": 72.0, **both}],
        ("digits", "softmax_eql"): [{"top1": 75.0, **both}, {"top1": 79.0, **both}],
        ("digits", "focal"): [{"top1": 95.0, **both}, "CUDA out of memory"],
        ("digits", HOSTILE): [{"top1": 9.0, **both}, {"top1": 8.0, **both}],
        **{("many", f"loss_{place}"): [{"top1": 1.0 * place, **both}] for place in range(10)},
        ("lvis", "cross_entropy"): [{"top1": 20.0}, {"top1": 22.0}],
        ("lvis", "softmax_eql"): [{"top1": 25.0}, {"top1": 25.5}],
    }
    suite = write_suite(folder, outcomes)
    write_curves(suite, counts=(0, 90, 10))
    for run in suite.runs():
        write_totals(run, {200: [(1, 2), (3, 2), (1, 8)], 400: [(1, 1), (2, 1), (1, 2)]})
    written = folder / "board.html"
    written.write_text(page_of(suite), encoding="utf-8")
    return written


@pytest.fixture
def shown(browser: Browser, file: Path) -> Iterator[Page]:
    """The page; whatever a test does with it, nothing is complained of and nothing asked for but the file."""
    page = browser.open(file)
    yield page
    assert page.complaints == []
    assert [request.partition("#")[0] for request in page.requests] == [file.as_uri()]


def test_a_heading_sorts_and_incomplete_rows_stay_last(shown: Page) -> None:
    top1 = "#task-0-table thead th:nth-child(3)"
    sense = f"document.querySelector({top1!r}).getAttribute('aria-sort')"
    assert shown.evaluate(LOSSES) == ["cross_entropy", "softmax_eql", HOSTILE, "focal"]
    assert shown.evaluate(sense) is None
    shown.click(f"{top1} button")
    assert (shown.evaluate(LOSSES), shown.evaluate(sense)) == (
        ["softmax_eql", "cross_entropy", HOSTILE, "focal"],
        "descending",
    )
    shown.click(f"{top1} button")
    assert shown.evaluate(LOSSES) == [HOSTILE, "cross_entropy", "softmax_eql", "focal"]
    shown.click("#task-0-table thead th button")
    assert shown.evaluate(LOSSES)[-3:] == ["cross_entropy", "focal", "softmax_eql"]
    assert shown.evaluate(sense) is None


def test_filters_leave_what_is_asked_for(shown: Page) -> None:
    shown.click("#filter")
    shown.type("EQL entropy -cross")
    assert shown.evaluate(LOSSES) == ["softmax_eql"]
    assert shown.evaluate("document.getElementById('found').textContent") == "1 of 14 losses"
    shown.evaluate("(document.getElementById('filter').value = '', document.getElementById('complete').click())")
    assert shown.evaluate(LOSSES) == ["cross_entropy", "softmax_eql", HOSTILE]
    shown.evaluate(
        "(() => { const task = document.getElementById('task'); task.value = 'task-2';"
        "task.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )
    visible = "[...document.querySelectorAll('section.sheet')].filter((each) => !each.hidden).map((each) => each.id)"
    assert shown.evaluate(visible) == ["task-2"]
    shown.click("nav a[href='#task-0']")  # is hidden, and comes back
    shown.wait_for("!document.getElementById('task-0').hidden")
    assert shown.evaluate("document.getElementById('task').value") == ""
    assert shown.evaluate("document.getElementById('task-0').getBoundingClientRect().top < innerHeight")


def test_a_cell_opens_its_runs_with_the_mouse(shown: Page) -> None:
    shown.click("#task-0-table tr[data-loss=focal] td:nth-child(3) button")
    assert shown.evaluate(OPEN)
    text = shown.evaluate("document.querySelector('dialog').innerText")
    for expected in ("digits · focal", "failed: CUDA out of memory", "95.00", "1 of 2 seeds"):
        assert expected in text
    assert "resnet8" in shown.evaluate("document.querySelector('dialog').textContent")  # folded away
    said = shown.evaluate(PANEL)
    assert len(said) == 4
    assert said[0] == "top1 over training, focal; at the end: cross_entropy 100, focal 100"
    assert "s1 did not finish and is left out" in text
    assert shown.evaluate("location.hash") == "#runs/digits/focal"
    shown.click("dialog .close")
    assert not shown.evaluate(OPEN)
    shown.wait_for("location.hash === ''")


def test_a_cell_opens_with_the_keyboard_which_comes_back_to_it(shown: Page) -> None:
    cell = "document.querySelector('#task-0-table tbody tr:nth-child(2) td:nth-child(3) button')"
    shown.evaluate(f"{cell}.focus()")
    shown.press("Enter")
    assert shown.evaluate(OPEN)
    for _ in range(40):  # the keyboard stays inside
        shown.press("Tab")
        assert shown.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    shown.press("Escape")
    assert not shown.evaluate(OPEN)
    assert shown.evaluate(f"document.activeElement === {cell}")


def test_a_name_that_looks_like_markup_is_shown_as_it_is(browser: Browser, file: Path) -> None:
    page = browser.open(file)
    page.evaluate(
        "[...document.querySelectorAll('#task-0-table tbody tr')].find((row) => row.dataset.loss.includes('img'))"
        ".querySelector('td button').click()"
    )
    assert HOSTILE in page.evaluate("document.getElementById('panel-title').textContent")
    assert page.evaluate("document.images.length + document.querySelectorAll('main script').length") == 0
    assert page.complaints == []


def test_an_address_opens_the_runs_it_names(browser: Browser, file: Path) -> None:
    page = browser.open(file, fragment="#runs/lvis/softmax_eql")
    page.wait_for(OPEN)
    assert page.evaluate("document.getElementById('panel-title').textContent") == "lvis · softmax_eql"
    assert page.complaints == []


def test_a_task_is_drawn_when_it_is_looked_at_and_follows_the_filter(shown: Page) -> None:
    shown.evaluate("document.querySelector('.drawings').scrollIntoView()")
    shown.wait_for("document.querySelector('.drawings svg')")
    assert shown.evaluate("document.querySelectorAll('#task-0 .drawings .chart').length") == 5
    links = "[...document.querySelectorAll('#task-0 .drawings svg a')].map((link) => link.getAttribute('href'))"
    assert "#runs/digits/focal" in shown.evaluate(links)
    shown.click("#filter")
    shown.type("focal")
    assert shown.evaluate(links) == ["#runs/digits/focal"]
    shown.evaluate("document.querySelector('#task-0 .drawings svg a').focus()")
    shown.press("Enter")
    shown.wait_for(OPEN)


def test_back_closes_what_a_cell_has_opened(browser: Browser, file: Path) -> None:
    page = browser.open(file)
    page.click(FEW)
    assert page.evaluate(OPEN)
    page.evaluate("history.back()")
    page.wait_for(f"!{OPEN}")
    assert page.evaluate("location.href").partition("#")[0] == file.as_uri()
    page.evaluate("history.forward()")
    page.wait_for(OPEN)
    page.press("Escape")
    page.wait_for("location.hash === ''")
    assert not page.evaluate(OPEN)
    assert page.complaints == []


def test_the_metric_that_was_clicked_is_marked_and_drawn_first(shown: Page) -> None:
    shown.click(FEW)
    assert shown.evaluate("document.querySelector('#panel [aria-current] th').textContent") == "few"
    assert [label.partition(" over")[0] for label in shown.evaluate(PANEL)[:2]] == ["few", "top1"]
    assert shown.evaluate("location.hash") == "#runs/digits/softmax_eql/few"


def test_charts_are_read_out_and_enlarged(shown: Page) -> None:
    shown.click(FEW)
    shown.evaluate("document.querySelector('#panel .chart svg').focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        shown.press(key)
    first = "document.querySelector('#panel .chart output').textContent"
    assert shown.evaluate(first) == "softmax_eql, epoch 4: 5"
    assert shown.evaluate("document.querySelectorAll('#panel .readout').length") == 1
    shown.evaluate("document.activeElement.blur()")
    assert shown.evaluate("document.querySelectorAll('#panel .readout').length") == 0
    shown.hover("#panel .chart svg")
    assert shown.evaluate("document.querySelector('#panel .readout text').textContent") in (
        "softmax_eql",
        "cross_entropy",
    )
    shown.click("#panel .chart svg")
    assert shown.evaluate("document.getElementById('large').open")
    assert shown.evaluate("document.querySelector('#large svg').getBoundingClientRect().width") > 900
    shown.press("Escape")
    assert shown.evaluate(OPEN)


def test_a_class_without_training_samples_stands_at_the_edge(shown: Page) -> None:
    shown.click(FEW)
    chart = "[...document.querySelectorAll('#panel figure')].find((each) => each.textContent.includes('each class'))"
    assert "1 without training images, at the left edge" in shown.evaluate(f"{chart}.textContent")
    assert "0" in shown.evaluate(f"[...{chart}.querySelectorAll('.tick')].map((tick) => tick.textContent)")


def test_ratio_charts_share_their_axes_and_a_line_of_balance(shown: Page) -> None:
    shown.evaluate("document.querySelector('.drawings').scrollIntoView()")
    shown.wait_for("document.querySelector('.drawings .balance')")
    charts = "[...document.querySelectorAll('#task-0 .drawings .figures svg')]"
    read = "[...each.querySelectorAll('.tick')].map((tick) => tick.textContent).join()"
    ticks = f"new Set({charts}.map((each) => {read})).size"
    assert shown.evaluate(f"{charts}.length") == 4
    assert shown.evaluate(ticks) == 1
    assert shown.evaluate(f"{charts}.every((each) => each.querySelector('.balance'))")


def test_names_of_losses_are_apart_and_many_of_them_below_the_chart(shown: Page) -> None:
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    overlaps = """(() => {
        const names = [...document.querySelectorAll('#task-0 .drawings > figure .name')];
        const boxes = names.map((each) => each.getBoundingClientRect());
        const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
        return [boxes.length, boxes.filter((a, at) => boxes.slice(at + 1).some((b) => !apart(a, b))).length];
    })()"""
    assert shown.evaluate(overlaps) == [4, 0]
    assert shown.evaluate("document.querySelectorAll('#task-1 .drawings > figure svg .name').length") == 0
    shown.click("#task-1 .legend li:nth-child(10) a")
    shown.wait_for(OPEN)
    assert shown.evaluate(TITLE) == "many · loss_1"


def test_figures_unfold(shown: Page) -> None:
    assert shown.evaluate("document.querySelectorAll('#task-0 .pictures details:not([open]) svg').length") >= 3
    shown.click("#task-0 .pictures summary")
    box = "document.querySelector('#task-0 .pictures svg').getBoundingClientRect()"
    shown.wait_for(f"{box}.height > 200")
    tone = "getComputedStyle(document.querySelector('#task-0 .pictures [stroke^=\"var(--g\"]')).stroke"
    assert shown.evaluate(tone).startswith("rgb(")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_the_window_and_can_be_read(browser: Browser, file: Path, width: int, dark: bool) -> None:
    page = browser.open(file, width=width, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.click("#task-0-table tbody td button")
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= innerWidth")
    contrast = page.evaluate(
        """(() => {
        const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((part) => {
          const share = part / 255;
          return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        }).reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
        const ground = light(getComputedStyle(document.body).backgroundColor);
        const contrast = (colour) => {
          const [a, b] = [light(colour), ground].sort((x, y) => y - x);
          return (a + 0.05) / (b + 0.05);
        };
        const found = (name) => [...document.querySelectorAll(name)].slice(0, 1).map((each) => getComputedStyle(each));
        const words = ["p", ".even", ".quiet", "caption", "a", "h4", ".up", ".down"].flatMap(found);
        const tones = ["tone-0", "tone-1", "tone-2", "group-0", "group-3"].map((name) => `svg .line.${name}`);
        const lines = tones.flatMap(found);
        return [words.map((style) => contrast(style.color)), lines.map((style) => contrast(style.stroke))];
        })()"""
    )
    words, lines = contrast
    assert len(words) >= 6
    assert len(lines) >= 3
    assert min(words) >= 4.5  # WCAG 2, level AA
    assert min(lines) >= 2.4  # each also has dashes of its own and a name at its end
    assert page.complaints == []


def test_it_prints_the_tables_and_drawings_without_what_is_for_the_screen(shown: Page, tmp_path: Path) -> None:
    shown.print(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    shown.wait_for("document.querySelectorAll('.drawings[data-drawn]').length === 3")
    shown.call("Emulation.setEmulatedMedia", media="print")
    assert shown.evaluate("getComputedStyle(document.querySelector('.filters')).display") == "none"
