"""The page in a real browser, with the network off: sorting, filtering, opening a cell, hostile text, every screen."""

from __future__ import annotations

import re
import time

import pytest
from browsing import PATIENCE
from page.conftest import PANEL, amend, fill, looked, page_of
from reports.conftest import Bench

from optbench.store import Store

EVIL = (
    "<img src=x onerror=window.hacked=1>",
    "</script><script>window.hacked=1</script>",
    "\"' onmouseover='window.hacked=1' x=\"",
    "{{ 7 * 7 }}&amp;<!--",
    "\u202eegnahc\u200f מוהן",
    "a_very_long_name_" * 16,
)
FIRST = "#leaderboard .board >> nth=0"
CELLS = "#cells .board"


def shows(read, wanted):
    """Whether what is read comes to be what is wanted: a page draws when it has time, which a busy machine has late."""
    end = time.monotonic() + PATIENCE / 1000
    while (seen := read()) != wanted:
        if time.monotonic() > end:
            assert seen == wanted
        time.sleep(0.05)
    return True


def rows(page, board=FIRST):
    """The texts of the rows in view, as they stand: a list of cells for each row."""
    return page.locator(f"{board} >> .tabulator-row").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('.tabulator-cell')]"
        ".filter(cell => cell.checkVisibility()).map(cell => cell.innerText.trim()))"
    )


def names(page, board=FIRST):
    return [row[0] for row in rows(page, board)]


def head(page, title, board=FIRST):
    return page.locator(board).get_by_role("button", name=title, exact=True)


def heads(page):
    return page.locator(f"{FIRST} >> .tabulator-col:visible").all_inner_texts()


def open_cell(page, key):
    page.evaluate(f"location.hash = '#cell-{key}'")
    # Asked again and again from outside: a condition that waits inside is a string to evaluate, which the page forbids.
    assert shows(lambda: page.evaluate("document.querySelector('dialog code')?.textContent"), key)
    return page.get_by_role("dialog")


def test_a_column_of_numbers_sorts_as_numbers_both_ways_and_back(visit, made):
    page = visit(made.path)
    page.locator("form[data-for=board]").get_by_label("Strategy").select_option("uniform")
    ranked = ["functional_sam", "adamw", "sam", "muon", "lion †6", "gd"]
    assert shows(lambda: names(page), ranked)
    head(page, "optimizer").click()
    assert shows(lambda: names(page), ["adamw", "functional_sam", "gd", "lion †6", "muon", "sam"])
    head(page, "m1").click()
    # As text, 9.5 would come first; what diverged and what is missing stands last whichever way.
    assert shows(lambda: names(page), ["functional_sam", "adamw", "sam", "muon", "lion †6", "gd"])
    assert shows(lambda: [row[3].split()[0] for row in rows(page)], ["100.0", "30.0", "20.0", "9.5", "diverged", "-"])
    assert shows(lambda: page.locator(f"{FIRST} >> .tabulator-col[aria-sort=descending]").count(), 1)
    head(page, "m1").click()
    assert shows(lambda: names(page), ["muon", "sam", "adamw", "functional_sam", "lion †6", "gd"])
    head(page, "m1").click()
    assert shows(lambda: names(page), ranked)


def test_sorting_by_keyboard(visit, made):
    page = visit(made.path)
    # All is drawn: until then a heading that has the focus may be replaced.
    assert shows(lambda: page.locator("form[data-for=board] output").inner_text(), "24 of 24 rows")
    head(page, "m2").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert shows(lambda: names(page)[:4], ["muon", "muon", "sam", "sam"])


def test_filters_leave_the_right_rows_in_every_table_and_say_how_many(visit, made):
    page = visit(made.path)
    form = page.locator("form[data-for=board]")
    costs = "#leaderboard .board >> nth=1"
    assert shows(lambda: form.locator("output").inner_text(), "24 of 24 rows")
    form.get_by_label("Optimizer").fill("SAM")
    for board in (FIRST, costs):
        assert shows(lambda board=board: set(names(page, board)), {"sam", "functional_sam"})
    form.get_by_label("Strategy").select_option("upsample")
    assert shows(lambda: [row[:2] for row in rows(page)], [["functional_sam", "upsample"], ["sam", "upsample"]])
    assert shows(lambda: form.locator("output").inner_text(), "4 of 24 rows")
    assert shows(lambda: heads(page), ["optimizer", "strategy", "all models", "m1", "m2"])
    form.get_by_label("Model").select_option("m2")
    assert shows(lambda: heads(page), ["optimizer", "strategy", "all models", "m2"])
    assert shows(lambda: page.locator("#panels .tabulator").count(), 0)
    page.locator("#panels summary").click()
    page.wait_for_selector("#panels .tabulator-row")
    assert shows(
        lambda: names(page, "#panels .board"), ["functional_sam", "sam"]
    )  # Unfolded later, filtered all the same.
    form.get_by_label("Optimizer").fill("nobody")
    assert shows(lambda: page.locator(FIRST).get_by_text("No row matches the filter.").is_visible(), True)
    form.get_by_role("button", name="Show all").click()
    assert shows(lambda: form.locator("output").inner_text(), "36 of 36 rows")
    assert shows(lambda: len(rows(page)), 12)
    assert shows(lambda: len(heads(page)), 5)


def test_cells_are_filtered_by_each_of_their_axes_and_sorted(visit, made):
    page = visit(made.path)
    form = page.locator("form[data-for=cells]")
    assert shows(lambda: form.locator("output").inner_text(), "72 of 72 rows")
    form.get_by_label("Outcome").select_option("diverged")
    assert shows(lambda: form.locator("output").inner_text(), "12 of 72 rows")
    form.get_by_label("Model").select_option("m2")
    form.get_by_label("Strategy").select_option("upsample")
    assert shows(
        lambda: [row[:5] for row in rows(page, CELLS)], [["lion", "upsample", "m2", seed, "diverged"] for seed in "012"]
    )
    form.get_by_label("Outcome").select_option("")
    form.get_by_label("Optimizer").fill("m")
    head(page, "accuracy, %", CELLS).click()
    head(page, "accuracy, %", CELLS).click()
    sorted_up = (("muon", "9.5"), ("sam", "20.0"), ("adamw", "30.0"), ("functional_sam", "100.0"))
    assert shows(
        lambda: [(row[0], row[5]) for row in rows(page, CELLS)], [pair for pair in sorted_up for _ in range(3)]
    )


@pytest.mark.parametrize("way", ["row", "link", "keyboard", "address"])
def test_opening_a_cell_shows_what_it_was(way, visit, made):
    key = made.key("sam", strategy="upsample", seed=1)
    page = visit(made.path, f"#cell-{key}" if way == "address" else "")
    dialog = page.get_by_role("dialog")
    link = page.locator(f"#cells .tabulator a[href='#cell-{key}']")
    if way != "address":
        assert shows(lambda: dialog.is_visible(), False)
        page.locator("form[data-for=cells]").get_by_label("Optimizer").fill("sam")
        # Filtering redraws the rows: what was focused before that is gone.
        assert shows(lambda: all("sam" in row[0] for row in rows(page, CELLS)), True)

    def act():
        if way == "row":
            page.locator("#cells .tabulator-row:has(a[href='#cell-" + key + "']) .tabulator-cell >> nth=1").click()
        elif way == "link":
            link.click()
        elif way == "keyboard":
            link.focus()
            page.keyboard.press("Enter")

    def opened():
        # Again and again: a table that is still being drawn takes clicks and focus with the row that it replaces.
        if not dialog.is_visible():
            act()
            end = time.monotonic() + 5
            while not dialog.is_visible() and time.monotonic() < end:
                time.sleep(0.05)
        return dialog.is_visible()

    assert shows(opened, True)
    dialog.wait_for(state="visible")
    assert shows(
        lambda: dialog.get_by_role("heading", level=2).inner_text(), "sam · upsample · m1 · sums · 300 steps · seed 1"
    )
    said = dialog.inner_text()
    for text in (f"completed. Key: {key}", "rule.lr", "rule.betas\t0.9, 0.999", "accuracy\t0.2 fraction"):
        assert text in said
    assert "flops\t123,457,000,000 FLOPs" in said  # Six significant digits.
    assert "added\t7" in said
    assert "hessian_top\t47.5" in said
    assert "adamw.parameters\t97,216" in said
    assert "shift_norm" not in said
    assert dialog.get_by_role("img").get_attribute("aria-label").startswith("Training loss over 300 steps: from 3.98")
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert shows(lambda: page.url.endswith("#cells"), True)
    if way in ("link", "keyboard"):
        assert shows(lambda: link.evaluate("link => link === document.activeElement"), True)


def test_the_way_back_closes_a_cell_and_the_way_forward_opens_it(visit, made):
    page = visit(made.path)
    dialog = open_cell(page, made.key("sam"))
    page.go_back()
    dialog.wait_for(state="hidden")
    page.go_forward()
    dialog.wait_for(state="visible")
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="hidden")


def test_an_unknown_cell_and_a_missing_one_are_said_to_be(visit, made):
    assert "This page has no cell __proto__." in visit(made.path, "#cell-__proto__").get_by_role("dialog").inner_text()
    missing = visit(made.path, f"#cell-{made.key('gd')}").get_by_role("dialog").inner_text()
    assert "Outcome: missing." in missing
    assert "There is no record yet: optimizer gd" in missing


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """A page where every name, text and number's name tries to be more than text; and its suite."""
    bench = Bench(Store(tmp_path_factory.mktemp("hostile") / "runs"))
    suite = bench.suite(
        EVIL, models=EVIL[:2], strategies=EVIL[1:3], tasks=(EVIL[0],), contrasts=[bench.contrast(EVIL[0], EVIL[1])]
    )
    suite.name, suite.question = EVIL[1], EVIL[0] + EVIL[3]
    fill(bench, suite, lambda cell: 0.5)
    made_with = {"device": EVIL[0], "commit": EVIL[1], "versions": {EVIL[0]: EVIL[1]}}
    for cell in suite.cells():
        amend(
            bench,
            cell,
            result={**{f"accuracy/{name}": 0.5 for name in EVIL[:3]}, f"hessian_top/{EVIL[0]}": 1.0},
            cell={"model": {EVIL[0]: EVIL[1], "kind": EVIL[2]}},
            plan={EVIL[1]: EVIL},
            measured={EVIL[0]: 1.0, "provenance": made_with},
        )
        looked(bench, cell)
        panel = bench.store.folder(cell.key) / "panels" / PANEL / "panel.json"
        panel.write_text(panel.read_text().replace("exact", "</script><img src=x onerror=window.hacked=1>"))
    return page_of(bench, suite, left_out={EVIL[0]: EVIL[1]}), suite


def test_hostile_names_stay_text_everywhere(visit, hostile):
    path, suite = hostile
    page = visit(path)
    assert page.title().startswith(EVIL[1])
    clean = [re.sub("[\u202e\u200f\\s]+", " ", name).strip() for name in EVIL]
    assert shows(lambda: set(names(page)), set(clean))
    assert shows(lambda: heads(page)[3:], list(EVIL[:2]))
    for summary in page.locator("#panels summary").all():
        summary.click()
    page.wait_for_selector("#panels .tabulator-row")
    form = page.locator("form[data-for=board]")
    for model in EVIL[:2]:
        form.get_by_label("Model").select_option(model)
        assert shows(lambda: heads(page)[3:], [model])
    form.get_by_label("Strategy").select_option(EVIL[2])
    form.get_by_label("Optimizer").fill("<IMG")
    assert shows(lambda: [row[:2] for row in rows(page)], [[EVIL[0], EVIL[2]]])
    head(page, "optimizer").click()
    for place in (0, -1):
        said = open_cell(page, suite.cells()[place].key).inner_text()
        for text in (*EVIL[:3], "</script><img src=x onerror=window.hacked=1>"):
            assert text in said
    assert shows(lambda: page.evaluate("typeof window.hacked"), "undefined")
    strange = "main img, main script, body > :not(a, header, main, footer, dialog, script), [onerror], [onmouseover]"
    assert shows(lambda: page.locator(strange).count(), 0)
    assert shows(lambda: page.locator("script").count(), 3)


def test_the_policy_of_the_page_stops_scripts_and_the_network(browser, made):
    context = browser.new_context()
    page = context.new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(made.path.as_uri())
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.hacked = 1";
          const picture = new Image();
          picture.src = "https://example.org/x.png";
          document.body.append(script, picture);
          document.body.insertAdjacentHTML("beforeend", "<p onclick='window.hacked = 2' id=hostile>x</p>");
          document.getElementById("hostile").click();
          return fetch("https://example.org/").catch(() => 0);
        }"""
    )
    kinds = ("script-src", "img-src", "default-src")
    # What the console says arrives here while something else is asked.
    assert shows(
        lambda: (page.evaluate("typeof window.hacked"), *(k for k in kinds if k in str(refused))), ("undefined", *kinds)
    )
    context.close()


def test_without_javascript_every_table_is_there(visit, made):
    page = visit(made.path, java_script_enabled=False)
    for name in ("table-0", "table-1", "cell-table"):
        assert page.locator(f"table#{name}").is_visible()
    assert shows(lambda: page.locator("#table-0 tbody tr").count(), 12)
    assert shows(lambda: page.locator("#cell-table tbody tr").count(), 72)
    assert not page.locator("form.filters").first.is_visible()
    assert "need JavaScript" in page.locator("#cells").inner_text()


def test_in_print_the_tables_of_the_file_stand_and_all_is_unfolded(visit, made):
    page = visit(made.path)
    assert page.locator("#table-0").is_hidden()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for name in ("#table-0", "#table-2", "#cell-table"):
        assert page.locator(name).is_visible()
    assert shows(lambda: page.locator(".tabulator:visible").count(), 0)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert shows(lambda: page.locator("#panels details[open]").count(), 0)


@pytest.mark.parametrize("which", ["made", "hostile"])
def test_a_phone_never_scrolls_sideways(which, visit, made, hostile):
    path, suite = (made.path, made.suite) if which == "made" else hostile
    page = visit(path, viewport={"width": 360, "height": 740}, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    dialog = open_cell(page, suite.cells()[-1].key)
    assert dialog.evaluate("box => box.scrollWidth <= box.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const numbers = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = numbers(getComputedStyle(at).backgroundColor);
      if (found[3] === 255) return found;
    }
    return numbers("Canvas");
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    const [one, other] = [numbers(getComputedStyle(element).color), ground(element)].map((c) => light(c.slice(0, 3)));
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${element.tagName} ${element.className} ${element.textContent}`);
  }
  return { found, ground: numbers(getComputedStyle(document.body).backgroundColor).slice(0, 3) };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(scheme, visit, made):
    page = visit(made.path, color_scheme=scheme)
    head(page, "m1").click()
    measured = page.evaluate(CONTRAST)
    assert measured["found"] == []
    assert (sum(measured["ground"]) < 150) == (scheme == "dark")
    open_cell(page, made.key("sam"))
    assert shows(lambda: page.evaluate(CONTRAST)["found"], [])


def test_tables_say_what_they_are(visit, made):
    page = visit(made.path)
    for caption in page.locator("main table").evaluate_all("tables => tables.map(table => table.caption?.textContent)"):
        assert caption.strip()
    assert shows(lambda: page.locator("thead th:not([scope=col]), tbody th:not([scope=row])").count(), 0)
    assert shows(lambda: page.locator(".tabulator[aria-label*='equal steps']").count(), 2)
    ids = page.locator("[id]").evaluate_all("all => all.map(each => each.id)")
    assert len(ids) == len(set(ids))
    assert shows(lambda: page.locator("html[lang=en]").count(), 1)


def test_a_thousand_cells_stay_small_and_only_those_in_view_are_drawn(visit, tmp_path):
    bench = Bench(Store(tmp_path / "runs"))
    optimizers = [f"optimizer{place}" for place in range(25)]
    suite = bench.suite(optimizers, models=("m1", "m2"), strategies=("uniform", "upsample"), seeds=10)
    bench.fill(suite, lambda cell: 0.01 * int(cell.arm.optimizer.removeprefix("optimizer")))
    path = page_of(bench, suite)
    assert path.stat().st_size < 4e6
    page = visit(path)
    assert shows(lambda: page.locator("form[data-for=cells] output").inner_text(), "1000 of 1000 rows")
    assert shows(lambda: 10 < page.locator("#cells .tabulator-row").count() < 150, True)
    head(page, "accuracy, %", CELLS).click()
    assert shows(lambda: names(page, CELLS)[0], "optimizer24")
    open_cell(page, suite.cells()[-1].key)
