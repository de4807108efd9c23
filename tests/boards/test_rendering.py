"""What a comparison says, and that it says it in every format."""

import csv
import io
import json

import pytest
from boards.conftest import BOARD, rows

from optbench.boards.rendering import rendered
from optbench.boards.sentences import notes_of, sentences_of
from optbench.boards.words import decimals_of

INF = float("inf")
ADAMW, MUON = [2.0, 2.1, 2.2], [1.9, 1.95, 2.12]
FIVE = {"adamw": 3.0, "muon": 2.6, "soap": 2.7, "lion": 3.1, "mars": 2.8}
DIGITISED = ("grade: published", "grade: digitised\nuncertainty: 0.002")


def said(found):
    return "\n".join(sentences_of(found))


def noted(found):
    return "\n".join(notes_of(found))


def test_agreement_that_is_resolved(stand):
    text = said(stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON})))
    assert "Gains are over adamw; positive is better on both sides." in text
    assert "Agree in sign: muon, here +0.11 [+0.0204, +0.2] (+5.3%) (n = 3, Holm p = 0.034: resolved), " in text
    assert "there +0.3 (+10%) (spread over runs not stated)." in text
    assert "For muon the signs agree and our difference is resolved" in text
    assert "Disagree" not in text


def test_agreement_that_is_not_resolved(stand):
    text = said(stand.compare(stand.suite({"adamw": [2.0], "muon": [1.0]})))
    assert "here +1 (+50%) (one seed, so not resolved)" in text
    assert "For muon the signs agree and ours is not resolved: half of all signs agree by chance." in text


def test_disagreements_by_what_is_resolved(stand):
    open_ = said(stand.compare(stand.suite({"adamw": [1.0], "muon": [2.0]})))
    assert "Disagree in sign: muon, here -1" in open_
    assert "our difference is not resolved, so the other sign contradicts nothing" in open_
    suite = stand.suite({"adamw": MUON, "muon": ADAMW})
    assert "our difference is resolved and theirs is not known to be" in said(stand.compare(suite))
    board = rows(AdamW="{value: 3.0, n: 4}", Muon="{value: 2.0, n: 4}")
    board = board.replace("grade: published", "grade: published\nsigma: 0.01\nsigma_from: the rules")
    found = stand.compare(suite, board)
    assert "For muon both differences are resolved: the answer depends on scale" in said(found)
    assert "there +1 ±0.014 (+33%) (resolved by its stated spread)" in said(found)
    assert "Spread between runs there: 0.01 (the rules)." in noted(found)


def test_within_the_error_of_reading(stand):
    suite = stand.suite({"adamw": ADAMW, "muon": MUON})
    found = stand.compare(suite, rows(AdamW=3.002, Muon=3.0).replace(*DIGITISED))
    assert "(within the error of reading, 0.004)" in said(found)
    assert "Figures there: digitised, to about 0.002." in noted(found)


def test_no_shared_name(stand):
    found = stand.compare(stand.suite({"adamw": ADAMW, "gd": MUON}), rows(SOAP=1.0, Lion=2.0))
    text = said(found)
    assert (
        "No optimizer of the suite has a figure there: the suite has adamw and gd, the board has SOAP and Lion" in text
    )
    assert "there are none." in text
    assert "the board has no adamw." in text


@pytest.mark.parametrize(
    ("optimizers", "figures", "words"),
    [
        (
            ("gd", "muon"),
            {"AdamW": 1.0, "Muon": 2.0},
            "the suite has no adamw; both have muon, as in --reference muon.",
        ),
        (("adamw", "muon"), {"SOAP": 1.0, "Muon": 2.0}, "the board has no adamw; both have muon"),
        (("gd", "muon"), {"SOAP": 1.0, "Muon": 2.0}, "neither side has adamw; both have muon"),
    ],
)
def test_no_reference(stand, optimizers, figures, words):
    found = stand.compare(stand.suite(dict(zip(optimizers, (ADAMW, MUON), strict=True))), rows(**figures))
    assert f"No gains can be compared: {words}" in said(found)
    assert "Undetermined" not in said(found)


def test_why_a_sign_is_undetermined(stand):
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": ADAMW}))
    assert "Undetermined: muon, equal here." in said(found)


def test_fewer_than_five_names_have_no_correlation(stand):
    text = said(stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON})))
    assert (
        "No rank correlation: it needs 5 shared names with a figure on both sides, and there are 2 (adamw and mu"
        in text
    )


def test_the_order_in_words(stand):
    suite = stand.suite({name: [value] for name, value in FIVE.items()})
    there = {**FIVE, "soap": 2.6}
    text = said(stand.compare(suite, rows(**there)))
    # Ten pairs, of which muon and soap are tied there: 9 / sqrt(10 * 9).
    assert (
        "Order of the 5 shared names: Kendall tau-b +0.95 (9 pairs in the same order, 0 in the other, 1 tied;" in text
    )
    assert "no ties" in said(stand.compare(suite, rows(**FIVE)))
    assert "all 5 shared names are equal" in said(stand.compare(suite, rows(**dict.fromkeys(FIVE, 1.0))))
    near = rows(**{**FIVE, "soap": 2.601}).replace(*DIGITISED)
    assert "1 of the pairs are within the error of reading there" in said(stand.compare(suite, near))


def test_the_gap_in_scale(stand):
    suite = stand.suite({"adamw": ADAMW, "muon": MUON})
    text = said(stand.compare(suite))
    assert "Scale here: 1 model (m) of 100 k parameters, 1 M training tokens, task sums, on a processor." in text
    assert "There: 10 M parameters, 2 B training tokens, data C4, on TPU." in text
    assert "The gap: there 100 times as many parameters as here and 2,000 times as many training tokens." in text
    nothing = BOARD.replace(", scale: {parameters: 10e6, tokens: 2e9, data: C4, hardware: TPU}", "")
    text = said(stand.compare(suite, nothing))
    assert "There: parameters not stated, training tokens not stated, data not stated, hardware not stated." in text
    assert "The gap" not in text


def test_diverged_in_words(stand):
    found = stand.compare(
        stand.suite({"adamw": ADAMW, "muon": [1.0, INF, 1.0]}), rows(AdamW=3, Muon="{state: diverged}")
    )
    text = rendered(found, "table", width=200)
    assert "Agree in sign: muon, here diverged (one side diverged), there worse: did not get there" in text
    assert "muon here: 1 of 3 cells diverged." in text
    row = next(each for each in text.splitlines() if each.startswith("muon "))
    assert row.split()[1:3] == ["diverged", "diverged"]


def test_variants_flags_and_sources_are_noted(stand):
    board = rows(AdamW=3.0, X="{value: 2.0, flags: [read on another curve]}", Lion=9)
    board = board.replace("method: X", "method: D-Muon, stands_for: muon, because: the only one, flags: [odd]")
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON, "gd": MUON}), board)
    text = noted(found)
    assert "D-Muon stands for muon: the only one." in text
    assert "D-Muon: odd; read on another curve." in text
    assert "Only here: gd." in text
    assert "Only there: Lion." in text
    assert "Source: arXiv 0000.00000; table 1." in rendered(found, "table", width=100)
    paired = stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON}), board, pairs={"muon": "Lion"})
    assert "Lion is compared with muon because --pair says so." in noted(paired)


def test_a_gain_over_some_of_the_models_says_so(stand):
    values = {"adamw": {"m": ADAMW, "w": ADAMW}, "muon": {"m": MUON, "w": [None, None, None]}}
    suite = stand.suite(values, models=("m", "w"))
    found = stand.compare(suite)
    assert "muon here: the gain is over 1 of 2 models, for the others lack records." in noted(found)
    assert "here +0.11 [" in said(found)
    assert "models, for the others" not in noted(stand.compare(suite, model="m"))


def test_ratios_are_written_once(stand):
    board = rows(Muon="{value: 6, bound: more than}").replace(
        "about: 10 M", "form: ratio, relative_to: AdamW, about: x"
    )
    text = said(stand.compare(stand.suite({"adamw": MUON, "muon": ADAMW}), board))
    assert "there <=-500% (spread over runs not stated)" in text


def test_published_decimals_stay(stand):
    assert decimals_of([2.93, 2.815, 3.0]) == 3
    assert decimals_of([100.0, float("nan")]) == 0
    text = rendered(
        stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON}), rows(AdamW=2.93, Muon=2.815)), "table", width=200
    )
    assert "2.930" in text and "2.815" in text


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_the_table_fits(stand, width):
    text = rendered(stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON})), "table", width=width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("optimizer ") >= (2 if width < 140 else 1)


def test_control_characters_and_markup_are_shown_and_not_run(stand):
    board = BOARD.replace("title: A board", 'title: "a\\e[31m|b"\nnotes: ["\\e[2J wiped", "*bold* | cell"]')
    board = board.replace("method: Muon", 'method: "M\\e]0;x\\a", stands_for: muon, because: "a\\rb"')
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON}), board)
    table = rendered(found, "table", width=100)
    assert "\x1b" not in table and "\a" not in table and "\r" not in table
    document = rendered(found, "markdown", width=100)
    assert "\x1b" not in document
    assert r"\*bold\* \| cell" in document
    assert r"a \[31m\|b" in document


def test_csv_starts_no_formula(stand):
    board = rows(AdamW=3.0, X=2.0).replace("method: X", "method: =1+1, stands_for: muon, because: x")
    found = stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON}), board)
    text = rendered(found, "csv", width=100)
    (first, second) = csv.DictReader(io.StringIO(text))
    assert (first["name"], first["verdict"], first["ours_gain"]) == ("adamw", "reference", "")
    assert second["method"] == "'=1+1"
    assert float(second["ours_gain"]) == pytest.approx(0.11)
    assert float(second["ours_gain_low"]) == pytest.approx(0.11 - 0.0895666, abs=1e-6)
    assert (second["ours_resolved"], second["theirs_resolved"], second["theirs_value"]) == ("True", "", "2.0")


def test_json_is_strict_and_whole(stand):
    suite = stand.suite({**{name: [value, value + 0.01] for name, value in FIVE.items()}, "lion": [INF, INF]})
    found = stand.compare(suite, rows(**{**FIVE, "mars": "{state: not reached}"}))
    content = json.loads(rendered(found, "json", width=100), parse_constant=lambda word: pytest.fail(word))
    assert content["reference"] == "adamw"
    lines = {line["name"]: line for line in content["lines"]}
    assert lines["lion"]["ours"]["gain"]["absolute"] is None
    assert lines["lion"]["ours"]["diverged"] == 2
    assert lines["mars"]["theirs"]["state"] == "not reached"
    assert lines["muon"]["ours"]["gain"]["absolute"] == pytest.approx(0.4)
    assert content["rank"]["names"] == list(FIVE)
    assert content["theirs"]["scale"]["parameters"] == 10e6
    assert content["sentences"] == sentences_of(found)


def test_markdown_has_the_table(stand):
    text = rendered(stand.compare(stand.suite({"adamw": ADAMW, "muon": MUON})), "markdown", width=100)
    assert (
        "| muon | 1.990 ±0.286 | +0.11 \\[+0.0204, +0.2\\] | +5.3% | yes | 2.7 | +0.3 | +10% | unknown | agree |"
        in text
    )


def test_accuracies_are_points(stand):
    suite = stand.suite({"adamw": [0.5, 0.52], "muon": [0.6, 0.63]}, metric="accuracy")
    text = rendered(stand.compare(suite), "table", width=200)
    assert "here +10.5 [+4.1, +16.9] points" in text
    assert "here: accuracy %" in text
