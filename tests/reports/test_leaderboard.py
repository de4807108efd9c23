"""The five formats of a report."""

import csv
import io
import json
import re
import subprocess
import sys
import time

import pytest

from optbench.errors import UserError
from optbench.reports.leaderboard import render
from optbench.rng import stream

OPTIMIZERS = ("gd", "adamw", "muon", "sam", "functional_sam", "preconditioned_sam", "preconditioned_functional_sam")
MODELS = ("phi-nano", "llama-nano", "gemma-nano", "qwen-nano")
STRATEGIES = ("uniform", "upsample", "augment")
EVIL = "=x|y_*[red]&\\cmd{$}%#~^<b>`\x1b[31m\n| z"


@pytest.fixture
def matrix(bench):
    """The whole matrix, one seed or several, with muon far ahead."""

    def build(seeds=1, **more):
        declared = [bench.contrast("muon", "adamw"), bench.contrast("upsample", "uniform", axis="strategy")]
        suite = bench.suite(OPTIMIZERS, models=MODELS, strategies=STRATEGIES, seeds=seeds, contrasts=declared, **more)
        noise = stream(0, "accuracy").normal(0, 0.01, size=(len(suite.arms), seeds))
        place = {id(arm): index for index, arm in enumerate(suite.arms)}
        for cell in suite.cells():
            base = 0.8 if cell.arm.optimizer == "muon" else 0.3
            passes = 600.0 if "sam" in cell.arm.optimizer else 300.0
            result = {"passes": passes, "flops": passes * 1e9, "state_bytes": 8e5, "format_error": 0.05}
            bench.write(
                cell,
                base + noise[place[id(cell.arm)], cell.seed],
                result=result,
                measured={"step_seconds": passes * 1e-4, "peak_bytes": 4.2e8},
            )
        return suite

    return build


def rows_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(OPTIMIZERS)]


def test_the_terminal_opens_with_the_sentences(bench, matrix):
    lines = render(matrix(), bench.store).splitlines()
    assert lines[0] == "toy: Which one wins?"
    assert lines[1] == "84 of 84 cells have records."
    answer, contrasts = lines.index("Answer"), lines.index("Declared contrasts")
    table = next(place for place, line in enumerate(lines) if line.startswith("optimizer"))
    assert 1 < answer < contrasts < table
    assert lines[answer + 1].startswith("  sums, 300 steps (4 models of 0.10M parameters): one run of each")
    assert re.match(
        r"  muon minus adamw: \+(49|50)\.\d points accuracy over 4 models x 3 strategies", lines[contrasts + 1]
    )


@pytest.mark.parametrize(("width", "seeds"), [(100, 1), (100, 3), (80, 3), (60, 2)])
def test_no_line_is_wider_than_asked_and_no_name_is_cut(bench, matrix, width, seeds):
    text = render(matrix(seeds), bench.store, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for name in (*MODELS, *STRATEGIES):
        assert name in text
    if width == 100:
        assert text.count("higher is better") == text.count("costs, and") == 1
    if width == 100 and seeds == 1:
        assert "preconditioned_functional_sam" in text


def test_a_pipe_gets_no_colour_codes_whatever_the_environment_says(bench, matrix, monkeypatch):
    suite = matrix(3)
    plain = render(suite, bench.store)
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "40", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    assert render(suite, bench.store) == plain
    assert "\x1b" not in plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1m" in render(suite, bench.store, color=True)


def test_with_one_seed_nothing_is_bold_or_tied_and_the_table_says_why(bench, matrix):
    text = render(matrix(1), bench.store, color=True)
    assert "One seed: no interval exists" in re.sub(r"\x1b\[\d+m", "", text)
    rows = [line for line in text.splitlines() if "muon" in line and "uniform" in line]
    assert rows and not any("\x1b[1m" in row or "*" in row for row in rows)
    assert "±" not in text.split("One seed")[0]


def test_ties_are_starred_and_the_supported_best_is_bold(bench, matrix):
    text = render(matrix(6), bench.store, "markdown")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    muon = [row for row in rows if row.startswith("| muon") and "±" in row]
    others = [row for row in rows if not row.startswith("| muon") and "±" in row]
    assert len(muon) == 3 and all("**" in row for row in muon)
    assert len(others) == 18 and not any("**" in row for row in others)
    assert "the best of its column, and every row not resolved from it" in text


def test_rows_are_sorted_by_the_score_over_all_models(bench, matrix):
    rows = rows_of(render(matrix(), bench.store).split(": costs")[0])
    scores = [float(re.search(r"(\d+\.\d)", row).group(1)) for row in rows]
    assert len(scores) == 21
    assert scores == sorted(scores, reverse=True)


def test_diverged_arms_are_shown_and_last(bench):
    suite = bench.suite(("bad", "adamw", "worse"), models="ab")
    for cell in suite.cells():
        failed = cell.arm.optimizer == "bad"
        score = None if failed else 0.4 if cell.arm.optimizer == "adamw" else 0.0
        bench.write(cell, score, outcome="diverged" if failed else "completed")
    text = render(suite, bench.store)
    names = [line.split()[0] for line in text.split(": costs")[0].splitlines() if "uniform" in line]
    assert names == ["adamw", "worse", "bad"]
    assert "2 diverged." in text
    assert re.search(r"bad †2 +uniform +diverged +diverged +diverged", text)
    assert "each counts as accuracy 0" in text


def test_a_row_that_lacks_a_model_has_no_average_and_is_not_ranked(bench):
    suite = bench.suite(("muon", "adamw"), models=("aa", "bb"))
    bench.fill(suite, lambda cell: None if (cell.arm.model, cell.arm.optimizer) == ("bb", "muon") else 0.5)
    text = render(suite, bench.store)
    assert "3 of 4 cells have records, 1 is missing." in text
    rows = [line.split() for line in text.split(": costs")[0].splitlines() if "uniform" in line]
    assert rows == [["adamw", "uniform", "50.0", "50.0", "50.0"], ["muon", "uniform", "-", "50.0", "-"]]


def test_costs_are_divided_by_adamw_of_the_same_model(bench):
    suite = bench.suite(("adamw", "sam"), models=("small", "large"))
    for cell in suite.cells():
        size = 10.0 if cell.arm.model == "large" else 1.0
        cost = size * (2.0 if cell.arm.optimizer == "sam" else 1.0)
        bench.write(cell, result={"flops": cost, "passes": 600.0}, measured={"step_seconds": cost})
    costs = render(suite, bench.store).split(": costs")[1]
    row = next(line.split() for line in costs.splitlines() if line.startswith("sam"))
    assert row[2:5] == ["2.00", "2.00", "600"]


def test_without_adamw_costs_are_absolute(bench):
    suite = bench.suite(("sam",))
    bench.write(suite.cells()[0], result={"flops": 2e9}, measured={"step_seconds": 0.25})
    costs = render(suite, bench.store).split(": costs")[1]
    assert "250 ms" in costs and "2e+09" in costs and "/adamw" not in costs


def test_times_taken_beside_others_are_marked(bench):
    suite = bench.suite(("adamw", "sam"))
    for cell in suite.cells():
        bench.write(cell, measured={"step_seconds": 0.5, "contended": cell.arm.optimizer == "sam"})
    text = render(suite, bench.store)
    row = {line.split()[0]: line.split()[2] for line in text.split(": costs")[1].splitlines() if "uniform" in line}
    assert row == {"adamw": "1.00", "sam": "~1.00"}
    assert "~ taken beside other running cells: shown, never ranked" in text


def test_times_of_two_kinds_of_machine_are_marked(bench):
    suite = bench.suite(("adamw", "sam"))
    for cell in suite.cells():
        bench.write(cell, provenance={"device": f"device of {cell.arm.optimizer}"})
    text = render(suite, bench.store)
    assert "~ taken on different devices (device of adamw, device of sam)" in text
    assert re.search(r"sam +uniform +~1\.00", text)


def test_a_blurred_perturbation_is_flagged(bench):
    suite = bench.suite(("adamw", "sam"))
    for cell in suite.cells():
        bench.write(cell, result={"shift_cosine": 0.7} if cell.arm.optimizer == "sam" else {})
    text = render(suite, bench.store)
    assert "sam ‡" in text and "shift_cosine below 0.9" in text and "adamw ‡" not in text


def test_each_task_and_each_budget_has_its_table(bench):
    suite = bench.suite(tasks=("sums", "words"), budgets=({"steps": 300}, {"passes": 300}))
    bench.fill(suite, lambda cell: 0.5)
    titles = [line for line in render(suite, bench.store).splitlines() if "higher is better" in line]
    assert [title.split(":")[0] for title in titles] == [
        "sums, equal steps (300 steps)",
        "sums, equal compute (300 passes)",
        "words, equal steps (300 steps)",
        "words, equal compute (300 passes)",
    ]


def test_a_task_without_answers_is_ranked_by_its_likelihood(bench):
    suite = bench.suite()
    for cell in suite.cells():
        bench.write(cell, None, result={"test_nll": 0.5 if cell.arm.optimizer == "muon" else 0.9})
    text = render(suite, bench.store)
    assert "test_nll, nats, lower is better" in text
    assert [row.split()[0] for row in rows_of(text.split(": costs")[0])] == ["muon", "adamw"]


@pytest.mark.parametrize("format", ["table", "markdown", "latex"])
def test_no_records_is_said_with_what_to_do(bench, format):
    suite = bench.suite(models="ab", contrasts=[bench.contrast("muon", "adamw")])
    text = re.sub(r"\s+", " ", render(suite, bench.store, format))
    assert "run its 4 cells with optbench run suites/toy.yaml" in text


def test_the_json_has_the_promised_shape(bench, matrix):
    report = json.loads(render(matrix(3), bench.store, "json"), parse_constant=lambda word: pytest.fail(word))
    assert report["suite"] == "toy"
    assert len(report["arms"]) == 84
    arm = report["arms"][1]
    assert {name: arm[name] for name in ("name", "model", "task", "strategy", "optimizer", "budget")} == {
        "name": "phi-nano/sums/uniform/adamw/300 steps",
        "model": "phi-nano",
        "task": "sums",
        "strategy": "uniform",
        "optimizer": "adamw",
        "budget": {"steps": 300},
    }
    assert (arm["seeds"], arm["outcomes"]) == (3, {"completed": 3})
    assert set(arm["metrics"]["accuracy"]) == {"mean", "half_width", "n"}
    contrast = report["contrasts"][0]
    assert contrast["estimate"] == pytest.approx(0.5, abs=0.02)
    assert contrast["interval"] == [
        pytest.approx(contrast["estimate"] - contrast["half_width"]),
        pytest.approx(contrast["estimate"] + contrast["half_width"]),
    ]
    assert (contrast["n"], contrast["pairs"], contrast["resolved"]) == (3, 12, True)
    assert contrast["sentence"].startswith("muon minus adamw")


def test_what_is_not_known_is_null_in_json(bench):
    suite = bench.suite(contrasts=[bench.contrast("muon", "adamw")])
    adamw, muon = suite.cells()
    bench.write(adamw, 0.5, result={"test_nll": 1.0})
    report = json.loads(render(suite, bench.store, "json"), parse_constant=lambda word: pytest.fail(word))
    known, unknown = (arm["metrics"]["accuracy"] for arm in report["arms"])
    assert known == {"mean": 0.5, "half_width": None, "n": 1}
    assert unknown == {"mean": None, "half_width": None, "n": 0}
    contrast = report["contrasts"][0]
    assert [contrast[name] for name in ("estimate", "half_width", "interval", "p_holm")] == [None] * 4
    assert contrast["resolved"] is False
    bench.write(muon, None, outcome="diverged")
    report = json.loads(render(suite, bench.store, "json"), parse_constant=lambda word: pytest.fail(word))
    assert report["arms"][1]["metrics"]["test_nll"] == {"mean": None, "half_width": None, "n": 1}
    assert report["contrasts"][0]["interval"] is None


def test_the_csv_has_one_row_per_arm_and_no_words_for_the_unknown(bench):
    suite = bench.suite()
    bench.write(suite.cells()[0], 0.5)
    rows = list(csv.DictReader(io.StringIO(render(suite, bench.store, "csv"))))
    assert [row["optimizer"] for row in rows] == ["adamw", "muon"]
    assert [row["accuracy"] for row in rows] == ["0.5", ""]
    assert [row["accuracy_half_width"] for row in rows] == ["", ""]
    assert rows[0]["budget"] == "300 steps"


@pytest.fixture
def evil(bench):
    suite = bench.suite((EVIL, "muon"), models=(EVIL,), contrasts=[bench.contrast(EVIL, "muon")])
    suite.name = suite.question = EVIL
    bench.fill(suite, lambda cell: 0.5)
    return suite


def test_names_reach_the_terminal_as_they_are_and_without_control_characters(bench, evil):
    text = render(evil, bench.store, width=200)
    assert "\x1b" not in text
    shown = "=x|y_*[red]&\\cmd{$}%#~^<b>` [31m | z"
    assert text.splitlines()[0] == f"{shown}: {shown}"
    assert sum(line.startswith(shown) for line in text.splitlines()) == 3


def test_names_do_not_break_a_markdown_table(bench, evil):
    lines = [line for line in render(evil, bench.store, "markdown").splitlines() if line.startswith("|")]
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in lines[:4]}
    assert len(columns) == 1
    assert r"=x\|y\_\*\[red\]\&\\cmd{\$}%\#\~^\<b\>\`" in lines[2] + lines[3]


def test_names_do_not_run_in_latex(bench, evil):
    text = render(evil, bench.store, "latex")
    assert r"=x\textbar{}y\_{*}{[}red{]}\&\textbackslash{}cmd\{\$\}\%\#\textasciitilde{}\textasciicircum{}" in text
    # Every line is a comment or balanced, and no escape is left without its backslash.
    body = [line for line in text.splitlines() if not line.startswith("%")]
    bare = re.sub(r"\\[{}$&%#_]", "", "\n".join(body))
    assert bare.count("{") == bare.count("}")
    # What stands around the names in every table and sentence.
    bare = re.sub(r"\{\\ifdim\\width>|\{!\}\{%$|[np]~=~", "", bare, flags=re.MULTILINE)
    assert not re.search(r"[#_%^~|<>]", bare)
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert r"\toprule" in text and r"\bottomrule" in text


def test_names_are_no_formulas_in_csv(bench, evil):
    rows = list(csv.DictReader(io.StringIO(render(evil, bench.store, "csv"))))
    assert rows[0]["optimizer"].startswith("'=x|y")
    assert rows[0]["name"].startswith("'=x|y")
    assert rows[1]["optimizer"] == "muon"


def test_names_are_whole_in_json(bench, evil):
    report = json.loads(render(evil, bench.store, "json"))
    assert report["arms"][0]["optimizer"] == EVIL


def test_an_unknown_format_is_refused(bench):
    with pytest.raises(UserError, match="did you mean markdown"):
        render(bench.suite(), bench.store, "markdwn")


def test_a_report_never_imports_torch():
    script = (
        "import sys, optbench.reports.leaderboard, optbench.reports.data, optbench.reports.documents, "
        "optbench.reports.terminal; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.slow
def test_ten_thousand_records_are_reported_in_five_seconds(bench):
    models = [f"model-{i}" for i in range(20)]
    suite = bench.suite(
        OPTIMIZERS[:5], models=models, strategies=STRATEGIES[:2], seeds=50, contrasts=[bench.contrast("muon", "adamw")]
    )
    noise = stream(0, "speed").normal(0.5, 0.05, size=50)
    bench.fill(suite, lambda cell: noise[cell.seed], result={"flops": 1e9, "passes": 300.0, "accuracy/sums": 0.5})
    start = time.perf_counter()
    render(suite, bench.store)
    assert time.perf_counter() - start < 5
