"""What all tests share: one thread, no network, no hub."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # As the command line sets it.
sys.path.insert(0, str(Path(__file__).parent))

from browsing import browser as browser
from browsing import visit as visit

# What the tests say depends on the code alone, and not on how busy the machine is: no example has to be done in so many
# milliseconds. Fresh examples: `pytest --hypothesis-profile default`.
settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    import torch

    torch.set_num_threads(1)
