"""Whatever is changed in a record is named with its path, and nothing is named that was not changed."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pandas as pd
import pytest

from optbench.errors import UserError
from optbench.reports.leaderboard import report_of
from optbench.verification.verify import verify_records, verify_suite


def problems(desk):
    """Of the one record that the desk works on."""
    return verify_records(desk.root, {desk.key}).findings.problems


def all_problems(desk):
    return verify_records(desk.root).findings.problems


def named(desk, where, what=""):
    """The lines about a file; there has to be one that says `what`."""
    lines = [problem.line() for problem in problems(desk) if problem.path.endswith(where)]
    assert any(what in line for line in lines), (where, what, [p.line() for p in problems(desk)])
    return lines


def test_a_run_is_well_and_sealed(desk):
    verdict = verify_suite(desk.suite, desk.root)
    assert [problem.line() for problem in verdict.findings.problems] == []
    assert (verdict.records, verdict.unsealed, verdict.cells, verdict.missing) == (8, 0, 8, 0)
    assert verdict.figures > 1000
    assert not verdict.tables
    assert not verdict.findings.unchecked


def test_records_without_seals_are_well_and_counted(desk):
    desk.unseal()
    verdict = verify_suite(desk.suite, desk.root)
    assert (verdict.problems, verdict.unsealed) == (0, 8)


def numbers_of(content, path=()):
    for name, value in content.items():
        if isinstance(value, dict):
            yield from numbers_of(value, (*path, name))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, name)


NOT_REPEATED = {"test_nll", "state_bytes"}
"""Numbers of the result that nothing else of the same record repeats."""


def changed(content, path, by):
    for name in path[:-1]:
        content = content[name]
    content[path[-1]] += by


def test_every_result_of_an_unsealed_record_that_is_edited_is_named(desk):
    desk.unseal()
    names = list(desk.store.record(desk.key).result)
    original = (desk.folder / "record.json").read_bytes()
    for name in names:
        # As a careless hand would: a thousandth more.
        desk.edit(lambda c, name=name: changed(c, ("result", name), 1e-4 + 1e-3 * abs(c["result"][name])))
        lines = [problem.line() for problem in problems(desk) if name in problem.what]
        assert bool(lines) == (name not in NOT_REPEATED), (name, lines)
        assert all(str(desk.root) in line for line in lines)
        (desk.folder / "record.json").write_bytes(original)


def test_a_number_anywhere_in_a_sealed_record_that_is_edited_is_named(desk):
    original = (desk.folder / "record.json").read_bytes()
    for path in list(numbers_of(json.loads(original)))[::4]:
        desk.edit(lambda content, path=path: changed(content, path, 1))
        named(desk, f"{desk.key}/record.json")
        (desk.folder / "record.json").write_bytes(original)


def test_what_no_seed_moves_is_the_same_at_other_seeds(desk):
    desk.unseal()
    desk.edit(lambda content: content["result"].update(state_bytes=1.0))
    lines = [problem.line() for problem in all_problems(desk)]
    assert any("result.state_bytes is 1.0" in line and "at other seeds of its arm" in line for line in lines)


@pytest.mark.parametrize("word", ["seed", "lr", "steps", "batch_size", "width", "data_seed"])
def test_an_edited_cell_has_another_key(desk, word):
    desk.unseal()

    def change(content, inside=None):
        inside = content["cell"] if inside is None else inside
        for name, value in inside.items():
            if name == word:
                inside[name] = value * 2 if value else 1
                return
            if isinstance(value, dict):
                change(content, value)

    desk.edit(change)
    named(desk, f"{desk.key}/record.json", "does not belong to its cell")


def test_measured_times_that_contradict_each_other(desk):
    desk.unseal()
    desk.edit(lambda content: content["measured"].update(step_seconds=content["measured"]["step_seconds"] / 2))
    named(desk, "record.json", "measured.train_seconds is")


@pytest.mark.parametrize("panel", ["sharpness", "simplicity"])
def test_every_finding_of_an_unsealed_panel_that_is_edited_is_named(desk, panel):
    desk.unseal()
    name = f"{desk.panel(panel)}/panel.json"
    original = (desk.folder / name).read_bytes()
    for column in json.loads(original)["result"]:
        if column == "sharpness_cost":
            continue  # More than its parts: only less than these is known to be wrong.
        desk.edit(lambda c, column=column: changed(c, ("result", column), 1e-4 + 1e-3 * abs(c["result"][column])), name)
        named(desk, name, f"result.{column}")
        (desk.folder / name).write_bytes(original)


def tables_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))


def test_an_edited_table_is_named_sealed_or_not(desk):
    for sealed in (True, False):
        if not sealed:
            desk.unseal()
        for name in tables_of(desk.folder):
            path = desk.folder / name
            original, table = path.read_bytes(), pd.read_parquet(path)
            column = {"values": "value", "series": "hessian_top"}.get(path.stem, table.columns[-1])
            last = len(table) - 1
            if table[column].dtype == bool:
                table.loc[last, column] = not table.loc[last, column]
            elif table[column].dtype == np.float32:
                table.loc[last, column] *= np.float32(1.5)
            else:
                table.loc[last, column] += 1
            table.to_parquet(path, index=False)
            # What the sharpness panel saw along training stands nowhere else.
            if sealed or path.stem != "series":
                place = "panel.json" if "panels" in name and not sealed else name
                named(desk, place if sealed else place.rsplit("/", 1)[-1])
            path.write_bytes(original)
    assert problems(desk) == []


def test_answers_are_graded_again(desk):
    desk.unseal()
    path = desk.folder / "questions.parquet"
    table = pd.read_parquet(path)
    table.loc[3, ["text", "answer", "correct", "format_error"]] = ["x:" + table.loc[3, "reference"], "?", False, False]
    table.to_parquet(path, index=False)
    named(desk, "questions.parquet", "graded otherwise")
    table = table.assign(question="1+1=")
    table.to_parquet(path, index=False)
    named(desk, "questions.parquet", "but the task asks")


def test_every_file_cut_short_anywhere_is_named(desk):
    for sealed in (True, False):
        if not sealed:
            desk.unseal()
        for path in sorted(desk.folder.rglob("*")):
            if path.is_dir():
                continue
            original = path.read_bytes()
            for length in {0, len(original) // 3, len(original) - 2}:
                path.write_bytes(original[:length])
                lines = named(desk, path.relative_to(desk.root).as_posix())
                assert "; " in lines[0]
            path.write_bytes(original)


def test_any_single_byte_changed_in_any_file_of_a_sealed_record_is_found(desk):
    draw = random.Random(0)
    for path in sorted(desk.folder.rglob("*")):
        if path.is_dir():
            continue
        original = path.read_bytes()
        for _ in range(3):
            place, bits = draw.randrange(len(original)), draw.randrange(1, 256)
            path.write_bytes(original[:place] + bytes([original[place] ^ bits]) + original[place + 1 :])
            found = [problem.path for problem in problems(desk)]
            where = str(path)
            if path.name == "seal.json":
                # Of a file and its hash, which one changed is not known: either is named.
                found = [str(path) for each in found if each.startswith(str(path.parent))]
            assert where in found, (where, place, found)
        path.write_bytes(original)


def test_every_attachment_that_is_deleted_is_named(desk):
    for sealed in (True, False):
        if not sealed:
            desk.unseal()
        for path in sorted(desk.folder.rglob("*")):
            if path.is_dir() or path.name == "seal.json":
                continue
            original = path.read_bytes()
            path.unlink()
            named(desk, path.relative_to(desk.root).as_posix(), "is missing")
            path.write_bytes(original)


def test_two_records_that_are_swapped(desk):
    first, second = (desk.store.folder(cell.key) for cell in desk.suite.cells()[:2])
    third = desk.root / "third"
    first.rename(third)
    second.rename(first)
    third.rename(second)
    lines = [problem.line() for problem in all_problems(desk)]
    for folder, key in ((first, second.name), (second, first.name)):
        assert any(line.startswith(f"{folder}/record.json: holds the record of another cell, {key}") for line in lines)
    with pytest.raises(UserError, match="record of another cell"):
        report_of(desk.suite, desk.store)


def test_a_panel_of_another_cell(desk):
    other = desk.store.folder(desk.suite.cells()[0].key)
    name = desk.panel("simplicity")
    shutil.rmtree(desk.folder / name)
    shutil.copytree(other / name, desk.folder / name)
    named(desk, f"{name}/panel.json", f"was found at another cell, {other.name}")
    with pytest.raises(UserError, match="found at another cell"):
        report_of(desk.suite, desk.store)


def test_folders_with_other_names_and_leftovers(desk):
    renamed = desk.folder.with_name("not-a-key")
    desk.folder.rename(renamed)
    leftover = desk.root / "ab" / ".abcdef0123456789-999999999-01234567.tmp"
    leftover.mkdir(parents=True)
    lines = [problem.line() for problem in all_problems(desk)]
    assert any(line.startswith(f"{renamed}: is no place of a record") for line in lines)
    assert any(line.startswith(f"{leftover}: left over from a process") for line in lines)
    assert len(lines) == 2


def test_what_is_put_beside_a_record(desk):
    (desk.folder / "notes.txt").write_text("x")
    named(desk, "notes.txt", "is no file of a record")
    (desk.folder / "notes.txt").unlink()
    shutil.copy(desk.folder / "curves.parquet", desk.folder / desk.panel("simplicity") / "more.parquet")
    named(desk, "more.parquet", "is not in the seal")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema=9), "record of schema 9"),
        (lambda c: c.pop("plan"), "has no plan"),
        (lambda c: c.update(result=[]), "its result is no mapping"),
        (lambda c: c.update(outcome="fine"), "its outcome is 'fine'"),
        (lambda c: c.update(outcome="diverged"), "diverged, and result.diverged_at is None"),
        (lambda c: c["result"].update(accuracy="high"), "no finite number"),
        (lambda c: c["cell"].pop("seed"), "its cell is not valid"),
        (lambda c: c["cell"]["model"].update(width="wide"), "its cell is not valid"),
        (lambda c: c["plan"].update(probe="0" * 16), "plan is not what the strategy does"),
        (lambda c: c["measured"].update(contended="no"), "neither true nor false"),
        (lambda c: c["measured"]["provenance"].update(precision="bf16"), "but the cell asks for 'float32'"),
        (lambda c: c["optimizer"]["claims"]["adamw"].update(parameters=7), "parameters were trained"),
        (lambda c: c["optimizer"]["observed"][0].update(shift_cosine=0.1), "result.shift_cosine is"),
        (lambda c: c.update(comment="best"), "has a block 'comment'"),
    ],
)
def test_edits_of_every_kind_are_named_without_a_seal(desk, change, message):
    desk.unseal()
    desk.edit(change)
    assert any(message in problem.line() for problem in problems(desk)), [p.line() for p in problems(desk)]


def test_weights_that_are_not_finite(desk):
    from safetensors.numpy import load_file, save_file

    desk.unseal()
    path = desk.folder / "weights.safetensors"
    weights = load_file(path)
    name = sorted(weights)[0]
    weights[name].flat[0] = np.nan
    save_file(weights, path)
    named(desk, "weights.safetensors", f"{name} is not finite")


def test_a_kind_that_is_not_installed_cannot_be_checked_and_is_no_problem_of_its_key(desk):
    desk.unseal()
    desk.edit(lambda content: content["cell"]["optimizer"]["rule"].update(kind="lion"))
    verdict = verify_records(desk.root)
    assert not any("does not belong" in problem.what for problem in verdict.findings.problems)
    assert "key of not here: no rule of the kind 'lion' is installed" in verdict.findings.unchecked


def test_a_report_refuses_an_edited_record_and_names_it(desk):
    desk.edit(lambda content: content["result"].update(test_nll=0.1))
    with pytest.raises(UserError, match=rf"{desk.key}/record\.json: does not match its seal .*run the cell again"):
        report_of(desk.suite, desk.store)
    verdict = verify_suite(desk.suite, desk.root)
    assert "does not match its seal" in verdict.tables
    assert [problem.path for problem in verdict.findings.problems] == [str(desk.folder / "record.json")]


def test_a_report_refuses_an_edited_panel(desk):
    desk.edit(lambda content: content["result"].update(hessian_top=0.1), f"{desk.panel('sharpness')}/panel.json")
    with pytest.raises(UserError, match=r"panel\.json: does not match its seal"):
        report_of(desk.suite, desk.store)


def test_nothing_stops_at_the_first_problem(desk):
    for cell in desk.suite.cells():
        (desk.store.folder(cell.key) / "record.json").write_text("{")
    assert len(all_problems(desk)) == 8


def test_bad_places(tmp_path):
    with pytest.raises(UserError, match="is not there"):
        verify_records(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no records there"):
        verify_records(tmp_path)
