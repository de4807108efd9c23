"""The suite of a challenge: models, tasks, training and budget of another suite, the challenger and its baselines.

It is written as a file of its own, with values worked out, so that it can be run, reported and verified without the
suite that it was made of. Its seeds are fresh: neither those of the suite, nor those that anything was tuned on. They
are the same for every challenger unless others are asked for, so that a second one meets the records of the same
baselines; what the two find is then no more independent than the baselines' part of it. All studies with the same space
try the same points, so that no arm is lucky in where it was looked.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from optbench.arm import Arm
from optbench.axes import AXES, entries, matches
from optbench.challenge.entrant import Entrant
from optbench.errors import UserError, suggestion
from optbench.optim.specs import PRESETS
from optbench.problems import Problems
from optbench.selection import narrowed
from optbench.spec import Spec
from optbench.suite import Suite, load_suite, suite_of_tree
from optbench.suitefile import of_checkpoint
from optbench.yamlfile import Node, placed, read

FIRST_SEED = 10_000
"""Where fresh seeds begin, unless the suite uses them."""
PILOT = 3
"""Seeds of every arm before any is added where it is needed."""
UNIFORM = "uniform"


def arena(path: Path, model: str, entrant: Entrant, against: Sequence[str], only: Sequence[str]) -> Suite:
    """The suite in the file with the challenger and the baselines as its only optimizers; overrides for all optimizers
    are those of the challenger, too. Of several data strategies one is left where `only` names none.

    Raises UserError for a baseline that is neither in the suite nor a preset, and for a name that is taken.
    """
    root = read(path)
    root = of_checkpoint(root, model) if model else root
    load_suite(path, "", model)  # What is wrong with the suite itself is said first.
    if any(part.strip().startswith("optimizer=") for text in only for part in text.split(",")):
        raise UserError("--only optimizer=...: the optimizers of a challenge are the challenger and those of --against")
    node = root.value["optimizers"]
    names = [entry.name for entry in entries(AXES["optimizer"], node, Problems())]
    listed: list[Node] = list(node.value)
    for name in against:
        if name not in names:
            if name not in PRESETS:
                allowed = [*names, *PRESETS]
                hint = suggestion(name, allowed)
                raise UserError(f"--against {name}: is no optimizer of {path} and no preset; {hint}")
            listed.append(placed(name, node.place))
    if not (entrant.is_preset and entrant.name in names):
        if entrant.name in names:
            raise UserError(f"--name {entrant.name}: is an optimizer of {path} already; choose another name")
        listed.append(placed(dict(entrant.entry), node.place))
    # Contrasts of the suite are other questions, and its panels look when the seeds are done.
    kept = {name: value for name, value in root.value.items() if name not in ("contrasts", "panels")}
    tree = Node({**kept, "optimizers": Node(listed, node.place, node.key)}, root.place, root.key)
    whole = suite_of_tree(tree, path)
    wanted = [entrant.name, *against]
    suite = replace(whole, arms=[arm for arm in whole.arms if arm.optimizer in wanted])
    suite = narrowed(suite, [*only, *_strategy(suite, only)])
    order = {name: place for place, name in enumerate(wanted)}
    arms = sorted(suite.arms, key=lambda arm: order[arm.optimizer])
    tuning = suite.tuning.model_copy(update={"sequence": "shared"})
    return replace(suite, arms=_clipped_alike(arms, entrant), tuning=tuning)


def suites_rate(path: Path, model: str) -> float:
    """The base rate of AdamW in the suite: that of the arm called so, else of the first with a rule of that kind; else
    the default of the rule."""
    suite = load_suite(path, "", model)
    found = [arm.optimizer_spec.rule for arm in suite.arms if arm.optimizer_spec.rule.kind == "adamw"]
    named = [arm.optimizer_spec.rule for arm in suite.arms if arm.optimizer == "adamw"]
    rule = next((each for each in (*named, *found) if each.kind == "adamw"), None)
    if rule is None:
        from optbench.optim.rules.adamw import AdamW

        rule = AdamW()
    return float(rule.lr)


def fresh_seeds(suite: Suite, begin: int | None = None, count: int = PILOT) -> list[int]:
    """So many seeds that neither the suite nor its tuning uses: from `begin` on, else from the first multiple of
    `FIRST_SEED` that leaves as many free. Seeds are added after them without end, so that all others lie below.

    Raises UserError for a `begin` that is not above all seeds of the suite and its tuning.
    """
    taken = {*suite.seeds, *suite.tuning.seeds}
    if begin is not None:
        if begin <= max(taken):
            whose = "the suite" if max(taken) in suite.seeds else "its tuning"
            raise UserError(
                f"--seeds-from {begin}: {max(taken)} is a seed of {whose}, and fresh seeds are above all of them, for "
                f"more are added upwards; allowed: {max(taken) + 1} and above"
            )
        return list(range(begin, begin + count))
    start = FIRST_SEED
    while taken & set(range(start, start + FIRST_SEED)):
        start += FIRST_SEED
    return list(range(start, start + count))


def strategies_left_out(path: Path, suite: Suite) -> str:
    """In words, the data strategies of the file that are not looked at; empty where all are."""
    there = {arm.strategy for arm in suite.arms}
    every = dict.fromkeys(arm.strategy for arm in load_suite(path).arms)
    left = [name for name in every if name not in there]
    return f"Data strategy {', '.join(sorted(there))} alone; not looked at: {', '.join(left)}." if left else ""


def content_of(
    suite: Suite,
    entrant: Entrant,
    against: Sequence[str],
    *,
    name: str,
    seeds: Sequence[int],
    tuned: str = "",
    panels: Sequence[Any] = (),
) -> dict[str, Any]:
    """The suite of the challenge as the content of a file. `tuned` is the file of what was tuned, beside it."""
    base = suite.arms[0]
    names = {axis: list(dict.fromkeys(getattr(arm, axis) for arm in suite.arms)) for axis in AXES}
    first = {
        axis: {own: next(arm for arm in suite.arms if getattr(arm, axis) == own) for own in points}
        for axis, points in names.items()
    }
    content: dict[str, Any] = {
        "name": name,
        "question": f"Is {entrant.name} better than {' or '.join(against)} ({suite.name}), and how sure is that?",
    }
    for axis, points in first.items():
        content[AXES[axis].plural] = [
            {"name": _named(own), **compact(arm.specs()[axis])} for own, arm in points.items()
        ]
    budgets = list({json.dumps(dict(arm.budget)): dict(arm.budget) for arm in suite.arms}.values())
    content["budget"] = budgets if len(budgets) > 1 else budgets[0]
    content["training"] = {key: value for key, value in compact(base.training).items() if key != "steps"}
    content["seeds"] = list(seeds)
    content["ranked_by"] = suite.ranked_by
    content["execution"] = compact(suite.execution)
    if overrides := _overrides(suite, first, base):
        content["overrides"] = overrides
    if tuning := _tuning(suite, names["optimizer"]):
        content["tuning"] = tuning
    if tuned:
        content["tuned"] = tuned
    if panels:
        content["panels"] = [{"name": panel.kind, **compact(panel)} for panel in panels]
    content["contrasts"] = [
        {
            "name": contrast_name(entrant.name, other),
            "of": {"optimizer": _named(entrant.name)},
            "minus": {"optimizer": _named(other)},
            "metric": suite.ranked_by,
        }
        for other in against
    ]
    return content


def contrast_name(challenger: str, baseline: str) -> str:
    """What the contrast against a baseline is called."""
    return f"{challenger} minus {baseline}"


def text_of(content: Mapping[str, Any], command: str) -> str:
    """The content as a suite file, with a comment that says where it is from."""
    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.width = 118
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    # Values go through JSON, so that every float is written with all of its digits.
    yaml.dump(json.loads(json.dumps(content)), out)
    said = " ".join(command.split())
    return f"# The suite of a challenge, with all values worked out. Made by:\n#   {said}\n{out.getvalue()}"


def compact(spec: Spec) -> dict[str, Any]:
    """The fields of a spec that are not at their default, and its kind: it can be read again from these."""
    dumped = spec.dump()
    found: dict[str, Any] = {}
    for name, field in type(spec).model_fields.items():
        value = getattr(spec, name)
        is_default = not field.is_required() and value == field.get_default(call_default_factory=True)
        if name == "kind" or not is_default:
            found[name] = compact(value) if isinstance(value, Spec) else dumped[name]
    return found


def check_same(made: Suite, of: Suite) -> None:
    """Raises UserError where the written suite is not the one that it was written from."""
    for one, other in zip(made.arms, _in_order(made, of), strict=True):
        if one.specs() != other.specs() or one.training != other.training:
            raise UserError(f"{made.path}: {one.name} is not {other.name} of {of.path}: not written as it was read")


def _in_order(made: Suite, of: Suite) -> list[Arm]:
    by_name = {(*map(_named, _four(arm)), arm.axes()["budget"]): arm for arm in of.arms}
    return [by_name[*_four(arm), arm.axes()["budget"]] for arm in made.arms]


def _clipped_alike(arms: Sequence[Arm], entrant: Entrant) -> list[Arm]:
    """The arms, a plug-in's with the clipping that all baselines have: it is no part of its code, and theirs alone
    would be an advantage."""
    norms = {arm.optimizer_spec.max_norm for arm in arms if arm.optimizer != entrant.name}
    if "target" not in entrant.entry.get("rule", {}) or len(norms) != 1:
        return list(arms)
    norm = norms.pop()
    return [
        replace(arm, optimizer_spec=arm.optimizer_spec.model_copy(update={"max_norm": norm}))
        if arm.optimizer == entrant.name
        else arm
        for arm in arms
    ]


def _strategy(suite: Suite, only: Sequence[str]) -> list[str]:
    """Which data strategy is taken where nobody says."""
    if any(part.strip().startswith("strategy=") for text in only for part in text.split(",")):
        return []
    names = list(dict.fromkeys(arm.strategy for arm in suite.arms))
    return [f"strategy={UNIFORM if UNIFORM in names else names[0]}"] if len(names) > 1 else []


def _overrides(suite: Suite, first: Mapping[str, Mapping[str, Arm]], base: Arm) -> list[dict[str, Any]]:
    """What differs from the entries of the axes, arm by arm."""
    found = []
    for arm in {_four(arm): arm for arm in suite.arms}.values():
        changed = {
            axis: spec.dump()
            for axis, spec in arm.specs().items()
            if spec != first[axis][getattr(arm, axis)].specs()[axis]
        }
        own, usual = arm.training.dump(), base.training.dump()
        if training := {key: value for key, value in own.items() if key != "steps" and value != usual[key]}:
            changed["training"] = training
        if changed:
            found.append({"where": {axis: _named(getattr(arm, axis)) for axis in AXES}, "set": changed})
    return found


def _four(arm: Arm) -> tuple[str, ...]:
    return tuple(getattr(arm, axis) for axis in AXES)


def _tuning(suite: Suite, optimizers: Sequence[str]) -> dict[str, Any]:
    """The suite's block, without spaces of optimizers that are not here."""
    spaces = [each for each in suite.tuning.spaces if any(matches(each.optimizer, name) for name in optimizers)]
    return compact(suite.tuning.model_copy(update={"spaces": spaces}))


def _named(name: str) -> str:
    """A display name as an entry may have it: that of a swept point has signs that mean something elsewhere."""
    return re.sub(r"[/,=*?\[\]\n]", "-", name).strip("- ")
