"""What a call computes is known before it is run: planned costs are the real ones, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribot.attributors.ablation import Mask
from attribot.attributors.attention import Attention
from attribot.attributors.base import Attributor
from attribot.attributors.gradient_norm import GradientNorm
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.racing import Racing
from attribot.attributors.two_stage import TwoStage
from attribot.models.generation import response_from_text
from attribot.models.language_model import LanguageModel
from attribot.pipeline import attribute_example
from attribot.scoring.base import HiddenSpans
from attribot.scoring.batching import TokenIds
from attribot.scoring.held import HeldStates
from attribot.scoring.packing import (
    Branch,
    BranchPlan,
    pack_rows,
    plan_branches,
    plan_masked_branches,
)
from attribot.scoring.planning import PackedPlan, Strategy
from attribot.scoring.readings import (
    AttentionMass,
    AttentionRollout,
    GradientTimesInput,
    HeadAttention,
    IntegratedGradients,
    LookaheadAttention,
    ValueWeightedAttention,
)
from attribot.scoring.readings import GradientNorm as GradientNormReading
from attribot.scoring.scorer import ModelScorer
from attribot.types import BoolArray, Cost, Response
from tests.attributors.fakes import build_problem
from tests.models.tiny import VARIANTS, tiny_language_model

pytestmark = pytest.mark.slow

ANSWER = "The king of the north."
WHOLE = "The castle stands on a hill. The king built it. It is of stone. Who built the castle?"
WITHOUT = (
    "The king built it. It is of stone. Who built the castle?",
    "The castle stands on a hill. It is of stone. Who built the castle?",
    "The castle stands on a hill. The king built it. Who built the castle?",
)


def hidden(prompt: str, sentence: str, **window: int) -> HiddenSpans:
    """One sentence of a prompt, whose query is computed anew."""
    start, query_start = prompt.index(sentence), prompt.index(" Who")
    return HiddenSpans(
        np.array([[start, start + len(sentence)]]), np.array([[query_start, len(prompt)]]), **window
    )


ABLATIONS = (
    hidden(WHOLE, " The king built it."),
    hidden(WHOLE, "The castle stands on a hill.", num_following=2),
)


OTHER_READINGS = (
    HeadAttention(),
    ValueWeightedAttention(),
    AttentionRollout(),
    LookaheadAttention(2, 5),
    GradientTimesInput(),
    IntegratedGradients((3, 20), num_steps=3),
)


@pytest.fixture(params=["llama", "gpt2", "mistral, window 13"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    variant: Any = VARIANTS[request.param]
    return tiny_language_model(request.param.split(",")[0], **variant)


def counted(cost: Cost) -> Cost:
    """What is counted, without what is measured."""
    return replace(cost, wall_seconds=0.0, peak_memory_bytes=0)


def costs_in_turn(scorer: ModelScorer) -> list[Cost]:
    """Of deletion, masking, attention and gradients, in one session."""
    model = scorer.language_model
    response = response_from_text(model, ANSWER)
    others = [
        response_from_text(model, "A bridge."),
        Response("", (9,), model.tokenizer_sha, False),
    ]
    shorter = WITHOUT[0]
    costs = [
        scorer.score([WHOLE, *WITHOUT], response).cost,
        scorer.score([*WITHOUT, "Who built it?", "Who built it?"], response).cost,
        scorer.score_masked(WHOLE, ABLATIONS, response, close_gaps=True).cost,
        scorer.score_masked(WHOLE, ABLATIONS[1:], response, close_gaps=False).cost,
        scorer.score_masked(shorter, [hidden(shorter, " It is of stone.")], response, True).cost,
        scorer.read(WHOLE, response, AttentionMass()).cost,
        scorer.read(WITHOUT[1] + " And why?", response, AttentionMass()).cost,
        *(scorer.read(WHOLE, response, reading).cost for reading in OTHER_READINGS),
        scorer.read(WHOLE, response, GradientNormReading()).cost,
        scorer.score_responses([WHOLE, WITHOUT[1]], [response, *others])[1],
        scorer.score_masked_responses(WHOLE, ABLATIONS, [*others, response], close_gaps=True)[1],
        scorer.score([WHOLE], response).cost,
    ]
    return [counted(cost) for cost in costs]


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_planned_costs_are_the_real_ones(
    model: LanguageModel, strategy: Strategy, batch_size: int
) -> None:
    scorer = ModelScorer(model, strategy, batch_size)
    real, planned = costs_in_turn(scorer.opened()), costs_in_turn(scorer.planning())
    assert planned == real
    assert real[-1] == Cost()
    assert min(cost.flops for cost in real[:-1]) > 0


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_attention_first_and_deletion_later_are_planned_alike(
    model: LanguageModel, strategy: Strategy
) -> None:
    """What attention leaves is taken over by scoring, and by attention to the same prompt."""
    response = response_from_text(model, ANSWER)
    scorer = ModelScorer(model, strategy)
    pair = []
    for session in (scorer.opened(), scorer.planning()):
        costs = [session.read(WITHOUT[0], response, AttentionMass()).cost]
        costs += [session.score([WHOLE, *WITHOUT], response).cost]
        costs += [
            session.read(prompt, response, AttentionMass()).cost for prompt in (WHOLE, *WITHOUT)
        ]
        pair.append([counted(cost) for cost in costs])
    assert pair[0] == pair[1]
    num_reused = [cost.reused_tokens for cost in pair[0]]
    encoded = model.encode_prompt(WITHOUT[0]).token_ids
    assert num_reused[3] == (len(encoded) - 1 if strategy == "packed" else 0)


@pytest.mark.parametrize(
    "method",
    [LeaveOneOut(), LeaveOneOut(ablation=Mask()), Attention(), GradientNorm()],
    ids=["deleted", "masked", "attention", "gradient"],
)
@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_a_planned_method_costs_what_the_real_one_does(
    strategy: Strategy, method: Attributor
) -> None:
    model = tiny_language_model("llama")
    problem = build_problem((2, 3), response=response_from_text(model, ANSWER))
    scorer = ModelScorer(model, strategy)
    real = attribute_example(problem, method, {"target": scorer})
    planned = method.attribute(problem, {"target": scorer.planning()})
    assert counted(planned.cost) == counted(real.cost)
    assert np.abs(planned.scores - real.scores).max() > 1e-3


@pytest.mark.parametrize("k", [1, 2, 5])
def test_methods_that_decide_by_scores_come_to_an_end(k: int) -> None:
    """Their course is arbitrary, so their cost is bounded only: by screen, and full rescoring."""
    model = tiny_language_model("llama")
    problem = build_problem((2, 3), response=response_from_text(model, ANSWER))
    two_stage = TwoStage(LeaveOneOut(level="paragraph"), TopK(k, "paragraph"), LeaveOneOut())
    scorer = ModelScorer(model)
    staged = two_stage.attribute(problem, {"target": scorer.planning()})
    kept = (~staged.is_pruned).sum()
    assert kept in (2, 3, 5)
    assert 3 <= staged.cost.forward_passes <= 3 + 1 + kept
    race = Racing(LeaveOneOut("proxy"), LeaveOneOut(), places=k, heat=1)
    scorers = {"target": scorer.planning(), "proxy": scorer.planning()}
    raced = race.attribute(problem, scorers)
    assert raced.ablated_log_likelihoods is not None
    num_entered = (~np.isnan(raced.ablated_log_likelihoods)).sum()
    assert k <= num_entered <= 5
    assert raced.cost.forward_passes == 6 + 1 + num_entered


def test_equal_questions_have_equal_answers() -> None:
    """Between scorers, calls and ways of asking; log-likelihoods are negative."""
    model = tiny_language_model("llama")
    response, other = response_from_text(model, ANSWER), response_from_text(model, "A bridge.")
    scorers = [ModelScorer(model).planning() for _ in range(2)]
    first, second = (s.score([WHOLE, *WITHOUT], response).token_log_likelihoods for s in scorers)
    np.testing.assert_array_equal(first, second)
    assert (first < 0).all()
    assert len(np.unique(first)) == first.size
    alone = ModelScorer(model).planning().score([WITHOUT[1]], response)
    np.testing.assert_array_equal(alone.token_log_likelihoods[0], first[2])
    nothing = HiddenSpans(np.empty((0, 2), dtype=np.int64), ABLATIONS[0].recomputed)
    masked = [
        ModelScorer(model).planning().score_masked(WHOLE, ablations, response, close_gaps=True)
        for ablations in ([*ABLATIONS, nothing], [nothing, ABLATIONS[1]])
    ]
    np.testing.assert_array_equal(
        masked[0].token_log_likelihoods[[2, 1]], masked[1].token_log_likelihoods
    )
    np.testing.assert_array_equal(masked[0].token_log_likelihoods[2], first[0])
    by_token = [
        [s.read(WHOLE, r, AttentionMass()).values.tolist() for s in scorers]
        for r in (response, other)
    ]
    assert by_token[0][0] == by_token[0][1] != by_token[1][0] == by_token[1][1]


# Tokens of few kinds, so that sequences share prefixes of all lengths.
token_ids = st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple)
calls = st.lists(
    st.lists(st.tuples(token_ids, token_ids), min_size=1, max_size=6, unique=True),
    min_size=1,
    max_size=5,
)


def reached(branch: Branch, branches: Sequence[Branch]) -> TokenIds:
    """The tokens that a branch attends to besides its own."""
    return tuple(
        token
        for reach in branch.reaches
        for token in branches[reach.branch].token_ids[reach.start : reach.end]
    )


def nodes(sequence: TokenIds, start: int, end: int) -> list[TokenIds]:
    """Trie nodes of the tokens `[start, end)`: each is the prefix that it ends."""
    return [sequence[: place + 1] for place in range(start, end)]


def check_rows(plan: BranchPlan, max_tokens: int) -> None:
    """Every new branch rides once, behind all that it reaches; no held one does."""
    rows = pack_rows(plan, max_tokens)
    ridden = [index for row in rows for index in row]
    assert sorted(ridden) == list(range(plan.num_held, len(plan.branches)))
    row_of = dict.fromkeys(range(plan.num_held), -1)
    row_of |= {index: number for number, row in enumerate(rows) for index in row}
    for index in ridden:
        assert all(row_of[r.branch] < row_of[index] for r in plan.branches[index].reaches)
    for row in rows:
        num_tokens = sum(len(plan.branches[index].token_ids) for index in row)
        assert len(row) == 1 or num_tokens <= max_tokens


@settings(deadline=None)
@given(calls, st.none() | token_ids, st.integers(1, 30))
def test_branches_of_a_session_rebuild_every_sequence_and_compute_no_node_twice(
    session: list[list[tuple[TokenIds, TokenIds]]], prefix: TokenIds | None, max_tokens: int
) -> None:
    held = HeldStates()
    if prefix is not None:
        held.hold_prefix(prefix, None)
    for pairs in session:
        plan = PackedPlan.of_pairs(pairs, held)
        branches, num_held = plan.branches.branches, plan.branches.num_held
        assert [h.branch for h in held.branches] == list(branches[:num_held])
        computed = [node for h in held.branches for node in nodes(h.sequence, 0, len(h.sequence))]
        computed = list(set(computed))
        for index in range(num_held, len(branches)):
            branch = branches[index]
            sequence = plan.sequences[plan.branches.completes[index - num_held] or 0]
            assert reached(branch, branches) + branch.token_ids == sequence
            start = branch.num_reused
            assert branch.positions == tuple(range(start, len(sequence)))
            assert all(branches[reach.branch].depth < branch.depth for reach in branch.reaches)
            # Behind this place logits are wanted, which held or shared states do not give.
            reusable = len(sequence) - plan.num_logits(index)
            assert start <= reusable
            computed += nodes(sequence, start, reusable)
        assert len(computed) == len(set(computed))
        assert sorted(plan.branches.completes) == list(range(len(plan.sequences)))  # type: ignore[type-var]
        check_rows(plan.branches, max_tokens)
        held.hold_trunk(plan, None)
    assert len(held.branches) <= 2


def test_a_held_branch_is_followed_although_another_child_is_heavier() -> None:
    held = HeldStates()
    held.hold_prefix((1, 2, 3, 4), None)
    sequences = [(1, 2, 7, 8), (1, 2, 7, 9), (1, 2, 3, 4, 5)]
    plan = plan_branches(sequences, [3, 3, 4], held.branches)
    new = dict(zip(plan.completes, plan.branches[1:], strict=True))
    assert [new[s].token_ids for s in range(3)] == [(7, 8), (9,), (5,)]
    assert [new[s].depth for s in range(3)] == [1, 2, 1]


def test_what_is_mostly_known_takes_no_place_among_the_held() -> None:
    """Two prompts are held: a variant of the first would leave no room for the pruned one."""
    held = HeldStates()
    whole, variant, pruned = (1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 6), (1, 4, 5, 6)
    for sequence, num_held in ((whole, 1), (variant, 1), (pruned, 2), ((7, 8, 9), 2)):
        held.hold_trunk(PackedPlan.of_pairs([(sequence, (0,))], held), None)
        assert len(held.branches) == num_held
    assert [h.sequence for h in held.branches] == [whole, pruned]
    assert held.branches[1].branch.token_ids == (4, 5, 6)


@st.composite
def masked_calls(draw: st.DrawFn) -> tuple[TokenIds, list[TokenIds], BoolArray, BoolArray]:
    """A prompt of distinct tokens, what is fed behind it, and masks of some ablations."""
    length, num_ablations = draw(st.integers(2, 11)), draw(st.integers(0, 3))
    fed = draw(
        st.lists(
            st.lists(st.integers(100, 102), max_size=3).map(tuple),
            min_size=1,
            max_size=5,
            unique=True,
        )
    )
    mask = st.lists(
        st.lists(st.booleans(), min_size=length, max_size=length),
        min_size=num_ablations,
        max_size=num_ablations,
    )
    removed, recomputed = (
        np.array(draw(mask), dtype=bool).reshape(num_ablations, length) for _ in range(2)
    )
    removed[:, -1], recomputed[:, -1] = False, True
    return tuple(range(length)), fed, removed, recomputed & ~removed


def earlier_calls(prompt: TokenIds) -> st.SearchStrategy[list[TokenIds]]:
    """Sequences that begin like the prompt and then leave it."""
    cut = st.integers(0, len(prompt))
    return st.lists(st.tuples(cut, token_ids).map(lambda p: prompt[: p[0]] + p[1]), max_size=3)


@settings(deadline=None)
@given(st.data(), masked_calls(), st.booleans(), st.integers(1, 30))
def test_masked_branches_hold_and_reach_what_is_kept(
    data: st.DataObject,
    call: tuple[TokenIds, list[TokenIds], BoolArray, BoolArray],
    close_gaps: bool,
    max_tokens: int,
) -> None:
    prompt, fed, removed, recomputed = call
    held = HeldStates()
    for sequence in data.draw(earlier_calls(prompt)):
        held.hold_trunk(PackedPlan.of_pairs([(sequence, (0,))], held), None)
    plan = plan_masked_branches(prompt, fed, removed, recomputed, close_gaps, held.branches)
    check_rows(plan, max_tokens)
    num_sequences = 1 + len(removed)
    completed = [number for number in plan.completes if number is not None]
    assert sorted(completed) == list(range(len(fed) * num_sequences))
    for index, number in enumerate(plan.completes, plan.num_held):
        own, seen = seen_by(plan.branches[index], plan.branches)
        if number is None:
            continue
        continuation, ablation = divmod(number, num_sequences)
        is_gone = np.zeros(len(prompt), dtype=bool) if ablation == 0 else removed[ablation - 1]
        kept = [token for token in prompt if not is_gone[token]]
        places = range(len(kept)) if close_gaps else kept
        behind = len(kept) if close_gaps else len(prompt)
        wanted = list(zip(kept, places, strict=True))
        wanted += [(token, behind + i) for i, token in enumerate(fed[continuation])]
        assert sorted(own + seen, key=lambda pair: pair[1]) == wanted
        # What is computed anew, on its own or for all continuations, is not what was there before.
        if ablation:
            anew = set(np.flatnonzero(recomputed[ablation - 1]).tolist())
            fresh = [token for token, _ in own] + computed_for(index, plan)
            assert sorted(fresh) == sorted([*anew, *fed[continuation]])


Places = list[tuple[int, int]]
"""Tokens, and where the reading branch sees them stand."""


def seen_by(branch: Branch, branches: Sequence[Branch]) -> tuple[Places, Places]:
    """A branch's own tokens, and those it reaches; earlier ones stand before all that see them."""
    own = list(zip(branch.token_ids, branch.positions, strict=True))
    seen: Places = []
    for reach in branch.reaches:
        other = branches[reach.branch]
        part = list(zip(other.token_ids, other.positions, strict=True))[reach.start : reach.end]
        moved = [(token, position - reach.shift) for token, position in part]
        assert all(position < own[reach.first][1] for _, position in moved)
        if reach.first:
            assert all(position > own[reach.first - 1][1] for _, position in moved)
        seen += moved
    assert all(a < b for a, b in pairwise(branch.positions))
    return own, seen


def computed_for(index: int, plan: BranchPlan) -> list[int]:
    """Tokens that a branch reaches in a new one that completes no sequence."""
    stems = {number for number, s in enumerate(plan.completes, plan.num_held) if s is None}
    stem = [reach for reach in plan.branches[index].reaches if reach.branch in stems]
    return [
        token
        for reach in stem
        for token in plan.branches[reach.branch].token_ids[reach.start : reach.end]
    ]
