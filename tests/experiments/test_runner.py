"""A run from examples to report: its numbers against the oracle, its records against its plan."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from attribot.content_cache import ContentCache
from attribot.data.loading import LoadedExamples
from attribot.errors import NonFiniteLogitsError, RecordsError
from attribot.manifest import Manifest
from attribot.models.generation import cached_response, generate_response
from attribot.records import CostRow, MetricRow, Records, read_records
from attribot.scoring.cost import ModelGeometry
from attribot.scoring.engine import LikelihoodEngine
from attribot.scoring.scorer import ModelScorer
from attribot.types import Response
from experiments import runner
from experiments.runner import Experiment, run
from tests.experiments.tiny_experiment import (
    CONTEXTS,
    GENERATION,
    PRUNED_TO,
    full_prompt,
    num_sources,
    oracle_log_likelihoods,
    oracle_scores,
    rendered_prompt,
    tiny_example,
    tiny_experiment,
    tiny_models,
)

# Every test reads the records of one run, which takes seconds.
pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
VIEWS = (
    *("tables/curve.md", "tables/curve.csv", "tables/curve.tex"),
    *("figures/curve.png", "figures/curve_flops.png"),
)
METHODS = (
    "reference",
    "loo_naive",
    "loo",
    "hierarchical",
    "keep_all",
    "proxy_pruning",
    "stranger_pruning",
    "word_overlap",
    "random",
)
METRICS = {
    *("average_precision", "has_outliers", "top1_hit", "spearman", "kendall", "pearson", "lds"),
    *(f"{name}@{k}" for name in ("recall", "precision", "ndcg", "positive_mass") for k in (1, 3)),
}
GOLD_METRICS = {"gold_average_precision", "gold_precision@1", "gold_auroc"}


@dataclass
class Notebook:
    """A tracker that notes what it is told."""

    pages: list[Any] = field(default_factory=list)

    @contextmanager
    def start(
        self, config: Mapping[str, Any], manifest: Manifest, run_dir: Path
    ) -> Iterator[Notebook]:
        self.pages.append(("start", config, manifest.run_id, run_dir))
        yield self

    def log_progress(self, example_index: int, cost: CostRow, metrics: Sequence[MetricRow]) -> None:
        self.pages.append((example_index, cost.method, len(metrics)))

    def finish(self, summary: pd.DataFrame, run_dir: Path) -> None:
        self.pages.append(("finish", len(summary), (run_dir / "report.html").is_file()))


@dataclass(frozen=True)
class Finished:
    experiment: Experiment
    summary: pd.DataFrame
    records: Records
    notebook: Notebook

    def rows(self, table: str, name: str, method: str) -> pd.DataFrame:
        frame: pd.DataFrame = getattr(self.records, table)
        return frame[(frame["example_id"] == name) & (frame["method"] == method)]

    def scores(self, name: str, method: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return self.rows("sources", name, method)["score"].to_numpy()

    def response(self, name: str) -> Response:
        prompt = full_prompt(name)
        return cached_response(
            self.experiment.cache, self.experiment.models["target"], prompt, GENERATION
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    notebook = Notebook()
    experiment = tiny_experiment(tmp_path_factory.mktemp("run"), tracker=notebook)
    summary = run(experiment)
    return Finished(experiment, summary, read_records(experiment.run_dir), notebook)


def test_every_method_has_all_rows_of_every_example(finished: Finished) -> None:
    records = finished.records
    assert records.manifest.finished_at is not None
    assert tuple(records.manifest.methods) == METHODS
    assert list(records.examples["example_id"]) == list(CONTEXTS)
    expected = [(name, method) for name in CONTEXTS for method in METHODS]
    assert list(zip(records.costs["example_id"], records.costs["method"], strict=True)) == expected
    for name, method in expected:
        sources = finished.rows("sources", name, method)
        assert list(sources["source_id"]) == list(range(num_sources(name)))
        measured = set(finished.rows("metrics", name, method)["metric"])
        gold = GOLD_METRICS if tiny_example(name).gold else set()
        drops = {f"log_prob_drop@{k}" for k in (1, 2) if k <= num_sources(name)}
        assert measured == (set() if method == "reference" else METRICS | gold | drops)


def test_examples_are_recorded_as_posed(finished: Finished) -> None:
    examples: Any = finished.records.examples
    for row in examples.itertuples():
        assert f"Context:\n{row.context}\n\nQuestion:" in full_prompt(row.example_id)
        assert row.response == finished.response(row.example_id).text
        assert list(row.gold_sources) == ([1] if tiny_example(row.example_id).gold else [])
        texts = [text for paragraph in CONTEXTS[row.example_id] for text in paragraph]
        sources = finished.rows("sources", row.example_id, "loo")
        spans = zip(sources["char_start"], sources["char_end"], strict=True)
        assert [row.context[start:end] for start, end in spans] == texts
        assert set(sources["document_id"]) == {f"page of {row.example_id}"}
        sizes = [len(paragraph) for paragraph in CONTEXTS[row.example_id]]
        assert list(sources["parent_id"]) == np.repeat(range(len(sizes)), sizes).tolist()


@pytest.mark.parametrize("method", ["reference", "loo_naive", "loo", "keep_all"])
@pytest.mark.parametrize("name", CONTEXTS)
def test_exact_methods_equal_one_pass_per_prompt(
    finished: Finished, name: str, method: str
) -> None:
    target, response = finished.experiment.models["target"], finished.response(name)
    everything = range(num_sources(name))
    expected = oracle_scores(target, name, everything, response)
    np.testing.assert_allclose(finished.scores(name, method), expected, atol=TOLERANCE, rtol=0)
    rows = finished.rows("sources", name, method)
    full = oracle_log_likelihoods(target, [rendered_prompt(name, everything)], response)[0]
    np.testing.assert_allclose(rows["base_log_likelihood"], full, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(
        rows["ablated_log_likelihood"], full - expected, atol=TOLERANCE, rtol=0
    )
    example = finished.records.examples.set_index("example_id").loc[name]
    assert example["base_log_likelihood"] == pytest.approx(full, abs=TOLERANCE)


@pytest.mark.parametrize("role", ["proxy", "stranger"])
@pytest.mark.parametrize("name", ["castle", "bridge"])
def test_a_proxy_chooses_and_the_target_rescores(finished: Finished, name: str, role: str) -> None:
    models, response = finished.experiment.models, finished.response(name)
    screened = oracle_scores(models[role], name, range(num_sources(name)), response)
    survivors = sorted(np.argsort(-screened)[:PRUNED_TO].tolist())
    expected = np.full(num_sources(name), np.nan)
    expected[survivors] = oracle_scores(models["target"], name, survivors, response)
    scores = finished.scores(name, f"{role}_pruning")
    np.testing.assert_allclose(scores, expected, atol=TOLERANCE, rtol=0)
    rows = finished.rows("sources", name, f"{role}_pruning")
    assert list(rows["is_pruned"]) == np.isnan(expected).tolist()
    # All survivors come before all others, both in the order of their own stage.
    order = np.argsort(-rows["priority"].to_numpy())
    rest = [source for source in np.argsort(-screened) if source not in survivors]
    assert list(order) == [*sorted(survivors, key=lambda s: -expected[s]), *rest]


@pytest.mark.parametrize("name", ["castle", "bridge"])
def test_the_best_paragraph_is_rescored_alone(finished: Finished, name: str) -> None:
    target, response = finished.experiment.models["target"], finished.response(name)
    everything, paragraphs = range(num_sources(name)), range(len(CONTEXTS[name]))
    prompts = [
        rendered_prompt(name, everything, [p for p in paragraphs if p != removed])
        for removed in paragraphs
    ]
    best = int(np.argmin(oracle_log_likelihoods(target, prompts, response)))
    first = sum(map(len, CONTEXTS[name][:best]))
    inside = range(first, first + len(CONTEXTS[name][best]))
    prompts = [
        rendered_prompt(name, [s for s in inside if s != removed], [best])
        for removed in (None, *inside)
    ]
    full, *ablated = oracle_log_likelihoods(target, prompts, response)
    expected = np.full(num_sources(name), np.nan)
    expected[inside] = full - np.array(ablated)
    scores = finished.scores(name, "hierarchical")
    np.testing.assert_allclose(scores, expected, atol=TOLERANCE, rtol=0)


def test_a_re_encoded_response_is_on_record(finished: Finished) -> None:
    costs = finished.records.costs
    marked = costs.groupby("method")["is_response_reencoded"].agg(["all", "any"])
    assert set(marked.index[marked["all"]]) == {"stranger_pruning"}
    assert set(marked.index[marked["any"]]) == {"stranger_pruning"}


def paragraph_prompts(name: str) -> set[str]:
    """The full context's prompt, and those without one paragraph."""
    numbers, everything = range(len(CONTEXTS[name])), range(num_sources(name))
    return {
        rendered_prompt(name, everything, [p for p in numbers if p != removed])
        for removed in (None, *numbers)
    }


def sentence_prompts(name: str, kept: Collection[int]) -> set[str]:
    """The prompt of the kept sources, whole paragraphs, and those without one of them."""
    ends = np.cumsum([len(sentences) for sentences in CONTEXTS[name]])
    numbers = {int(np.searchsorted(ends, source, side="right")) for source in kept}
    return {
        rendered_prompt(name, [s for s in kept if s != removed], numbers)
        for removed in (None, *kept)
    }


@pytest.mark.parametrize("name", CONTEXTS)
def test_costs_are_those_of_the_prompts(finished: Finished, name: str) -> None:
    target, response = finished.experiment.models["target"], finished.response(name)
    everything = range(num_sources(name))
    prompts = [
        rendered_prompt(name, [s for s in everything if s != removed])
        for removed in (None, *everything)
    ]
    num_response = len(response.token_ids)
    lengths = [len(target.encode_prompt(p).token_ids) + num_response - 1 for p in prompts]
    flops = [ModelGeometry.of(target.model).pass_flops(n, 0, num_response) for n in lengths]
    costs = {method: finished.rows("costs", name, method).iloc[0] for method in METHODS}
    naive, reused = costs["loo_naive"], costs["loo"]
    assert naive["forward_passes"] == len(prompts)
    assert (naive["computed_tokens"], naive["reused_tokens"]) == (sum(lengths), 0)
    assert naive["flops"] == pytest.approx(sum(flops))
    assert reused["computed_tokens"] < naive["computed_tokens"]
    assert reused["flops"] < naive["flops"]
    survivors = np.flatnonzero(~finished.rows("sources", name, "hierarchical")["is_pruned"])
    n = num_sources(name)
    # What both stages ask, such as a context without all paragraphs but one, is scored once.
    screened = paragraph_prompts(name)
    passes = {
        "hierarchical": len(screened | sentence_prompts(name, survivors)),
        "keep_all": len(screened | sentence_prompts(name, everything)),
        "proxy_pruning": n + 1 + min(n, PRUNED_TO) + 1,
        "stranger_pruning": n + 1 + min(n, PRUNED_TO) + 1,
        "word_overlap": 0,
        "random": 0,
        "reference": 0,
    }
    assert {method: costs[method]["forward_passes"] for method in passes} == passes
    for method in METHODS[1:]:
        assert costs[method]["wall_seconds"] > 0, method
    assert costs["reference"]["wall_seconds"] == 0


def test_shared_ablations_change_no_number_and_are_computed_once(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the seconds, which no method has of its own."""
    asked: list[tuple[int, object]] = []
    score = LikelihoodEngine.pair_log_likelihoods

    def noted(engine: LikelihoodEngine, pairs: Sequence[Any], held: Any = None) -> Any:
        asked.extend((id(engine.model), pair) for pair in pairs)
        return score(engine, pairs, held)

    monkeypatch.setattr(LikelihoodEngine, "pair_log_likelihoods", noted)
    models = finished.experiment.models
    experiment = tiny_experiment(tmp_path, models=models, shares_ablations=True)
    # As in configured runs: a method sees a scorer of every role, whatever it asks for.
    scorers = {role: ModelScorer(model) for role, model in models.items()}
    methods = {
        name: replace(method, scorers={**scorers, **method.scorers})
        for name, method in experiment.methods.items()
    }
    run(replace(experiment, methods=methods))
    assert len(asked) == len(set(asked)) > 0
    shared, alone = read_records(tmp_path), finished.records
    assert tuple(shared.manifest.methods) == METHODS
    pd.testing.assert_frame_equal(
        shared.sources, alone.sources, check_exact=False, atol=TOLERANCE, rtol=0
    )
    counters = ["example_id", "method", "forward_passes", "computed_tokens", "reused_tokens"]
    pd.testing.assert_frame_equal(shared.costs[counters], alone.costs[counters])
    pd.testing.assert_series_equal(shared.costs["flops"], alone.costs["flops"], check_exact=True)
    is_reference = shared.costs["method"] == "reference"
    assert shared.costs["wall_seconds"][~is_reference].isna().all()


def test_exact_methods_agree_with_the_reference_perfectly(finished: Finished) -> None:
    for name in ("castle", "bridge"):
        for method in ("loo_naive", "loo", "keep_all"):
            values = finished.rows("metrics", name, method).set_index("metric")["value"]
            agreement = values[["spearman", "kendall", "pearson", "top1_hit"]]
            np.testing.assert_allclose(agreement, 1, atol=TOLERANCE)


def test_the_run_is_reported_and_tracked(finished: Finished) -> None:
    run_dir = finished.experiment.run_dir
    for view in VIEWS:
        assert (run_dir / view).stat().st_size > 0
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "Who built the castle?" in page
    assert list(finished.summary["method"]) == list(METHODS[1:])
    assert set(finished.summary["num_examples"]) == {len(CONTEXTS)}
    num_metrics = [len(finished.rows("metrics", name, "loo")) for name in CONTEXTS]
    assert finished.notebook.pages == [
        ("start", finished.experiment.config, finished.experiment.run_id, run_dir),
        *((i, m, num_metrics[i]) for i in range(len(CONTEXTS)) for m in METHODS[1:]),
        ("finish", len(METHODS[1:]), True),
    ]


def test_a_finished_run_only_has_its_report_rebuilt(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("a finished run asks no model")

    run_dir = finished.experiment.run_dir
    records = {path: path.read_bytes() for path in run_dir.glob("*.parquet")}
    for path in (run_dir / "report.html", *(run_dir / view for view in VIEWS)):
        path.unlink()
    monkeypatch.setattr(ModelScorer, "score", forbidden)
    monkeypatch.setattr(runner, "pose_example", forbidden)
    again = run(replace(finished.experiment, tracker=Notebook(), cache=ContentCache()))
    pd.testing.assert_frame_equal(again, finished.summary)
    assert {path: path.read_bytes() for path in run_dir.glob("*.parquet")} == records
    assert all((run_dir / view).is_file() for view in (*VIEWS, "report.html"))
    assert finished.experiment.tracker is finished.notebook


def test_an_empty_response_is_counted_and_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The model's first token on one example ends its turn."""
    models = tiny_models()
    target = models["target"]
    first_tokens = {
        name: generate_response(target, full_prompt(name), max_new_tokens=1) for name in CONTEXTS
    }
    silent = first_tokens["bridge"].token_ids[0]
    assert [r.token_ids[0] == silent for r in first_tokens.values()] == [False, True, False]
    target.model.generation_config.eos_token_id = silent
    run(tiny_experiment(tmp_path, models=models, methods=["loo"]))
    records = read_records(tmp_path)
    assert list(records.examples["example_id"]) == ["castle", "sea"]
    assert len(records.costs) == 2 * len(("reference", "loo"))
    assert records.manifest.dataset.num_read == 5
    assert records.manifest.dataset.dropped == {"unanswerable": 2, "empty response": 1}
    assert "left out bridge: the response of tiny-llama-1 is empty" in caplog.text


def test_the_end_token_is_not_attributed_where_it_is_not_scored(tmp_path: Path) -> None:
    models, name = tiny_models(), "castle"
    written = generate_response(models["target"], full_prompt(name), max_new_tokens=7).token_ids
    models["target"].model.generation_config.eos_token_id = written[-1]
    num_tokens = written.index(written[-1])
    assert num_tokens > 0
    examples = LoadedExamples((tiny_example(name),), 1, {})
    settings: dict[str, Any] = {"models": models, "methods": ["random"], "examples": examples}
    run(tiny_experiment(tmp_path / "run", score_end_token=False, **settings))
    (row,) = read_records(tmp_path / "run").examples.to_dict("records")
    assert row["num_response_tokens"] == num_tokens
    text = Response("", written[:num_tokens], models["target"].tokenizer_sha, False)
    expected = oracle_log_likelihoods(models["target"], [full_prompt(name)], text)
    assert row["base_log_likelihood"] == pytest.approx(expected[0], abs=TOLERANCE)


def test_a_model_that_overflows_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    models = tiny_models()
    with torch.no_grad():
        models["stranger"].model.get_output_embeddings().weight[3] = float("nan")
    with pytest.raises(NonFiniteLogitsError, match=r"non-finite .* 2 of 2 prompts: try dtype="):
        run(tiny_experiment(tmp_path, models=models))
    assert read_records(tmp_path).costs.empty


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up in the middle of a method's rows; there is room again at the next start."""
    write, room = os.write, 12_000

    def write_until_full(descriptor: int, content: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        size = write(descriptor, content[:room])
        room -= size
        return size

    models, cache = tiny_models(), ContentCache()
    names = ("loo_naive", "hierarchical", "random")
    experiment = tiny_experiment(tmp_path, models=models, methods=names, cache=cache)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_until_full)
        with pytest.raises(RecordsError, match=r"No space left on device.*make room"):
            run(experiment)
    before = read_records(tmp_path).costs
    assert 0 < len(before) < len(CONTEXTS) * 4
    run(experiment)
    after = read_records(tmp_path).costs
    assert len(after) == len(CONTEXTS) * 4
    pairs = ["example_id", "method"]
    kept = after.set_index(pairs).loc[list(map(tuple, before[pairs].to_numpy()))].reset_index()
    pd.testing.assert_frame_equal(kept[before.columns], before)
