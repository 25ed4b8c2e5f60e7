"""The parity mode must catch an engine that is silently wrong."""

import logging

import pytest

from attribot.errors import ParityError
from attribot.models.generation import response_from_text
from attribot.scoring.scorer import ModelScorer
from tests.models.tiny import tiny_language_model

PROMPTS = ("The castle stands on a hill. Who built it?", "Who built it?", "The castle. Who built?")


@pytest.mark.parametrize("strategy", ["packed", "cached"])
def test_right_scores_pass_and_say_how_close_they_are(strategy, caplog):
    model = tiny_language_model("llama")
    response = response_from_text(model, "The king.")
    with caplog.at_level(logging.INFO):
        verified = ModelScorer(model, strategy, verify=True).score(PROMPTS, response)
    plain = ModelScorer(model, strategy).score(PROMPTS, response)
    assert (verified.token_log_likelihoods == plain.token_log_likelihoods).all()
    assert verified.cost.computed_tokens == plain.cost.computed_tokens
    assert "parity with naive scoring: within" in caplog.text


def test_wrong_scores_fail(monkeypatch):
    model = tiny_language_model("llama")
    response = response_from_text(model, "The king.")
    scorer = ModelScorer(model, verify=True)
    passes = type(scorer.engine.packed_passes)
    right = passes.run

    def wrong(self, *arguments):
        return [answer + 0.01 for answer in right(self, *arguments)]

    monkeypatch.setattr(passes, "run", wrong)
    with pytest.raises(ParityError, match=r"packed scoring .* differs .* use scorer=naive"):
        scorer.score(PROMPTS, response)
