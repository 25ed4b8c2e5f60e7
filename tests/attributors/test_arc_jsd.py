"""ARC-JSD: what it asks, and how answers become scores; on known answers and on a tiny model."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from attribot.attributors.arc_jsd import ArcJsd
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import TwoStage
from attribot.errors import InvalidInputError
from attribot.models.generation import response_from_text
from attribot.scoring.base import Divergences
from attribot.scoring.scorer import ModelScorer
from attribot.types import Cost, FloatArray, Response
from tests.attributors.fakes import SENTENCES, AdditiveScorer, build_problem
from tests.models.tiny import tiny_language_model

WORTH = np.array([0.5, 0.0, 0.25, 2.0, 0.0, 0.125, 1.0, 0.0, 0.75, 4.0])


@dataclass(frozen=True)
class WorthScorer:
    """A token's divergence is the worth of the sentences gone, times the token's place from 1 on.

    asked: bases and prompts.
    """

    asked: list[tuple[str, list[str]]] = field(default_factory=list)

    def divergences(self, base: str, prompts: Sequence[str], response: Response) -> Divergences:
        self.asked.append((base, list(prompts)))
        gone = [self._worth(base) - self._worth(prompt) for prompt in prompts]
        places = np.arange(1, len(response.token_ids) + 1)
        return Divergences(np.outer(gone, places), Cost(forward_passes=1 + len(prompts)))

    def _worth(self, prompt: str) -> float:
        return float(sum(w for w, text in zip(WORTH, SENTENCES, strict=True) if text in prompt))


# The places of seven response tokens sum to 28.
def test_every_source_has_the_divergence_of_its_absence() -> None:
    problem, scorer = build_problem(), WorthScorer()
    attribution = ArcJsd().attribute(problem, {"target": scorer})
    np.testing.assert_allclose(attribution.stage_scores, [28 * WORTH], atol=1e-12)
    np.testing.assert_allclose(attribution.span_scores(1, 3), 5 * WORTH, atol=1e-12)
    prompts = [problem.prompt(removed=[node]) for node in problem.tree.sources]
    assert scorer.asked == [(problem.prompt(), prompts)]
    assert attribution.cost.forward_passes == 11
    assert attribution.base_log_likelihood is None


def test_paragraphs_are_removed_whole() -> None:
    scorer = WorthScorer()
    attribution = ArcJsd(level="paragraph").attribute(build_problem(), {"target": scorer})
    sums = [WORTH[:2].sum(), WORTH[2:5].sum(), WORTH[5:].sum()]
    np.testing.assert_allclose(attribution.scores, 28 * np.repeat(sums, [2, 3, 5]), atol=1e-12)
    assert attribution.cost.forward_passes == 4
    assert attribution.level == "paragraph"


def test_only_candidates_are_removed_from_the_kept_context() -> None:
    full, scorer = build_problem(), WorthScorer()
    kept = full.tree.remove(full.tree.all_kept(), [full.tree.sources[4]])
    candidates = np.isin(np.arange(10), [0, 3, 9])
    attribution = ArcJsd().attribute(full.restrict(candidates, kept), {"target": scorer})
    wanted = np.where(candidates, 28 * WORTH, np.nan)
    np.testing.assert_allclose(attribution.scores, wanted, atol=1e-12)
    ((base, prompts),) = scorer.asked
    assert not any(SENTENCES[4] in prompt for prompt in [base, *prompts])
    assert len(prompts) == 3


def test_the_role_is_honoured_and_checked() -> None:
    ArcJsd("proxy").attribute(build_problem(), {"proxy": WorthScorer()})
    with pytest.raises(InvalidInputError, match=r"no model has the role 'proxy'.*\['target'\]"):
        ArcJsd("proxy").attribute(build_problem(), {"target": WorthScorer()})
    with pytest.raises(InvalidInputError, match="AdditiveScorer, which is no DistributionScorer"):
        ArcJsd().attribute(build_problem(), {"target": AdditiveScorer({})})


def test_on_a_model_it_is_the_sum_over_response_positions() -> None:
    model = tiny_language_model("llama", num_layers=2)
    problem = build_problem((2, 3), response=response_from_text(model, "The king built it."))
    response = model.encode_response(problem.response)

    def distributions(prompt: str) -> FloatArray:
        ids = torch.tensor([model.encode_prompt(prompt).token_ids + response])
        with torch.inference_mode():
            logits = model.model(ids).logits[0, -len(response) - 1 : -1]
        return np.asarray(logits.double().softmax(-1).numpy())

    full = distributions(problem.prompt())
    wanted = [
        (jensenshannon(distributions(problem.prompt([node])), full, axis=1) ** 2).sum()
        for node in problem.tree.sources
    ]
    attribution = ArcJsd().attribute(problem, {"target": ModelScorer(model)})
    np.testing.assert_allclose(attribution.scores, wanted, atol=1e-5)
    assert min(wanted) > 1e-3


def test_it_screens_and_costs_what_leave_one_out_costs() -> None:
    model = tiny_language_model("llama", num_layers=2)
    problem = build_problem((2, 3), response=response_from_text(model, "The king built it."))
    scorer = ModelScorer(model)
    screen = ArcJsd(level="paragraph")
    method = TwoStage(screen, TopK(1, "paragraph"), LeaveOneOut())
    attribution = method.attribute(problem, {"target": scorer.opened()})
    assert (~attribution.is_pruned).sum() in (2, 3)
    jsd = ArcJsd().attribute(problem, {"target": scorer.opened()}).cost
    exact = LeaveOneOut().attribute(problem, {"target": scorer.opened()}).cost
    assert (jsd.forward_passes, jsd.flops) == (exact.forward_passes, exact.flops)
