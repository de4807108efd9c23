"""What docs/fair_comparison.md shows is what there is."""

import gzip
import re
from dataclasses import replace

from planted.repetitions import ROOT
from typer.testing import CliRunner

from optbench.added import Added
from optbench.api import contrasts
from optbench.cli import app
from optbench.reports.sequential import joint_level, seeds_needed_anytime
from optbench.reports.verdicts import Verdict, judged
from optbench.selection import narrowed
from optbench.suite import load_suite

GUIDE = (ROOT / "docs" / "fair_comparison.md").read_text(encoding="utf-8")


def test_the_example_is_the_plug_in():
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    assert code == (ROOT / "tests" / "planted" / "plugins" / "cautious.py").read_text(encoding="utf-8")
    body = code[code.index("def __init__") :].splitlines()
    assert len(body) <= 20


def test_seeds_for_two_contrasts_are_those_of_the_rule():
    (ratios,) = re.findall(r"^ *\| d / s \|(.*)\|$", GUIDE, flags=re.MULTILINE)
    (seeds,) = re.findall(r"^ *\| seeds \|(.*)\|$", GUIDE, flags=re.MULTILINE)
    expected = [seeds_needed_anytime(1.0, float(ratio), level=joint_level(2)) for ratio in ratios.split("|")]
    assert [float(number) for number in seeds.split("|")] == expected


def test_every_verdict_is_explained():
    for verdict in Verdict.__args__:
        assert re.search(rf"^\| .*\b{verdict}\b.* \|", GUIDE, flags=re.MULTILINE), verdict


def test_commands_and_files_exist():
    runner = CliRunner()
    for verb in set(re.findall(r"`?optbench (\w+)", GUIDE)):
        assert runner.invoke(app, [verb, "--help"]).exit_code == 0, verb
    for name in re.findall(r"\]\(([\w./]+?)(?:#[\w-]+)?\)", GUIDE):
        assert (ROOT / "docs" / name).exists(), name
    for name in re.findall(r"`((?:suites|tests|results|docs)/[\w./]+)`", GUIDE):
        assert (ROOT / name).exists(), name


def test_the_tuned_comparison_is_that_of_the_records(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    packed = ROOT / "results" / "reference" / "planted" / "tuned_seeds.jsonl.gz"
    archive = tmp_path / "tuned_seeds.jsonl"
    archive.write_bytes(gzip.decompress(packed.read_bytes()))
    suite = load_suite("suites/planted.yaml", "results/reference/planted/tuned.yaml")
    only = narrowed(suite, ["optimizer=adamw", "optimizer=planted"])
    seeds = list(range(2000, 2060))
    shown = replace(only, seeds=seeds, left_out=0, added=Added(0.02, {}))
    (found,) = judged(shown, contrasts(shown, archive), 0.02)
    assert found.n == 60
    assert found.verdict == "no difference beyond the margin"
    says = f"{found.estimate:+.4f} nats [{found.low:+.4f}, {found.high:+.4f}]: no difference beyond the margin"
    assert says in " ".join(GUIDE.split())
