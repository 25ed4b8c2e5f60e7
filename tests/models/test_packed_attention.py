"""The kernels behind packed attention, against softmax over everything at once."""

import math

import numpy as np
import pytest
import torch

from attribot.models import packed_attention
from attribot.models.packed_attention import attend_densely
from attribot.models.packed_row import merge_parts


@pytest.fixture
def states():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 3, size, 7, generator=generator) for size in (5, 11, 11)]


def whole(q, k, v, mask=0.0):
    logits = (q @ k.transpose(-1, -2)).double() / math.sqrt(7) + mask
    return logits.softmax(-1) @ v.double(), logits.logsumexp(-1)


@pytest.mark.parametrize("attend", [packed_attention._flash, attend_densely])
def test_both_kernels_give_output_and_log_sum_exp(states, attend):
    mask = torch.zeros(5, 11)
    mask[1, 4:] = -math.inf
    out, lse = attend(*states, 7**-0.5, False, mask)
    expected_out, expected_lse = whole(*states, mask)
    np.testing.assert_allclose(out, expected_out, atol=1e-6)
    np.testing.assert_allclose(lse, expected_lse, atol=1e-6)


@pytest.mark.parametrize("attend", [packed_attention._flash, attend_densely])
def test_both_kernels_are_causal_on_request(states, attend):
    q = states[0]
    k, v = states[1][:, :, :5], states[2][:, :, :5]
    out, lse = attend(q, k, v, None, True, None)
    expected_out, expected_lse = whole(q, k, v, torch.full((5, 5), -math.inf).triu(1))
    np.testing.assert_allclose(out, expected_out, atol=1e-6)
    np.testing.assert_allclose(lse, expected_lse, atol=1e-6)


def test_merged_parts_are_attention_over_all_keys(states):
    q, k, v = states
    cuts = [(0, 2), (2, 3), (3, 11)]
    parts = [attend_densely(q, k[:, :, a:b], v[:, :, a:b], None, False, None) for a, b in cuts]
    unseen = torch.zeros_like(q), torch.full(q.shape[:3], -math.inf)
    np.testing.assert_allclose(merge_parts([*parts, unseen]), whole(q, k, v)[0], atol=1e-6)
