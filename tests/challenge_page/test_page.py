"""The page of a challenge as a file: its order, every number in it, what it must not hold, and how it is written."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html import escape
from pathlib import Path

import pytest
from challenge_page.contents import FINDINGS, content_of, profile_of, records, suite_of, tuned_of
from page.test_page import Page

from optbench.challenge.content import Content
from optbench.challenge.page import page_text, write_page
from optbench.challenge.pictures import Drawn
from optbench.conformance.finding import Finding
from optbench.errors import UserError
from optbench.panels.base import panel_key
from optbench.profiling.sentences import headline
from optbench.reports.verdicts import Judged
from optbench.store import Store

EVIL = "<script>window.hacked=1</script></style><!--\u202e\x07{{ 7 * 7 }}"


def bare(content: Content, folder: Path) -> str:
    """The page without its figures, which take longer than all the rest."""
    reasons = {"curves": "no record has a curve"}
    return page_text(content, folder, {"curves": Drawn([], reasons), "tuning": Drawn([], {})})


def part(text: str, name: str) -> str:
    """The text of a section, tags taken out, one space between words."""
    (found,) = re.findall(rf'<section id="{name}".*?</section>', text, flags=re.DOTALL)
    return said(found)


def said(html: str) -> str:
    return " ".join(Page(re.sub(r"<(br|/td|/th|/dt|/dd|/li|/p|/h[1-6])[^>]*>", r"\g<0> ", html)).said.split())


def rows(text: str, caption: str) -> list[list[str]]:
    """The body of the table with a caption that begins so: the texts of its cells."""
    (table,) = [t for t in re.findall(r"<table.*?</table>", text, flags=re.DOTALL) if f"<caption>{caption}" in t]
    body = re.search(r"<tbody>(.*?)</tbody>", table, flags=re.DOTALL)
    assert body is not None
    found = re.findall(r"<tr>(.*?)</tr>", body.group(1), flags=re.DOTALL)
    return [[said(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL)] for row in found]


def test_the_sections_stand_in_their_order_with_the_verdict_first(text):
    order = ["verdict", "differences", "table", "curves", "cost", "tuning", "conformance", "limits", "repeat"]
    assert re.findall(r'<section id="([^"]+)"', text) == order
    links = re.findall(r'<li><a href="#([^"]+)">', text)
    assert links == order
    levels = [int(level) for level in re.findall(r"<h([1-6])", text)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_the_head_says_what_was_compared_and_at_which_scale(text):
    head = said(text[text.index("<header") : text.index("<main")])
    assert "muon against adamw and sam" in head
    assert "llama-nano (0.10M parameters); arithmetic; uniform; 300 steps; 13 seeds; Intel(R) Xeon(R)" in head


def test_verdict_words_stand_with_their_numbers_and_what_is_open_beside_them(content, tmp_path):
    four = [
        Judged("muon minus adamw", "accuracy", 0.0312, 0.0104, 0.0523, 13, 0.02, "better", "First sentence."),
        Judged("muon minus sam", "accuracy", -0.04, -0.061, -0.021, 12, 0.02, "unresolved", "Second sentence."),
    ]
    found = part(bare(replace(content, contrasts=four), tmp_path), "verdict")
    assert "▲ better First sentence. difference +3.1 points interval [+1.0, +5.2] margin ±2 points seeds 13" in found
    assert "? unresolved Second sentence. difference -4.0 points interval [-6.1, -2.1] margin ±2 points" in found
    assert "Unresolved: muon minus sam. Neither a difference nor its absence is claimed there." in found
    assert content.limits[0] in found
    assert (
        "valid however often one looked" in found
        and "for all 2 contrasts at once with a chance of 95%, if differences per seed are about normal." in found
    )
    assert "tuned, once: tuning anew may end with other values and another verdict" in found
    assert found.index("Unresolved:") < found.index("How sure:")


def test_one_contrast_is_not_called_several_and_nothing_open_is_not_called_open(content, tmp_path):
    one = replace(content, contrasts=content.contrasts[:1], limits=())
    page = bare(one, tmp_path)
    assert "Left out: curves: no record has a curve." in part(page, "curves")
    assert "too small to matter" in page and "too small to matter" not in bare(replace(one, margin=0.0), tmp_path)
    assert "contrasts at once" not in page and "Unresolved:" not in page
    assert "None but the scale" in part(page, "limits")


def test_a_margin_is_called_stated_beforehand_only_where_no_other_was(content, tmp_path):
    once = part(bare(content, tmp_path), "verdict")
    assert "called too small to matter before the first seed" in once and "Several margins" not in once
    twice = part(bare(replace(content, margins=(0.05, 0.02)), tmp_path), "verdict")
    assert "before the first seed" not in twice
    assert "Several margins were stated, one after another, in the unit of accuracy: ±5, ±2 points." in twice


def test_every_number_of_the_table_is_that_of_the_records(text, content):
    table = content.report.standings[0]
    found = rows(text, "arithmetic, equal steps (300 steps): accuracy")
    assert [row[0] for row in found] == ["muon (challenger)", "adamw", "sam"]
    for row, optimizer in zip(found, ("muon", "adamw", "sam"), strict=True):
        cells = [cell for cell in content.suite.cells() if cell.arm.optimizer == optimizer]
        results = [content.store.record(cell.key).result for cell in cells]
        mean = sum(result["accuracy"] for result in results) / len(results)
        width = table.half_width.loc[(optimizer, "uniform")].iloc[0]
        assert row[1].split("*")[0].strip() == f"{100 * mean:.1f} ±{100 * width:.1f}"
        assert row[2] == "13"
        assert row[3] == f"{table.costs.loc[(optimizer, 'uniform'), 'flops']:.2f}"
        assert row[4] == f"{results[0]['passes']:.0f}"
    assert [row[6] for row in found] == ["1.31 (1.27 to 1.36)", "1.00", "2.04 (1.98 to 2.11)"]
    assert [row[7] for row in found] == ["7.00 GB", "7.00 GB", "9.00 GB"]


def test_the_challenger_is_first_and_the_baselines_stand_as_they_were_named(content, tmp_path):
    page = bare(replace(content, name="sam", against=("adamw", "muon")), tmp_path)
    assert [row[0] for row in rows(page, "arithmetic, equal steps (300 steps): accuracy")] == [
        "sam (challenger)",
        "adamw",
        "muon",
    ]


def test_every_model_that_was_profiled_has_its_own_columns(content, tmp_path):
    small = profile_of()
    big = [replace(row, model="big", ratio=row.ratio + 1, memory_peak=2e9) for row in small.rows]
    page = bare(replace(content, profiles=[replace(small, rows=[*small.rows, *big])]), tmp_path)
    assert "step time /adamw, big" in page and "step time /adamw, llama-nano" in page
    found = rows(page, "arithmetic, equal steps (300 steps): accuracy")
    assert found[0][6:] == ["1.31 (1.27 to 1.36)", "7.00 GB", "2.31 (1.27 to 1.36)", "2.00 GB"]
    twice = bare(replace(content, profiles=(small, profile_of("big"))), tmp_path)
    assert twice.count(escape(headline(small))) == 2
    none = part(bare(replace(content, profiles=()), tmp_path), "cost")
    assert "not profiled" in none


def test_the_profile_says_its_conditions_medians_and_spread(text):
    cost = part(text, "cost")
    assert "adamw measured 31.2 ms 750 ms 1.00 1.00 to 1.00 60 4,096 1.00e12 7.00 GB 800 kB" in cost
    assert "sam measured 500 ms 750 ms 2.04 1.98 to 2.11 30 4,096 1.00e12 9.00 GB -" in cost
    assert headline(profile_of()) in cost
    assert "muon on llama-nano: first pass 90.0%, rule 8.0%, other 2.0%" in cost


def test_tuning_shows_every_trial_with_what_was_chosen_and_flags_edges(text):
    assert rows(text, "What tuning chose") == [
        ["muon", "4", "1 diverged", "0.8125", "0.7031", "1", "rule.lr 0.01"],
        ["adamw", "4", "0", "0.7500", "0.7500", "1", "rule.lr 0.004"],
        ["sam", "4", "0", "0.9000", "0.7000", "1", "rule.lr 0.001 ? at the lower edge"],
    ]
    assert rows(text, "Trials of muon") == [
        ["1", "as it stood", "rule.lr 0.02", "0.8125", "20 s"],
        ["2", "quasi-random", "rule.lr 0.01", "0.7031 (chosen)", "20 s"],
        ["3", "quasi-random", "rule.lr 0.09", "diverged", "20 s"],
        ["4", "quasi-random", "rule.lr 0.002", "0.9000", "20 s"],
    ]
    assert rows(text, "Hyper-parameters of sam") == [
        ["rule.lr", "0.001 to 0.1, log", "0.004", "0.001", "? lower", "0.001", "-"]
    ]
    assert rows(text, "Hyper-parameters of muon")[0][-1] == "100%"
    tuning = part(text, "tuning")
    alike = tuning.index("Tuned alike: adamw, muon and sam: 4 trials each")
    assert (
        alike
        < tuning.index("recorded trials of the suite chose: adamw (12 trials)")
        < tuning.index("What tuning chose")
    )
    assert 'id="figure-tunability"' in text and 'id="figure-curves"' in text and 'id="figure-cost"' in text


def test_unequal_numbers_of_trials_are_an_alarm(content, tmp_path):
    tuned = tuned_of()
    fewer = tuned.studies[2].model_copy(update={"trials": tuned.studies[2].trials[:2], "best": 0})
    unequal = tuned.model_copy(update={"studies": [*tuned.studies[:2], fewer]})
    found = part(bare(replace(content, tuned=unequal), tmp_path), "tuning")
    assert "▼ unequal Not tuned alike: adamw and muon: 4 trials each; sam: 2 trials." in found


def test_without_trials_the_page_says_so_and_stands(content, tmp_path):
    none = tuned_of().model_copy(update={"studies": []})
    page = bare(replace(content, tuned=none), tmp_path)
    assert "no trials recorded" in part(page, "tuning") and "What tuning chose" not in page


def test_conformance_says_what_holds_what_fails_and_what_is_a_note(content, text, tmp_path):
    caption = "What any optimizer has to satisfy"
    assert [row[1:3] for row in rows(text, caption)] == [
        ["✓ holds", "required"],
        ["✓ holds", "required"],
        ["! note", "worth knowing"],
    ]
    failed = replace(content, findings=[Finding("follows the rate", True, False, "It moved by 1.5.")])
    assert rows(bare(failed, tmp_path), caption) == [["follows the rate", "✗ fails", "required", "It moved by 1.5."]]
    assert "It was not examined." in part(bare(replace(content, findings=()), tmp_path), "conformance")
    assert rows(text, "Which rule of the challenger") == [["adamw", "6,592", "6"], ["muon", "90,624", "14"]]


def test_the_plan_stands_beside_what_came_of_it_and_where_the_time_went(text, content):
    limits = part(text, "limits")
    assert content.plan[0] in limits and content.limits[0] in limits
    half = [(judged.high - judged.low) / 2 for judged in content.contrasts]
    assert rows(text, "Half-widths") == [
        ["muon minus adamw", "13", f"±{100 * half[0]:.1f} points", "±2 points", "better"],
        ["muon minus sam", "13", f"±{100 * half[1]:.1f} points", "±2 points", "better"],
    ]
    assert rows(text, "Spent: 1.6 h of 2.0 h (78%) of the budget") == [
        ["conformance", "12 s", "0%"],
        ["tuning", "20 min", "21%"],
        ["seeds", "72 min", "77%"],
        ["profile", "2 min", "2%"],
    ]


def test_code_keeps_its_lines_and_files_beside_the_page_are_links(text, content):
    repeat = text[text.index('<section id="repeat"') :]
    assert "class Muon:\n    def step(self):\n        return 1 &lt; 2 and 3 &gt; 2\n</code>" in repeat
    assert "(3 lines)" in repeat
    assert '<a href="./challenge.zip">challenge.zip</a>' in repeat and '<a href="./row.tex">row.tex</a>' in repeat
    assert "<td>challenge.yaml</td>" in repeat, "a file elsewhere is named, and no link"
    assert "optbench verify challenge.zip" in repeat and "optbench merge challenge.zip --results" in repeat
    assert content.command in repeat
    assert "Intel(R) Xeon(R) Processor" in repeat and "2.13.0+cpu" in repeat
    without = bare(replace(content, source="", files={}), content.files["LaTeX row"].parent)
    assert "The code of" not in without and "optbench verify" not in without


def test_the_policy_is_of_exactly_these_styles_and_no_script(text):
    page = Page(text)
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    sums = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in page.texts["style"]]
    assert len(sums) == 1 and f"style-src 'sha256-{sums[0]}'" in policy.split("; ")
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not page.all("script")
    for tag, attributes in page.found:
        assert "style" not in attributes and not any(name.startswith("on") for name in attributes), tag
        address = attributes.get("src") or attributes.get("href") or ""
        assert address == "" or address.startswith(("#", "data:image/", "./")), address


def test_every_table_has_a_caption_every_picture_a_text_and_every_mark_a_word(text):
    tables = re.findall(r"<table.*?</table>", text, flags=re.DOTALL)
    assert len(tables) > 8 and all("<caption>" in table for table in tables)
    page = Page(text)
    assert all(each["alt"] for each in page.all("img")) and len(page.all("img")) == 3
    drawn = [each for each in page.all("svg") if each.get("role") == "img"]
    assert len(drawn) == 2 and all("interval [" in (each["aria-label"] or "") for each in drawn)
    for pill in re.findall(r'<span class="verdict [^"]*">(.*?)</span></?', text):
        assert re.search(r"[a-z]{3}", pill), "a mark without its word"


def test_texts_of_others_are_shown_and_run_nothing(content, tmp_path):
    hostile = replace(
        content,
        name=EVIL,
        source=f"{EVIL}\n\tx = '</pre>'",
        against=(EVIL, "sam"),
        contrasts=[replace(content.contrasts[0], sentence=EVIL), content.contrasts[1]],
        findings=[Finding(EVIL, False, False, EVIL)],
        spent={EVIL: 60.0},
        plan=[EVIL],
        limits=[EVIL, "reads /home/somebody/secret/file.txt"],
        command=f"optbench challenge /home/somebody/mine.py '{EVIL}'",
        files={EVIL: tmp_path / "a<b.zip"},
    )
    text = bare(hostile, tmp_path)
    page = Page(text)
    assert not page.all("script")
    assert "window.hacked" in page.said, "shown, as text"
    assert "<!--" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    assert not any(letter in text for letter in "\u202e\x07")
    assert "{{ 7 * 7 }}" in page.said and "somebody" not in text
    assert [each["href"] for each in page.all("a") if (each["href"] or "").startswith("./")] == ["./a%3Cb.zip"]


def test_a_name_that_is_no_text_for_a_style_sheet_gets_no_class_of_it(content, tmp_path):
    text = bare(replace(content, name="</style>x", against=("}*{display:none}",)), tmp_path)
    (style,) = Page(text).texts["style"]
    assert "display:none}" not in style.replace("display: none }", "") and "</style>x" not in style


def test_it_is_written_whole_and_the_same_again(content, text, tmp_path):
    files = {name: tmp_path / "out" / path.name for name, path in content.files.items() if name != "suite"}
    files["suite"] = tmp_path / "challenge.yaml"
    path = write_page(replace(content, files=files), tmp_path / "out")
    assert path == tmp_path / "out" / "index.html" and [each.name for each in path.parent.iterdir()] == ["index.html"]
    first = path.read_bytes()
    assert first.decode() == text, "another folder, the same page"
    assert str(tmp_path) not in first.decode() and first.decode().endswith("</html>")


def test_without_records_there_is_no_page(tmp_path):
    empty = Store(tmp_path / "none")
    content = content_of(tmp_path, suite_of(tmp_path), empty, contrasts=())
    with pytest.raises(UserError, match="No records"):
        write_page(content, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_panels_have_a_table_where_they_found_something(text, tmp_path):
    assert "What panels found" not in text
    suite = suite_of(tmp_path, seeds=(0,), panels="sharpness, simplicity")
    page = bare(content_of(tmp_path, suite, records("quick")), tmp_path)
    found = rows(page, "arithmetic, equal steps (300 steps): sharpness<")
    tops = {
        cell.arm.optimizer: records("quick").panel(cell.key, panel_key(cell.panels[0]))["result"]["hessian_top"]
        for cell in suite.cells()
    }
    assert {row[0] for row in found} == set(tops)
    assert all(f"{tops[row[0]]:.3g}" in row for row in found)
    assert "simplicity" in part(page, "table") and "no interval" in part(page, "verdict")


def test_diverged_runs_and_missing_cells_still_make_a_page(tmp_path):
    suite = suite_of(tmp_path, models="llama-nano, phi-nano", seeds=(1, 2, 77))
    text = bare(content_of(tmp_path, suite, records()), tmp_path)
    assert "12 of 18 cells have records, 6 are missing." in part(text, "verdict")
    assert "llama-nano, phi-nano (0.10M parameters each); arithmetic" in text


def test_findings_of_the_fixture_are_of_all_three_kinds():
    assert {(each.required, each.passed) for each in FINDINGS} == {(True, True), (False, False)}
