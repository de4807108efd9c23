"""Running out of memory is an outcome, also on a CPU, where torch has no error of its own for it."""

import pytest
import torch
from cells import CELL

from optbench import runner
from optbench.errors import is_out_of_memory
from optbench.runner import run_cell
from optbench.store import Store

REFUSED = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)


def test_the_allocator_of_the_cpu_says_it_in_words():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory")) and is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ")) and not is_out_of_memory(
        OSError("Cannot allocate memory")
    )


def test_it_is_recorded_and_any_other_error_is_raised(tmp_path, monkeypatch):
    def fails(error):
        def trained(*given, **more):
            raise error

        monkeypatch.setattr(runner, "trained", trained)

    fails(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        run_cell(CELL, Store(tmp_path))
    fails(RuntimeError(REFUSED))
    assert run_cell(CELL, Store(tmp_path)).outcome == "out_of_memory"
