"""When two names mean the same optimizer: only where they are two spellings of one method.

A variant is another method until a board says otherwise: D-Muon, MuonH and NorMuon are not Muon here, NAdamW is not
AdamW, and Schedule-Free AdamW is neither. A board may let a variant stand for a name (`stands_for`), and then every
comparison says so.
"""

from __future__ import annotations

import re

_SPELLINGS = {
    "adamw": ("Adam-W",),
    "nadamw": ("NAdam-W", "Baseline NadamW"),
    "schedule_free_adamw": ("SF-AdamW", "ScheduleFree AdamW", "schedulefree_adamw", "AdamW Schedule-Free"),
    "schedule_free_prodigy": ("SF-Prodigy", "ScheduleFree Prodigy"),
    "psgd_kron": ("Kron", "Kron (PSGD)", "PSGD-Kron", "PSGD Kron"),
    "ademamix": ("AdEMA-Mix",),
    "sam": ("Sharpness-Aware Minimization", "Sharpness-Aware Minimisation"),
    "functional_sam": ("f-SAM", "F-SAM", "FunctionalSAM", "Functional SAM"),
    "preconditioned_sam": ("precond-SAM", "preconditioned SAM"),
    "preconditioned_functional_sam": ("precond-F-SAM", "preconditioned Functional-SAM"),
}


def normalised(name: str) -> str:
    """The name in lower case with underscores, spellings of one method made equal: `SF-AdamW` is
    `schedule_free_adamw`. A name that nobody listed stays itself."""
    plain = _joined(name)
    return _KNOWN.get(plain, plain)


def _joined(name: str) -> str:
    # A square or a bracketed setting is part of a name; what separates words is not.
    return re.sub(r"[\s_\-/]+", "_", name.strip().lower())


_KNOWN = {_joined(spelling): name for name, spellings in _SPELLINGS.items() for spelling in spellings}
