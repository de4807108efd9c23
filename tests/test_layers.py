"""Imports point one way; whoever only reads suites and records never loads torch."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "optbench"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
HEAVY = {"torch", "transformers", "datasets", "wandb", "optuna"}
LOADS_TORCH = {
    "optbench.conformance.behaviour",
    "optbench.conformance.costs",
    "optbench.conformance.examination",
    "optbench.conformance.likeness",
    "optbench.conformance.problem",
    "optbench.conformance.rates",
    "optbench.conformance.repeating",
    "optbench.conformance.subject",
    "optbench.conformance.surroundings",
    "optbench.conformance.updating",
    "optbench.curvature.applies",
    "optbench.curvature.differences",
    "optbench.curvature.directions",
    "optbench.curvature.exact",
    "optbench.curvature.memory",
    "optbench.curvature.onesided",
    "optbench.curvature.report",
    "optbench.curvature.spectrum",
    "optbench.curvature.split",
    "optbench.curvature.vectors",
    "optbench.distributed.oracle",
    "optbench.distributed.sharing",
    "optbench.oracle",
    "optbench.shifts",
    "optbench.train",
    "optbench.evaluation",
    "optbench.models.building",
    "optbench.models.generation",
    "optbench.models.functional_head",
    "optbench.models.head",
    "optbench.models.language_model",
    "optbench.models.regressor",
    "optbench.models.roles",
    "optbench.optim.adam",
    "optbench.optim.answers",
    "optbench.optim.build",
    "optbench.optim.clipped_newton",
    "optbench.optim.newton_schulz",
    "optbench.optim.torch_rule",
    "optbench.metrics.cost",
    "optbench.panels.watch",
    "optbench.profiling.batches",
    "optbench.profiling.campaigns",
    "optbench.profiling.counting",
    "optbench.profiling.profiler",
    "optbench.profiling.split",
    "optbench.profiling.stepping",
    "optbench.runner",
    "optbench.trained",
    "optbench.trainers.batches",
    "optbench.trainers.checks",
    "optbench.trainers.engine",
    "optbench.trainers.mixin",
    "optbench.trainers.recorder",
    "optbench.trainers.sft",
    "optbench.trainers.trainer",
}
"""The modules that are imported only where something is trained; all others load without torch."""


def imports(path, *, everywhere):
    """Names of imported modules: at module level outside `if TYPE_CHECKING`, or everywhere."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            # `from optbench import cost` imports optbench.cost.
            yield from (f"{node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in MODULES)


def ours(name, *, everywhere=True):
    return {found for found in imports(MODULES[name], everywhere=everywhere) if found.startswith("optbench")}


def below(package):
    return [name for name in MODULES if name.startswith(f"optbench.{package}.")]


@pytest.mark.parametrize("name", sorted(set(MODULES) - LOADS_TORCH))
def test_loads_without_torch(name):
    found = set(imports(MODULES[name], everywhere=False))
    assert not {word.split(".")[0] for word in found} & HEAVY
    assert not found & LOADS_TORCH, "imports, at module level, a module that loads torch"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        (
            "optbench.oracle",
            {"optbench.models.language_model", "optbench.shifts", "optbench.optim.cotangent", "optbench.errors"},
        ),
        ("optbench.train", {"optbench.clock", "optbench.oracle", "optbench.optim.base"}),
        ("optbench.rng", set()),
        ("optbench.spec", set()),
        ("optbench.store", {"optbench.errors", "optbench", "optbench.seal"}),
        ("optbench.seal", {"optbench.errors"}),
        ("optbench.order", {"optbench.rng"}),
        ("optbench.tasks.base", {"optbench.oracle", "optbench.models.language_model"}),
        ("optbench.strategies.base", {"optbench.tasks.base"}),
        ("optbench.optim.base", {"optbench.oracle"}),
    ],
)
def test_the_foundations_import_nothing_else(name, allowed):
    assert ours(name) <= allowed


def test_only_executors_and_commands_import_run():
    users = {name for name in MODULES if "optbench.runner" in ours(name)}
    assert users <= {*below("executors"), *below("commands"), "optbench.api"}
    users = {name for name in MODULES if "optbench.trained" in ours(name)}
    assert users <= {*below("executors"), "optbench.runner"}


def test_reports_know_suites_and_records_only():
    allowed = (
        "optbench.reports",
        "optbench.store",
        "optbench.seal",
        "optbench.suite",
        "optbench.arm",
        "optbench.errors",
        "optbench.metrics.columns",
        "optbench.panels.base",
        "optbench.tuning.record",
        "optbench.tuning.edges",
        "optbench.optim.search",
    )
    for name in below("reports"):
        assert all(found.startswith(allowed) for found in ours(name)), name


def test_claims_know_suites_records_and_reports_only():
    layers = "claims reports store suite arm errors metrics.columns problems yamlfile spec"
    allowed = layers.split()
    assert ours("optbench.archive") <= {"optbench.bundle", "optbench.store", "optbench.errors"}
    for name in below("claims"):
        found = ours(name) - {"optbench.commands.tables"}
        assert all(word.startswith(tuple(f"optbench.{layer}" for layer in allowed)) for word in found), name
    users = {name for name in MODULES if any(word.startswith("optbench.claims") for word in ours(name))}
    assert users <= {*below("claims"), "optbench.claims", "optbench.commands.claims", "optbench.verbs.reading"}


def test_boards_know_suites_records_and_reports_only():
    layers = "boards reports store suite arm errors metrics.columns problems yamlfile spec"
    allowed = layers.split()
    for name in [*below("boards"), "optbench.boards"]:
        found = ours(name) - {"optbench.commands.tables"}
        assert all(word.startswith(tuple(f"optbench.{layer}" for layer in allowed)) for word in found), name
    users = {name for name in MODULES if any(word.startswith("optbench.boards") for word in ours(name))}
    assert users <= {*below("boards"), "optbench.boards", "optbench.commands.compare"}


def test_charts_know_reports_and_records_only_and_the_page_knows_charts():
    allowed = ("charts", "reports", "store", "suite", "errors", "metrics.columns", "panels.base")
    for package, more in (("charts", ()), ("page", ("page",))):
        for name in below(package):
            layers = tuple(f"optbench.{layer}" for layer in (*allowed, *more))
            assert all(word.startswith(layers) for word in ours(name)), name


def test_nothing_that_trains_knows_what_shows_it():
    """W&B is told by the executors; the loop, the runner and reports know nothing of it, of pages or of figures."""
    shown = ("optbench.tracking", "optbench.page", "optbench.charts", "optbench.boards", "optbench.verification")
    for name in (*below("reports"), "optbench.runner", "optbench.trained", "optbench.train", "optbench.store"):
        assert not [word for word in ours(name) if word.startswith(shown)], name


def test_rules_ascents_and_estimators_know_neither_models_nor_tasks():
    banned = ("optbench.tasks", "optbench.strategies", "optbench.reports", "optbench.suite", "optbench.train")
    for name in [*below("optim"), *below("optim.rules")]:
        assert not [found for found in ours(name) if found.startswith(banned)], name
        if name != "optbench.optim.build":
            assert not [found for found in ours(name) if found.startswith("optbench.models")], name


@pytest.mark.parametrize("package", ["optim.rules", "strategies", "tasks"])
def test_plug_ins_never_import_each_other(package):
    plug_ins = {name for name in below(package) if "kind: Literal[" in MODULES[name].read_text(encoding="utf-8")}
    plug_ins -= {"optbench.strategies.probe_spec"}
    assert plug_ins
    for name in plug_ins:
        assert not ours(name) & (plug_ins - {name}), name


def test_no_pickle_no_remote_code_no_seeding_outside_its_place():
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        assert "pickle" not in set(imports(path, everywhere=True)), name
        assert "trust_remote_code=True" not in text, name
        assert not re.search(r"(?<!safetensors\.)torch\.load\(", text) and "allow_pickle=True" not in text, name
        if name not in ("optbench.rng", "optbench.oracle"):
            assert "manual_seed(" not in text, name


def test_files_are_of_readable_length():
    lengths = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES.values())
    assert lengths[-1] <= 400


@pytest.mark.parametrize(
    "words",
    [
        *(["--help"], ["list"], ["plan", "SMOKE"], ["status", "SMOKE"], ["report", "SMOKE"], ["claims", "CLAIM"]),
        *(["compare", "--list"], ["verify", "SMOKE"]),
    ],
)
def test_commands_that_only_read_never_load_torch(words, tmp_path):
    suites = PACKAGE.parent / "suites"
    files = {"SMOKE": suites / "smoke.yaml", "CLAIM": suites / "claims" / "sam-is-worse-than-adamw.yaml"}
    argv = ["optbench", *[str(files.get(word, word)) for word in words]]
    if words[0] in ("plan", "status", "report", "claims", "verify"):
        argv += ["--results", str(tmp_path)]
    code = (
        f"import sys; sys.argv = {argv!r}\nfrom optbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'torch was loaded'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_suites_know_nothing_of_files_that_are_reweighted():
    users = {name for name in MODULES if any(found.startswith("optbench.reweighting") for found in ours(name))}
    commands = {"optbench.commands.upsample", "optbench.commands.augment"}
    assert users <= {*below("reweighting"), "optbench", "optbench.verbs.data", *commands}


def test_nothing_knows_challenges():
    users = {name for name in MODULES if any(found.startswith("optbench.challenge") for found in ours(name))}
    commands = {"optbench.commands.challenge", "optbench.verbs.challenging"}
    assert users <= {*below("challenge"), "optbench.challenge", *commands}


def test_seeds_are_added_by_commands_alone():
    users = {name for name in MODULES if any(found.startswith("optbench.sequential") for found in ours(name))}
    others = {*below("sequential"), *below("commands"), *below("verbs"), *below("challenge")}
    assert users <= {*others, "optbench.sequential", "optbench.api", "optbench.merging"}
