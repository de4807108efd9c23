"""The page as a file: what it says, what it must not hold, and how it is written."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from page.conftest import amend, fill
from reports.trials import scored, study, tune

from optbench.added import Added
from optbench.cli import main
from optbench.errors import UserError
from optbench.optim.search import Range
from optbench.page.contrasts import groups_of
from optbench.page.page import page_text, write_page
from optbench.page.pictures import SHARP, Picture, pictures_of
from optbench.reports.leaderboard import report_of
from optbench.reports.sections import sections_of
from optbench.reports.tuning_text import UNTUNED
from optbench.store import Record, Store
from optbench.suite import load_suite


class Page(HTMLParser):
    """The elements of a page with their attributes, the text inside each kind, and all text together."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.said = ""
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        self._inside.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] in ("script", "style"):
            self.texts[self._inside[-1]][-1] += data
        else:
            self.said += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def suite(bench):
    made = bench.suite(("adamw", "muon"), models=("m1", "m2"), seeds=4, contrasts=[bench.contrast("muon", "adamw")])
    noise = {"adamw": (0.0, 0.01, 0.02, 0.01), "muon": (0.02, 0.0, 0.01, 0.01)}
    base = {"adamw": 0.3, "muon": 0.8}
    fill(bench, made, lambda cell: base[cell.arm.optimizer] + noise[cell.arm.optimizer][cell.seed])
    return made


@pytest.fixture
def text(bench, suite):
    return page_text(report_of(suite, bench.store), bench.store)


def test_it_opens_with_question_answer_and_scale_and_ends_with_the_commands(bench, suite, text):
    said = " ".join(Page(text).said.split())
    report = report_of(suite, bench.store)
    places = [
        said.index(line) for line in (suite.question, *report.answer.lines, report.state(), "m1 (0.10M parameters)")
    ]
    assert places == sorted(places)
    assert "resolved: better" in said
    assert "optbench run suites/toy.yaml --results runs" in said
    assert "optbench report suites/toy.yaml --results runs --html page" in said


def test_every_table_of_the_report_is_there_with_its_notes(bench, suite, text):
    said = " ".join(Page(text).said.split())
    for section in sections_of(report_of(suite, bench.store)):
        assert section.grid.title in said
        for note in section.notes:
            assert " ".join(note.split()) in said
        for row in section.grid.rows:
            for entry in row:
                assert all(word in said for word in entry.text.split())


def test_bold_means_supported_and_nothing_else(bench, suite):
    report = report_of(suite, bench.store)
    supported = sum(entry.strong for section in sections_of(report) for row in section.grid.rows for entry in row)
    assert supported
    page = Page(page_text(report, bench.store))
    assert len(page.all("strong")) == supported + int(report.contrasts["resolved"].sum())


def test_where_seeds_were_added_the_page_says_what_its_intervals_hold_for(bench, suite, text):
    usual = " ".join(Page(text).said.split())
    assert "95% interval" in usual and "p (Holm)" in usual and "(Student’s t)" in usual
    assert "at any look" not in usual and "repeated looks" not in usual
    suite.seeds, suite.added = [0, 1], Added(0.02, {arm.name: [2, 3] for arm in suite.arms})
    said = " ".join(Page(page_text(report_of(suite, bench.store), bench.store)).said.split())
    assert "interval (jointly 95%, valid at any look)" in said and "p (Holm, valid at any look)" in said
    assert "the intervals are jointly 95%, valid at any look" in said
    assert "half-width of the 95% interval over seeds, valid under repeated looks" in said
    assert "Student" not in said and "correction for the number of contrasts" not in said
    table = report_of(suite, bench.store).contrasts
    (before,) = groups_of(table)[0].rows
    assert (before.says, before.next) == ("resolved: better", "")
    (after,) = groups_of(table.assign(resolved=False, within="2 points"))[0].rows
    assert after.says == "no difference beyond the margin"
    assert after.next == "The interval lies within the margin of 2 points that seeds were added for."


def test_nothing_is_fetched_and_only_our_own_scripts_and_styles_may_run(text):
    page = Page(text)
    for _, attributes in page.found:
        assert not {"srcset", "action", "style"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert not page.all("link") and not page.all("iframe") and not page.all("base")
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    kinds = [attributes.get("type") for attributes in page.all("script")]
    assert kinds == ["application/json", None, None]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    for name, texts in (("script-src", page.texts["script"][1:]), ("style-src", page.texts["style"])):
        sums = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in texts)
        assert directives[name] == " ".join(f"'sha256-{each}'" for each in sums)
    assert (directives["default-src"], directives["img-src"], directives["base-uri"]) == ("'none'", "data:", "'none'")
    assert "unsafe" not in policy


def test_no_path_of_the_machine_is_on_the_page(bench, suite, tmp_path):
    for cell in suite.cells():
        amend(
            bench,
            cell,
            cell={"model": {"path": "/home/some one/models/x"}, "strategy": {"note": "read from /mnt/disk/data.jsonl"}},
            measured={"provenance": {"host": "some-host", "device": "a processor"}},
        )
    suite.path = tmp_path / "private" / "toy.yaml"
    text = page_text(report_of(suite, bench.store), bench.store)
    assert Path(bench.store.root).is_absolute()
    for word in (str(tmp_path), str(tmp_path.parent), "/home/", "some one", "/mnt/", "some-host", "private"):
        assert word not in text
    assert "optbench run toy.yaml --results runs" in text


def test_a_suite_without_records_has_no_page(bench):
    suite = bench.suite()
    with pytest.raises(UserError, match="No records of the suite toy"):
        page_text(report_of(suite, bench.store), bench.store)


def test_the_same_records_make_the_same_page(bench, suite, text):
    assert page_text(report_of(suite, bench.store), bench.store) == text


def test_figures_stand_in_the_page_with_captions_and_the_left_out_ones_with_reasons(bench, suite):
    uri = "data:image/png;base64,/ab/cd+/ef/gh=="
    text = page_text(
        report_of(suite, bench.store),
        bench.store,
        pictures=[Picture("cost", "Accuracy & cost", uri, 9)],
        left_out={"sharpness": "no panel looked"},
    )
    (image,) = Page(text).all("img")
    assert image == {"src": uri, "alt": "Accuracy & cost"}
    assert "Left out: sharpness: no panel looked" in Page(text).said


def test_tuning_has_a_section_with_its_tables_and_its_figure(bench, suite, text):
    assert UNTUNED in Page(text).said and "tuning" not in [section.get("id") for section in Page(text).all("section")]
    tune(suite, study(suite, "adamw", scored(0.9, 0.75, 0.5), space={"<b>lr": Range(low=1e-4, high=1)}))
    uri = "data:image/png;base64,/ab/cd+/ef/gh=="
    pictures = [Picture("tunability-1", "What tuning bought", uri, 9)]
    text = page_text(report_of(suite, bench.store), bench.store, pictures=pictures)
    page = Page(text)
    assert UNTUNED not in page.said and "muon: no trials recorded" in page.said
    (section,) = re.findall(r'<section id="tuning".*?</section>', text, flags=re.DOTALL)
    inside = Page(section)
    assert "Tuning: hyper-parameters before and after" in inside.said and "0.5000" in inside.said
    assert "&lt;b&gt;lr" in section and "<b>lr" not in text
    assert [image["src"] for image in inside.all("img")] == [uri]
    # Its tables and its figure are in no other section, and the page leads there.
    assert len(page.all("img")) == 1 and page.said.count("best of 1") == inside.said.count("best of 1")
    assert "#tuning" in [link["href"] for link in page.all("a")]


def test_a_figure_is_an_svg_or_a_png_where_that_is_smaller(bench, suite):
    from matplotlib.figure import Figure

    report, name = report_of(suite, bench.store), "heat_map"
    small, large = Figure(figsize=(2, 2)), Figure(figsize=(2, 2))
    small.add_subplot().plot([1, 2])
    large.add_subplot().plot([(place * 7919) % 1000 for place in range(6_000)], "o")
    pictures = {kind: pictures_of({name: drawn}, report)[0] for kind, drawn in (("small", small), ("large", large))}
    assert pictures["small"].uri.startswith("data:image/svg+xml;base64,")
    assert pictures["large"].uri.startswith("data:image/png;base64,")
    assert pictures["small"].bytes < SHARP
    assert len(base64.b64decode(pictures["small"].uri.partition(",")[2])) == pictures["small"].bytes
    assert "accuracy" in pictures["small"].caption.lower()


def test_the_folder_is_made_and_the_old_page_replaced(tmp_path):
    folder = tmp_path / "a" / "b"
    assert write_page("one", folder) == folder / "index.html"
    write_page("two\n", folder)
    assert (folder / "index.html").read_bytes() == b"two\n"
    assert [path.name for path in folder.iterdir()] == ["index.html"]


def test_a_file_in_the_place_of_the_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "x").write_text("mine")
    for folder in (tmp_path / "x", tmp_path / "x" / "below"):
        with pytest.raises(UserError, match="needs a folder"):
            write_page("one", folder)
    assert (tmp_path / "x").read_text() == "mine"


def test_a_page_that_cannot_be_written_whole_leaves_nothing(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_page("\ud800", tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    write_page("old", tmp_path / "c")
    with pytest.raises(UnicodeEncodeError):
        write_page("\ud800", tmp_path / "c")
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["index.html"]
    assert (tmp_path / "c" / "index.html").read_text() == "old"


SUITE = """\
name: small
question: Which optimizer?
models: [phi-nano]
tasks: [arithmetic]
strategies: [uniform]
optimizers: [adamw, sam]
budget: {passes: 10}
training: {batch_size: 8}
contrasts: [{of: {optimizer: sam}, minus: {optimizer: adamw}}]
"""


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(SUITE, encoding="utf-8")
    for place, cell in enumerate(load_suite("x.yaml").cells()):
        made = {"device": "cpu", "device_type": "cpu", "precision": "float32"}
        measured = {"total_seconds": 3.0, "step_seconds": 0.1, "contended": False, "provenance": made}
        record = Record(cell.key, {}, "completed", {"accuracy": 0.5 + 0.1 * place, "flops": 1e9}, {}, {}, measured)
        Store("results/runs").write(record, lambda folder: None)

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["optbench", "report", "x.yaml", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return called


def test_the_verb_writes_page_and_figures_and_says_so(call):
    code, out, err = call("--html", "site/small", "--figures", "pictures")
    assert (code, err) == (0, "")
    first, second, *rest = out.splitlines()
    size = Path("site/small/index.html").stat().st_size
    assert first == f"site/small/index.html: the report as one page, {size / 1e6:.1f} MB" if size >= 1e6 else first
    files = {path.name for path in Path("pictures").iterdir()}
    assert {"heat_map.png", "heat_map.svg"} <= files
    assert second.startswith(f"pictures: {len(files) // 2} figures in {len(files)} files, ")
    assert all(line.startswith("left out: ") for line in rest)
    page = Page(Path("site/small/index.html").read_text(encoding="utf-8"))
    assert len(page.all("img")) == len(files) // 2
    assert sorted(path.name for path in Path().iterdir()) == ["pictures", "results", "site", "x.yaml"]


@pytest.mark.parametrize("option", ["--html", "--figures"])
def test_the_verb_refuses_a_file_before_it_computes_anything(option, call):
    Path("mine").write_text("mine")
    code, out, err = call(option, "mine")
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"{option} mine: is a file; a folder is needed\n", err)
    code, _, err = call(option, "mine/below", "--results", "nowhere")
    assert code == 2
    assert err == f"{option} mine/below: mine is a file; a folder is needed\n"
    assert Path("mine").read_text() == "mine"


def test_the_verb_needs_records_and_one_kind_of_output(call):
    code, out, err = call("--html", "site", "--results", "nowhere")
    assert (code, out) == (2, "")
    assert "No records of the suite small" in err
    code, out, err = call("--results", "nowhere")
    assert (code, out) == (2, "") and err.startswith("--results nowhere: is not there")
    code, _, err = call("--html", "site", "--format", "table")
    assert code == 2
    assert "--format table" in err
    assert not Path("site").exists()
