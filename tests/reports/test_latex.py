"""LaTeX for a paper: how tables are laid out, and that pdfLaTeX takes them with nothing beyond the margin."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from papers import check, needs_pdflatex

from optbench.archive import open_store
from optbench.reports.escape import latex
from optbench.reports.grid import Entry, Grid
from optbench.reports.latex_cells import cells_of
from optbench.reports.latex_header import broken, header_lines, headings_of
from optbench.reports.latex_tables import LINES, prose, table_lines
from optbench.reports.leaderboard import render
from optbench.suite import load_suite

EVIL = "=x|y_*[red]&\\cmd{$}%#~^<b>`\x1b[31m\n| z"
NAMES = (EVIL, "--", "[x]", "*", "β-SAM µ², 中文 ąþ é", "x" * 80, "my_opt_" * 9, "-1", "~2 ± † × − “q”")


def table(*rows, names=1, header=None, title="costs"):
    """The lines of a table of texts; texts that begin with ! are strong."""
    entries = [[Entry(text.removeprefix("!"), text.startswith("!")) for text in row] for row in rows]
    header = header or ["optimizer", *(f"c{place}" for place in range(1, len(rows[0])))]
    return table_lines(Grid(title, header, entries, names), ["A note."], "tab:toy")


def bodies(lines):
    """The rows of every tabular, each as its cells."""
    found, within = [], False
    for line in (line.strip() for line in lines):
        if line in (r"\midrule", r"\bottomrule"):
            within = line == r"\midrule"
            found += [[]] * within
        elif within:
            found[-1] = [*found[-1], [cell.strip() for cell in line.removesuffix(r"\\").split("&")]]
    return found


def plain(text):
    """What is seen of a cell: room that is left free as underscores, and commands taken away."""
    text = re.sub(r"\\hphantom\{((?:\{\*\}|[^{}])*)\}", lambda free: "_" * len(free[1].replace("{*}", "*")), text)
    return text.replace(r"\,$\pm$\,", "±").replace("{*}", "*")


def test_numbers_stand_below_each_other_by_point_and_half_width():
    cells = cells_of([Entry("1.72 ±0.0222*"), Entry("12.1 ±0.107 *"), Entry("2 ±10.2")])
    assert [plain(cell.text) for cell in cells] == [
        "1.72±_0.0222*",
        "12.1_±_0.107_*",
        "2___±10.2____",
    ]


def test_signs_powers_units_and_about_are_set_as_such():
    texts = ["-0.5", "+0.25", "4.64e-6", "1.8e+11", "~557 MB", "3.5%", "~0.99", "-", "diverged"]
    found = [cells_of([Entry(text)])[0].text for text in texts]
    assert found == [
        "$-$0.5",
        "$+$0.25",
        r"4.64\,$\times$\,10$^{-6}$",
        r"1.8\,$\times$\,10$^{11}$",
        r"$\sim$557\,MB",
        r"3.5\%",
        r"$\sim$0.99",
        "--",
        "diverged",
    ]


def test_a_number_without_half_width_stands_below_the_numbers():
    first, second = cells_of([Entry("26.6 ±7.8"), Entry("1.6")])
    assert first.text == r"26.6\,$\pm$\,7.8" and second.text == r"1.6\hphantom{\,$\pm$\,0.0}"


def test_digits_of_other_scripts_are_letters_of_a_name():
    assert cells_of([Entry("٣ ±٤")])[0].text == latex("٣ ±٤")


def test_what_is_strong_is_bold_and_its_star_is_not():
    (cell,) = cells_of([Entry("51.6 ±2.1*", strong=True)])
    assert cell.text == r"\textbf{51.6\,$\pm$\,2.1}{*}"


def test_titles_are_broken_and_what_neighbours_share_is_said_once():
    titles = ["optimizer", "step time /adamw", "sam sharpness", "sam sharpness (preconditioned)", "loss"]
    widths = [9, 4, 6, 6, 4]
    assert header_lines(headings_of(titles, widths, 10, names=1), widths) == [
        r" & step time & \multicolumn{2}{c}{sam sharpness} &  \\",
        r"\cmidrule(lr){3-4}",
        r"optimizer & /adamw &  & precond. & loss \\",
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("preconditioned_functional_sam", ["preconditioned_", "functional_sam"]),
        ("a b", ["a b"]),
        ("", [""]),
        ("x" * 50, ["x" * 16, "x" * 16, "x" * 18]),
        ("a (test nll, nats)", ["a", "(test nll, nats)"]),
    ],
)
def test_names_are_broken_where_they_have_a_place_for_it(text, lines):
    assert broken(text, 16) == lines


def test_a_name_that_all_rows_share_stands_in_the_caption():
    lines = table(["a", "uniform", "1"], ["b", "uniform", "2"], names=2, header=["optimizer", "strategy", "loss"])
    (caption,) = [line for line in lines if r"\caption" in line]
    assert r"\caption{costs. Strategy: uniform.}\label{tab:toy}" in caption
    assert bodies(lines) == [[["a", "1"], ["b", "2"]]]


def test_one_row_keeps_its_names():
    assert bodies(table(["a", "uniform", "1"], names=2)) == [[["a", "uniform", "1"]]]


def test_a_narrow_table_takes_one_column_of_the_paper_and_a_wide_one_both():
    assert table(["a", "1"])[0] == r"\begin{table}[htbp]"
    assert table(["a" * 30, *["0.123 ±0.045"] * 3])[0] == r"\begin{table*}[htbp]"


def test_long_names_are_broken_before_a_table_is_cut():
    lines = table(["preconditioned_functional_sam", *["12.3 ±1.2"] * 7], ["gd", *["12.3 ±1.2"] * 7])
    (rows,) = bodies(lines)
    assert [row[0] for row in rows] == [r"preconditioned\_", r"\quad functional\_sam", "gd"]
    assert rows[1][1:] == [""] * 7


def test_what_is_too_wide_becomes_several_tables_with_all_columns_once():
    lines = table(["muon", *(f"{place}.123 ±0.045" for place in range(12))], ["gd", *["1.123 ±0.045"] * 12])
    parts = bodies(lines)
    assert len(parts) == 2 and [rows[0][0] for rows in parts] == ["muon"] * 2
    values = [cell for rows in parts for cell in rows[0][1:]]
    assert [re.match(r"\d+", plain(value).replace("_", ""))[0] for value in values] == [str(n) for n in range(12)]
    captions = [line.strip() for line in lines if r"\caption" in line]
    assert captions[0] == r"\caption{costs (1 of 2).}\label{tab:toy}"
    assert captions[1] == r"\caption{costs (2 of 2).}\label{tab:toy-2}"


def test_what_is_longer_than_a_page_becomes_several_tables_with_all_rows_once():
    parts = bodies(table(*([f"o{place}", "1"] for place in range(2 * LINES + 1))))
    assert len(parts) == 3 and max(map(len, parts)) <= LINES
    assert [row[0] for rows in parts for row in rows] == [f"o{place}" for place in range(2 * LINES + 1)]


def test_every_table_shrinks_to_the_line_and_has_its_notes():
    text = "\n".join(table(["a", "1"]))
    assert r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%" in text
    assert r"\end{tabular}}" in text and "A note.}" in text
    assert text.index(r"\caption") < text.index(r"\footnotesize") < text.index(r"\begin{tabular}")


def test_sentences_may_be_broken_in_long_names():
    assert prose("functional_sam n = 5, p < 0.001, 1.7 ±0.2 docs/x.md") == (
        r"functional\_\allowbreak{}sam n~=~5, p~\textless{}~0.001, 1.7\,$\pm$\,0.2 docs/\allowbreak{}x.md"
    )
    assert prose("y" * 40) == r"\allowbreak{}".join(["y" * 10] * 4)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("- no place; -: no record", "-- no place; --: no record"),
        ("~0.9 a~b", r"$\sim$0.9 a\textasciitilde{}b"),
        ("† ‡ ± × − µ β", r"$\dagger$ $\ddagger$ $\pm$ $\times$ $-$ $\mu$ $\beta$"),
        ("é ß Ł 中 þ", "é ß Ł U+4E2D U+00FE"),
    ],
)
def test_letters_and_signs_are_those_that_every_latex_has(text, wanted):
    assert latex(text) == wanted


def test_the_preamble_that_is_asked_for_is_all_that_is_used(bench):
    suite = bench.suite(("adamw", "muon"), seeds=3)
    bench.fill(suite, lambda cell: 0.5 + 0.01 * cell.seed)
    text = render(suite, bench.store, "latex")
    assert text.splitlines()[1] == r"% Needs in the preamble: \usepackage{booktabs,graphicx}"
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert labels == ["tab:toy-1", "tab:toy-2"]


@pytest.fixture
def body(bench):
    """Bodies of papers: reports of committed records, and one whose names come from other people."""

    def of(name):
        if name != "evil":
            return render(
                load_suite(f"suites/{name}.yaml"), open_store(Path(f"results/reference/{name}/records.zip")), "latex"
            )
        contrasts = [bench.contrast(NAMES[0], NAMES[1])]
        suite = bench.suite(NAMES, models=(EVIL, "m_" * 40), strategies=("u/v_w", "b"), seeds=3, contrasts=contrasts)
        suite.name = suite.question = EVIL
        bench.fill(suite, lambda cell: 0.2 + 0.01 * cell.seed + 0.05 * NAMES.index(cell.arm.optimizer))
        return render(suite, bench.store, "latex")

    return of


@needs_pdflatex
@pytest.mark.parametrize("name", ["quick", "quick_seeds", "board_llm", "quick_retuned", "evil"])
def test_pdflatex_takes_it_with_nothing_beyond_the_margin(body, tmp_path, name):
    check(tmp_path, body(name))
