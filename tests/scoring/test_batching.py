from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribot.scoring.batching import common_prefix_length, plan_batches

token_ids = st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple)


def num_trie_nodes(sequences):
    return len({sequence[:end] for sequence in sequences for end in range(1, len(sequence) + 1)})


@given(token_ids, token_ids)
def test_common_prefix_length_matches_counting(first, second):
    expected = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        expected += 1
    assert common_prefix_length(first, second) == expected


@given(st.lists(token_ids, min_size=1, max_size=11, unique=True))
def test_one_row_at_a_time_computes_every_trie_node_once(sequences):
    batches = plan_batches(sequences, [len(s) for s in sequences], 1, prefix_reuse=True)
    computed = sum(len(sequences[b.rows[0]]) - b.num_reused for b in batches)
    assert computed == num_trie_nodes(sequences)


@given(st.lists(token_ids, min_size=1, max_size=11, unique=True), st.integers(1, 5), st.booleans())
def test_every_sequence_once_and_reused_prefixes_are_really_shared(sequences, batch_size, reuse):
    reusable = [len(sequence) - 1 for sequence in sequences]
    batches = plan_batches(sequences, reusable, batch_size, reuse)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(sequences)))
    assert all(len(batch.rows) <= batch_size for batch in batches)
    assert batches[0].num_reused == 0
    for before, batch in pairwise(batches):
        source = sequences[before.rows[-1]][: batch.num_reused]
        for row in batch.rows:
            assert sequences[row][: batch.num_reused] == source
            assert batch.num_reused <= reusable[row]
            assert reuse or batch.num_reused == 0


def test_leave_one_out_shares_what_stands_before_the_removed_token():
    full = tuple("abcdef")
    sequences = [full, tuple("abdef"), tuple("acdef")]
    batches = plan_batches(sequences, [5, 4, 4], 1, prefix_reuse=True)
    assert [(batch.rows, batch.num_reused) for batch in batches] == [
        ((0,), 0),
        ((1,), 2),
        ((2,), 1),
    ]


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_without_reuse_rows_of_similar_length_share_a_batch(batch_size):
    sequences = [(1,) * 7, (1,), (1,) * 3]
    batches = plan_batches(sequences, [6, 0, 2], batch_size, prefix_reuse=False)
    assert [row for batch in batches for row in batch.rows] == [1, 2, 0]
