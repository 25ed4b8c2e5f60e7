"""Which sequences go through the model together, and how much of each is already computed.

Sorted by token ids, sequences that share a long prefix stand next to each other, and the longest
prefix that any earlier sequence shares with the next one is the one its neighbour shares. Walking
the sorted list with the states of one sequence at hand is a depth-first walk of the trie of all
sequences: with a batch size of one, every trie node is computed exactly once.

    full      a b c d e f          sorted, batch size 1     reused   computed
    without c a b d e f            a b c d e f                   0          6
    without b a c d e f            a b d e f                     2          3
                                   a c d e f                     1          4
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """One forward pass.

    rows: `[batch_size]` indices of the sequences, the last row's states serving the next batch.
    num_reused: tokens at the head of every row taken from the states of the batch before.
    """

    rows: tuple[int, ...]
    num_reused: int


def plan_batches(
    sequences: Sequence[TokenIds], reusable: Sequence[int], batch_size: int, prefix_reuse: bool
) -> list[Batch]:
    """Batches that cover every sequence once.

    Args:
        sequences: `[num_sequences]` token ids.
        reusable: `[num_sequences]` most tokens that may be reused of each sequence; the positions
            whose logits are wanted must be computed.
        batch_size: most rows of a batch.
        prefix_reuse: off = every row computed whole.
    """
    if prefix_reuse:
        order = sorted(range(len(sequences)), key=lambda i: sequences[i])
    else:
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    batches, previous = [], None
    for first in range(0, len(order), batch_size):
        rows = tuple(order[first : first + batch_size])
        shared = 0
        if prefix_reuse and previous is not None:
            chain = [sequences[previous], *(sequences[row] for row in rows)]
            shared = min(common_prefix_length(a, b) for a, b in pairwise(chain))
            shared = min(shared, *(reusable[row] for row in rows))
        batches.append(Batch(rows, shared))
        previous = rows[-1]
    return batches


def common_prefix_length(first: TokenIds, second: TokenIds) -> int:
    """Number of equal tokens at the head of both."""
    shortest = min(len(first), len(second))
    # Halving on slices runs in C; a Python loop over tokens would show up in profiles.
    low, high = 0, shortest
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
