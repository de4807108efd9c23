"""What an executor has to do, and in which order."""

from pathlib import Path

from optbench.executors.jobs import jobs_for
from optbench.store import Store
from optbench.suite import load_suite
from optbench.tasks.arithmetic import ArithmeticTask

QUICK = Path(__file__).parents[1] / "suites" / "quick.yaml"


def test_probes_go_first_and_then_the_long_cells_in_the_order_of_the_suite(tmp_path):
    cells = load_suite(QUICK).cells()
    passes = {cell.key: cell.spec.optimizer.estimator.passes_per_step for cell in cells}
    jobs = jobs_for(cells, Store(tmp_path))
    kinds = [job.kind for job in jobs]
    assert kinds == sorted(kinds, key=["probe", "cell"].index)
    keys = [job.key for job in jobs if job.kind == "cell"]
    assert len(set(passes.values())) > 1
    assert keys == sorted(passes, key=lambda key: -passes[key])


def test_cells_of_one_process_share_their_task():
    assert ArithmeticTask(train=60).build() is ArithmeticTask(train=60).build()
    assert ArithmeticTask(train=60).build() is not ArithmeticTask(train=60, data_seed=1).build()
