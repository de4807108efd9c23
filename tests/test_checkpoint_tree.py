"""States taken apart and put together: the same bits in the same order of memory, or a refusal that says where."""

import json
import math
import struct
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import load, save

from optbench.checkpoint_tree import DTYPES, Unsupported, put_together, taken_apart


def there_and_back(tree):
    """By way of the very bytes that are written."""
    form, tensors = taken_apart(tree)
    text = json.dumps(form, allow_nan=False)
    return put_together(json.loads(text), load(save(tensors)) if tensors else {}, "cpu")


def steps(a):
    """From one entry to the next in memory, along dimensions that have a next one."""
    strides = a.stride() if isinstance(a, torch.Tensor) else a.strides
    return [stride for stride, size in zip(strides, a.shape, strict=True) if size > 1 and 0 not in a.shape]


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        alike = a.dtype == b.dtype and a.shape == b.shape and steps(a) == steps(b) and not b.requires_grad
        return alike and bytes(a.untyped_storage()) == bytes(b.untyped_storage())
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and steps(a) == steps(b) and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return (
        struct.pack("d", a) == struct.pack("d", b) if isinstance(a, float) and not math.isnan(a) else repr(a) == repr(b)
    )


keys = st.one_of(st.integers(), st.text(), st.booleans(), st.tuples(st.integers(), st.text()), st.none())
numbers = arrays.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.bool_, np.uint8]), arrays.array_shapes(min_dims=0, min_side=0)
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    numbers,
    numbers.map(np.asfortranarray),
    numbers.map(lambda array: torch.from_numpy(array.copy())),
    st.sampled_from([np.float32(0.1), np.float64(-0.0), np.int64(7)]),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(trees)
@settings(deadline=None, max_examples=60)
def test_what_comes_back_is_what_was_there(tree):
    assert same(there_and_back(tree), tree)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_type_of_number_comes_back(dtype):
    tensor = (100 * torch.rand(3, 2, generator=torch.Generator().manual_seed(0))).to(getattr(torch, dtype))
    assert same(there_and_back({"a": [tensor]}), {"a": [tensor]})


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_the_order_in_memory_comes_back(order):
    tensor = torch.arange(24.0).view(2, 3, 4).permute(order)
    found = there_and_back([tensor])[0]
    assert found.stride() == tensor.stride() and torch.equal(found, tensor)


def test_what_comes_back_has_memory_of_its_own_and_the_state_keeps_its():
    state = [torch.ones(3), torch.zeros(2)]
    first, second = there_and_back(state)
    assert first.untyped_storage().nbytes() == 12 and second.untyped_storage().nbytes() == 8
    first += 1
    assert torch.equal(state[0], torch.ones(3))
    assert taken_apart(state)[1]["000000"].data_ptr() == state[0].data_ptr()


class Own:
    pass


ONE = torch.ones(4)


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"rule": {"engines": [{"helper": Own()}]}}, r"rule.engines\[0\].helper is an Own"),
        ({"a": {1, 2}}, "a is a set"),
        ({"a": OrderedDict(b=1)}, "a is an OrderedDict"),
        ({"a": 1j}, "a is a complex"),
        ({"a": print}, "a is a builtin_function"),
        ({"a": np.array(["x"])}, "a holds an array of <U1"),
        ({"a": np.array([Own()])}, "a holds an array of object"),
        ({"a": torch.zeros(2, dtype=torch.complex128)}, "a is a Tensor of complex128"),
        ({"a": torch.eye(3).to_sparse()}, "a is a Tensor of float32, torch.sparse_coo"),
        ({"a": ONE, "b": [ONE]}, r"b\[0\] shares memory with a"),
        ({"a": ONE[:2], "b": ONE[2:]}, "b shares memory with a"),
        ({"a": torch.ones(4, 4)[:, ::2]}, "a has gaps in its memory"),
        ({"a": torch.ones(1).expand(3, 2)}, "a has gaps in its memory"),
    ],
)
def test_what_would_not_come_back_as_it_was_is_refused(tree, said):
    with pytest.raises(Unsupported, match=said):
        taken_apart(tree)
