"""Spellings of one method are equal, variants are not."""

import pytest

from optbench.boards.names import normalised


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        ("AdamW", "adamw"),
        ("Soap", "soap"),
        ("SOAP", "soap"),
        ("AdEMAMix", "ademamix"),
        ("MARS", "mars"),
        ("Functional-SAM", "functional_sam"),
        ("f-SAM", "functional_sam"),
        ("SF-AdamW", "schedule_free_adamw"),
        ("Schedule-Free AdamW", "schedule_free_adamw"),
        ("Kron (PSGD)", "psgd_kron"),
        ("PSGD-Kron", "psgd_kron"),
        ("  Baseline NadamW ", "nadamw"),
        ("Prodigy", "prodigy"),
        ("Sophia", "sophia"),
        ("Lion", "lion"),
        ("preconditioned SAM", "preconditioned_sam"),
    ],
)
def test_spellings(published, ours):
    assert normalised(published) == ours == normalised(ours)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("D-Muon", "Muon"),
        ("MuonH", "Muon"),
        ("NorMuon", "Muon"),
        ("Muon²", "Muon"),
        ("Muon + aux AdamW, fully tuned", "Muon"),
        ("NAdamW", "AdamW"),
        ("Schedule-Free AdamW", "AdamW"),
        ("Schedule-Free Prodigy", "Prodigy"),
        ("Adam lr 1.5e-3", "AdamW"),
        ("AdamH (hyperball)", "AdamW"),
        ("SOAP hyperball", "SOAP"),
        ("KL-SOAP hyperball", "SOAP"),
        ("Distributed Shampoo", "Shampoo"),
        ("SAM", "Functional-SAM"),
        ("preconditioned SAM", "SAM"),
        ("PSGD-Kron hyperball", "PSGD-Kron"),
        ("Baseline", "NadamW"),
    ],
)
def test_variants_are_methods_of_their_own(one, other):
    assert normalised(one) != normalised(other)
