"""What a run shows: a line for whatever ends, is tried again or is waited for."""

import io
import sys
from pathlib import Path

import pytest

from optbench.commands.progress import progress
from optbench.executors.events import Event
from optbench.executors.jobs import Job

A, B, PANELS = (Job(kind, name, name, {}, 4) for kind, name in [("cell", "a"), ("cell", "b"), ("panels", "c")])
EVENTS = [
    Event("started", A, total=4),
    Event("progress", A, done=2, total=4),
    Event("retried", A, reason="out of memory on cuda:0; again on another device"),
    Event("started", A, total=4),
    Event("waiting", B, total=1),
    Event("done", A, outcome="completed"),
    Event("shared", B, outcome="diverged"),
    Event("started", PANELS, total=4),
    Event("failed", PANELS, reason="it broke"),
]


def shown(monkeypatch, capsys, *, terminal):
    if terminal:
        screen = io.StringIO()
        screen.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", screen)
    with progress(4, 1) as view:
        for event in EVENTS:
            view(event)
    return screen.getvalue() if terminal else capsys.readouterr().err


def test_a_line_for_each(monkeypatch, capsys):
    lines = shown(monkeypatch, capsys, terminal=False).splitlines()
    assert [line.split(", about")[0] for line in lines] == [
        "a: out of memory on cuda:0; again on another device",
        "nothing is left but 1 that another run into this folder has begun; waiting for it",
        "2/4 a: completed",
        "3/4 b: diverged (by another run into this folder)",
        "4/4 c: FAILED: it broke",
    ]


def test_bars_bear_what_was_never_started_here(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    text = shown(monkeypatch, capsys, terminal=True)
    for words in ("again on another device", "waiting for it", "b: diverged", "by another run", "c: FAILED: it broke"):
        assert words in text


@pytest.mark.parametrize(("log", "end"), [(Path("logs/c.log"), "it broke (log: logs/c.log)"), (Path(), "it broke")])
def test_a_failure_names_its_log_where_there_is_one(log, end, capsys):
    with progress(1, 0) as view:
        view(Event("failed", A, reason="it broke", log=log))
    assert capsys.readouterr().err.endswith(f"FAILED: {end}\n")
