"""Packed attention of whole rows by FlexAttention's reference implementation, against the flash
kernel that attends branch by branch."""

import math

import numpy as np
import pytest
import torch
from torch.nn.attention import flex_attention as flex

from attribot.models import flex_packed
from attribot.models.flex_packed import interval_mask, query_groups, why_not_flex
from attribot.models.packed_attention import attend_packed, packed_kernel, packed_view
from attribot.models.packed_row import BranchStates, PackedBranch, PackedRow, ReachedPart
from attribot.models.rotations import QueryRotations
from tests.models.tiny import VARIANTS, tiny_language_model

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5

# Branches of rows, each (start and end of its positions, reaches); a reach is (index of an earlier
# branch, start, end, shift, first).
TRIE = [
    [(0, 41, [])],
    [(17, 38, [(0, 0, 17, 0, 0)]), (30, 43, [(0, 0, 30, 0, 0)]), (1, 9, [(0, 0, 1, 0, 0)])],
    [
        (25, 40, [(0, 0, 17, 0, 0), (1, 0, 8, 0, 0)]),
        (0, 7, []),
        (29, 31, [(0, 0, 17, 0, 0), (1, 0, 12, 0, 0)]),
        (36, 44, [(0, 0, 30, 0, 0), (2, 0, 6, 0, 0)]),
    ],
    [(33, 41, [(0, 0, 17, 0, 0), (1, 0, 8, 0, 0), (4, 0, 8, 0, 0)])],
]
MASKED = [
    [(0, 41, [])],
    [
        (29, 37, [(0, 0, 7, 0, 0), (0, 11, 33, 4, 0)]),
        (20, 32, [(0, 0, 5, 0, 0), (0, 8, 19, 3, 0), (0, 24, 30, 8, 4)]),
        (38, 41, [(0, 0, 38, 0, 0)]),
        (16, 21, [(0, 20, 36, 20, 0), (0, 37, 38, 21, 2)]),
    ],
]


@pytest.fixture(autouse=True)
def reference_without_compiler(monkeypatch):
    """The reference implementation itself: called plainly, it is traced anew for every size."""
    monkeypatch.setattr(flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True, raising=False)


@pytest.fixture(params=VARIANTS)
def model(request):
    return tiny_language_model(request.param.split(",")[0], **VARIANTS[request.param]).model


def logits_of_rows(model, rows, kernel):
    """Logits of every row, `[num_tokens, vocab_size]`, and the layouts that the passes were of."""
    view = packed_view(model)
    rotations = QueryRotations(view)
    generator = torch.Generator().manual_seed(0)
    states, logits, layouts = [], [], []
    for row in rows:
        branches, start = [], 0
        for first, last, reaches in row:
            positions = torch.arange(first, last)
            branches.append(
                PackedBranch(
                    start,
                    start + len(positions),
                    positions,
                    tuple(ReachedPart(states[index], *part) for index, *part in reaches),
                    BranchStates(positions),
                )
            )
            start += len(positions)
        states += [branch.states for branch in branches]
        packed = PackedRow(
            tuple(branches), None if rotations.is_without_effect else rotations, kernel
        )
        with torch.inference_mode():
            output = view(
                input_ids=torch.randint(4, 300, (1, start), generator=generator),
                position_ids=torch.cat([branch.positions for branch in branches])[None],
                use_cache=False,
                packed=packed,
            )
        logits.append(output.logits[0].numpy())
        layouts.append(packed)
    return logits, layouts


@pytest.mark.parametrize(
    "rows",
    [TRIE, MASKED, [row[:1] for row in MASKED]],
    ids=["trie", "masked", "rows of one branch"],
)
def test_equals_the_flash_kernel(model, rows):
    expected, _ = logits_of_rows(model, rows, "flash")
    values, _ = logits_of_rows(model, rows, "flex")
    for row, logits in zip(values, expected, strict=True):
        np.testing.assert_allclose(row, logits, atol=TOLERANCE * np.abs(logits).max(), rtol=0)


@pytest.mark.parametrize("change", [{"shift": 0}, {"first": 0}, {"end": 20}])
def test_every_detail_of_a_reach_counts(change):
    """The equality above could not hold if either kernel left one out."""
    model = tiny_language_model("llama").model

    def changed(index, start, end, shift, first):
        part = {"start": start, "end": end, "shift": shift, "first": first} | change
        return (index, *part.values())

    rows = [
        [(first, last, [changed(*reach) for reach in reaches]) for first, last, reaches in row]
        for row in MASKED
    ]
    values, _ = logits_of_rows(model, MASKED, "flex")
    others, _ = logits_of_rows(model, rows, "flex")
    assert np.abs(values[1] - others[1]).max() > 0.1


def recorded(monkeypatch, name):
    """The calls of a function of the module, one entry each."""
    calls, function = [], getattr(flex_packed, name)

    def record(*args, **kwargs):
        calls.append(args)
        return function(*args, **kwargs)

    monkeypatch.setattr(flex_packed, name, record)
    return calls


def test_a_row_takes_few_calls_and_its_masks_are_built_once(monkeypatch):
    model = tiny_language_model("gemma3", sliding_window=13, num_layers=4).model
    calls, masks = recorded(monkeypatch, "_flex_with_lse"), recorded(monkeypatch, "interval_mask")
    _, layouts = logits_of_rows(model, MASKED, "flex")
    # A call for the trunk; one for the row of four branches, and one for each of at most three
    # parts of the trunk that a branch reaches.
    assert len(calls) == 4 * (1 + (1 + 3))
    assert len(masks) == 2 * (1 + (1 + 3))
    assert {window for window, _ in layouts[1].query_groups} == {None, 13}


class Attention(torch.nn.Module):
    layer_idx = 0


def random_row(num_heads, num_kv_heads, dtype, kernel):
    """A row of three branches over states of 29 keys, the last of which reaches nothing."""
    generator = torch.Generator().manual_seed(0)

    def random(heads, size):
        return torch.randn(1, heads, size, 8, generator=generator).to(dtype)

    keys, values = random(num_kv_heads, 29), random(num_kv_heads, 29)
    states = BranchStates(torch.arange(29), {0: (keys, values)})
    branches = (
        PackedBranch(0, 11, torch.arange(29, 40), (ReachedPart(states, 2, 29, 0, 3),)),
        PackedBranch(11, 18, torch.arange(50, 57), (ReachedPart(states, 0, 23),)),
        PackedBranch(18, 23, torch.arange(5), ()),
    )
    query, key, value = random(num_heads, 23), random(num_kv_heads, 23), random(num_kv_heads, 23)
    return query, key, value, PackedRow(branches, kernel=kernel), states


def attend(*arguments, window=None):
    query, key, value, packed, _ = random_row(*arguments)
    return attend_packed(Attention(), query, key, value, None, packed, sliding_window=window)[0]


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-6), (torch.float16, 3e-3), (torch.bfloat16, 3e-2)],
    ids=str,
)
@pytest.mark.parametrize("heads", [(4, 4), (6, 2)])
@pytest.mark.parametrize("window", [None, 19, 4])
def test_attention_of_random_states(heads, dtype, tolerance, window):
    out = attend(*heads, dtype, "flex", window=window)
    assert out.dtype == dtype
    expected = attend(*heads, torch.float32, "flash", window=window)
    np.testing.assert_allclose(out.float(), expected, atol=tolerance, rtol=0)


def test_queries_that_see_nothing_have_no_weight():
    query, key, value, packed, states = random_row(4, 2, torch.float32, "flex")
    _, earlier = query_groups(packed, window=4, device=query.device)
    out, lse = flex_packed._attend_group(
        earlier, query[:, :, earlier.tokens], *states.layers[0], None
    )
    # The first branch attends to the part from its fourth token on, when the window has passed.
    assert earlier.tokens.tolist() == [*range(3, 11), *range(11, 18)]
    assert (lse == -math.inf).all()
    assert (out == 0).all()
    row = attend_packed(Attention(), query, key, value, None, packed, sliding_window=4)[0]
    assert row.isfinite().all()


def listed_blocks(mask, name):
    """The blocks of keys per block of queries; what a list holds beyond its count is no matter."""
    counts, indices = getattr(mask, f"{name}_num_blocks"), getattr(mask, f"{name}_indices")
    return [row[:count].tolist() for count, row in zip(counts[0, 0], indices[0, 0], strict=True)]


@pytest.mark.parametrize(("num_queries", "num_keys"), [(1, 1), (300, 700), (256, 128), (131, 385)])
def test_blocks_are_those_of_the_mask_written_out(num_queries, num_keys):
    generator = torch.Generator().manual_seed(1)
    bounds = torch.randint(0, num_keys + 1, (2, num_queries), generator=generator)
    low, high = bounds.min(0).values // 4, bounds.max(0).values
    low[:128], high[:128] = 0, num_keys
    low[-1], high[-1] = 1, 0
    mask = interval_mask(low, high, num_keys)
    num_padded = mask.shape[-2]
    assert num_padded % 128 == 0
    assert num_padded >= max(256, num_queries)
    expected = flex.create_block_mask(mask.mask_mod, None, None, num_padded, num_keys, "cpu")
    for name in ("kv", "full_kv"):
        assert listed_blocks(mask, name) == listed_blocks(expected, name)
    pairs = torch.arange(num_keys) >= low[:, None], torch.arange(num_keys) < high[:, None]
    dense = flex.create_mask(mask.mask_mod, None, None, num_padded, num_keys, "cpu")[0, 0]
    assert torch.equal(dense[:num_queries], pairs[0] & pairs[1])
    assert not dense[num_queries:].any()


def test_queries_move_by_their_own_shifts():
    rotations = QueryRotations(tiny_language_model("gemma3", sliding_window=13).model)
    query = torch.randn(1, 4, 3, 6, generator=torch.Generator().manual_seed(0))
    shifts = torch.tensor([5, -2, 0])
    for layer in (0, 1):
        moved = rotations.apply(query, shifts, layer)
        one_by_one = [
            rotations.apply(query[:, :, i : i + 1], shifts[i : i + 1], layer) for i in range(3)
        ]
        np.testing.assert_allclose(moved, torch.cat(one_by_one, dim=2), atol=1e-6)
        np.testing.assert_allclose(moved[:, :, 2], query[:, :, 2], atol=1e-6)
        assert (moved[:, :, 0] - query[:, :, 0]).abs().max() > 0.1


@pytest.mark.slow
def test_rows_of_any_layout_share_few_compiled_graphs(monkeypatch):
    """Traced as for a GPU, but run as they are: what is compiled there is counted here."""
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    traced = torch.compile(flex.flex_attention, dynamic=True, fullgraph=True, backend=count)
    monkeypatch.setattr(flex_packed, "_kernel", lambda _: traced)
    model = tiny_language_model("mistral", sliding_window=13).model
    for rows in (TRIE, MASKED, [[(0, 300, [])], [(i, i + 40, [(0, 0, i, 0, 0)]) for i in (99, 7)]]):
        expected, _ = logits_of_rows(model, rows, "flash")
        values, _ = logits_of_rows(model, rows, "flex")
        for row, logits in zip(values, expected, strict=True):
            np.testing.assert_allclose(row, logits, atol=TOLERANCE * np.abs(logits).max(), rtol=0)
    assert 1 <= len(graphs) <= 4


def test_the_kernel_follows_the_device():
    assert packed_kernel(torch.device("cpu")) == "flash"
    assert packed_kernel(torch.device("cuda", 1)) == "flex"
    assert packed_kernel(torch.device("mps")) == "flash"


def test_reasons_against_a_fused_kernel(monkeypatch):
    monkeypatch.setattr(flex_packed, "find_spec", lambda _: "found")
    model = tiny_language_model("llama").model
    assert "heads of 6 dimensions; FlexAttention takes 16" in why_not_flex(model)
    assert "heads of 6 dimensions" in why_not_flex(tiny_language_model("gpt2").model)
    model.config.head_dim = 16
    assert why_not_flex(model) is None
    monkeypatch.setattr(flex_packed, "find_spec", lambda _: None)
    assert "triton, which is not installed" in why_not_flex(model)
    assert "torch.float64" in why_not_flex(model.double())
