import families
import pytest
import torch
from transformers import masking_utils

from optbench.models.packing import LOOK, nothing_packed


@pytest.mark.parametrize("family", families.NAMES)
def test_rows_of_one_sequence_give_the_same_bits(family):
    model = families.model(family)
    (part,) = families.oracle(model).batch.parts
    expected = model.outputs(part)
    with nothing_packed():
        assert torch.equal(model.outputs(part), expected)


def test_what_it_spares_is_there_and_is_there_again_afterwards():
    look = getattr(masking_utils, LOOK)
    packed = torch.tensor([[0, 1, 2, 0, 1]])
    assert look(torch.arange(5)[None]) is None
    with pytest.raises(ZeroDivisionError), nothing_packed():
        assert getattr(masking_utils, LOOK)(packed) is None
        raise ZeroDivisionError
    assert getattr(masking_utils, LOOK) is look
    assert look(packed).tolist() == [[0, 0, 0, 1, 1]]


def test_a_version_that_does_not_look_is_left_alone(monkeypatch):
    monkeypatch.delattr(masking_utils, LOOK)
    with nothing_packed():
        assert not hasattr(masking_utils, LOOK)
    assert not hasattr(masking_utils, LOOK)
