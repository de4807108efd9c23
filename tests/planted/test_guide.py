"""What docs/fair_comparison.md shows is what there is."""

import re

from planted.repetitions import ROOT
from typer.testing import CliRunner

from optbench.cli import app
from optbench.reports.sequential import joint_level, seeds_needed_anytime
from optbench.reports.verdicts import Verdict

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
