"""Time attribution against writing the response that is attributed, interleaved in one process.

    python -m experiments.generation_time --examples 10 --threads 1 --output results/efficiency

The bundled model answers bundled questions greedily with a KV cache; every way of attribution then
explains that response. All of them and the generation meet every example in turn, `--rounds` times,
every other round backwards. Writes `generation_time.csv`, `.json` (command, commit, machine) and
`.md`; `experiments.efficiency` rebuilds the last. About ten minutes on one CPU core.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from attribot.attributors.ablation import Mask
from attribot.attributors.base import Attributor, Problem
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import TwoStage
from attribot.context.partition import NupunktSplitter, build_tree
from attribot.data.examples import BundledDataset
from attribot.errors import AttribotError
from attribot.manifest import git_state, hardware, package_versions
from attribot.models.bundled import load_bundled
from attribot.models.generation import (
    GenerationSettings,
    generate_response,
    generate_with_prefix,
)
from attribot.models.kv_cache import ComputedPrefix
from attribot.models.language_model import LanguageModel
from attribot.models.layer_drop import drop_layers
from attribot.models.loading import set_threads
from attribot.prompting import PromptTemplate
from attribot.scoring.cost import ModelGeometry
from attribot.scoring.planning import Work, WorkPlanner
from attribot.scoring.scorer import ModelScorer
from attribot.types import Cost, Example
from experiments.benchmark.__main__ import matmul_rate, positive
from experiments.benchmark.records import BenchmarkRun
from experiments.forward_clock import read_clock, undisturbed
from experiments.generation_time.report import COLUMNS, CSV_FILE, GENERATION, JSON_FILE, build

# Those that conf/model/smollm2-135m-layer-dropped.yaml leaves out.
DROPPED_LAYERS = (4, 5, 25, 26)


@dataclass(frozen=True)
class Way:
    """A way to attribute.

    is_after_generation: the target begins with the states that generating has left.
    """

    attributor: Attributor
    is_after_generation: bool = False


def ways() -> dict[str, Way]:
    """By name, in the order of the table."""
    exact, masked = LeaveOneOut(), LeaveOneOut(ablation=Mask("none"))
    return {
        "exact": Way(exact),
        "exact, after generation": Way(exact, True),
        "hierarchical, 1 paragraph": Way(_hierarchical("target")),
        "proxy": Way(LeaveOneOut("proxy")),
        "proxy hierarchical, 1 paragraph": Way(_hierarchical("proxy")),
        "mask, query only": Way(masked),
        "mask, query only, after generation": Way(masked, True),
        "mask, own paragraph": Way(LeaveOneOut(ablation=Mask("paragraph"))),
        "proxy mask, query only": Way(LeaveOneOut("proxy", ablation=Mask("none"))),
    }


def _hierarchical(role: str) -> Attributor:
    return TwoStage(LeaveOneOut(role, "paragraph"), TopK(1, "paragraph"), LeaveOneOut(role))


@dataclass(frozen=True, eq=False)
class Answered:
    """An answered example: the problem, and what generating the response has left."""

    example_id: str
    problem: Problem
    prefix: ComputedPrefix | None


@dataclass(frozen=True, eq=False)
class Bench:
    """The models, and how responses are written."""

    target: LanguageModel
    proxy: LanguageModel
    settings: GenerationSettings

    def answer(self, example: Example) -> Answered:
        """The target's greedy response to an example."""
        tree = build_tree(example, NupunktSplitter())
        prompt = PromptTemplate().render(tree.text, example.query)
        response, prefix = generate_with_prefix(self.target, prompt, self.settings)
        return Answered(example.example_id, Problem.of(tree, example.query, response), prefix)

    def generate(self, answered: Answered) -> Cost:
        """Writes the response again; the cost is that of one pass over prompt and response."""
        prompt = answered.problem.prompt()
        response = generate_response(self.target, prompt, **asdict(self.settings))
        num_tokens = len(response.token_ids)
        num_prompt = len(self.target.encode_prompt(prompt).token_ids)
        work = Work(num_prompt + num_tokens - 1, 0, num_tokens)
        return WorkPlanner(ModelGeometry.of(self.target.model)).cost([work])

    def attribute(self, way: Way, answered: Answered) -> Cost:
        """Explains the response, with a memory of its own."""
        target, proxy = ModelScorer(self.target), ModelScorer(self.proxy)
        prefix = answered.prefix if way.is_after_generation else None
        scorers = {"target": target.opened(prefix), "proxy": proxy.opened()}
        return way.attributor.attribute(answered.problem, scorers).cost


def measure(bench: Bench, examples: Sequence[Answered], rounds: int) -> Iterator[dict[str, Any]]:
    """`COLUMNS` of every example, round and way."""
    tasks: Mapping[str, Callable[[Answered], Cost]] = {
        GENERATION: bench.generate,
        **{name: partial(bench.attribute, way) for name, way in ways().items()},
    }
    for task in tasks.values():
        # First calls hold what only first calls do.
        task(examples[0])
    for answered in examples:
        shape = {
            "example_id": answered.example_id,
            "prompt_tokens": len(bench.target.encode_prompt(answered.problem.prompt()).token_ids),
            "response_tokens": len(answered.problem.response.token_ids),
            "sources": answered.problem.tree.num_sources,
        }
        for number in range(1, rounds + 1):
            for name in list(tasks)[:: 1 if number % 2 else -1]:
                start = read_clock(bench.target.device)
                cost = tasks[name](answered)
                seconds = read_clock(bench.target.device) - start
                yield {
                    **shape,
                    "round": number,
                    "way": name,
                    "seconds": seconds,
                    "computed_tokens": cost.computed_tokens,
                    "flops": cost.flops,
                }


def run(options: argparse.Namespace, command: str) -> Path:
    """Measures, writes and reports; returns the report."""
    threads = set_threads(options.threads)
    target = load_bundled()
    settings = GenerationSettings(options.max_new_tokens)
    bench = Bench(target, drop_layers(target, DROPPED_LAYERS), settings)
    examples = BundledDataset(max_examples=options.examples).load().examples
    rows = list(measure(bench, [bench.answer(example) for example in examples], options.rounds))
    commit, is_dirty = git_state(Path(__file__).parent)
    today, rate = date.today().isoformat(), matmul_rate(target.model)
    circumstances = {
        "machine": {
            "model": target.name,
            "proxy": bench.proxy.name,
            "dtype": target.dtype,
            "hardware": hardware(None),
            "threads": threads,
            "versions": package_versions(["torch", "transformers"]),
        },
        "run": asdict(BenchmarkRun(command, today, commit, is_dirty, rate)),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows)[COLUMNS].to_csv(options.output / CSV_FILE, index=False)
    text = json.dumps(circumstances, indent=2, allow_nan=False) + "\n"
    (options.output / JSON_FILE).write_text(text, encoding="utf-8")
    return build(options.output)


def main(arguments: Sequence[str] | None = None) -> None:
    command = shlex.join(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m experiments.generation_time",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--examples", type=positive, default=10)
    parser.add_argument("--rounds", type=positive, default=2, help="per example")
    parser.add_argument("--max-new-tokens", type=positive, default=40)
    parser.add_argument("--threads", type=int, default=None, help="default: all available cores")
    parser.add_argument("--output", type=Path, default=Path("runs/generation_time"))
    options = parser.parse_args(arguments)
    try:
        with undisturbed():
            print(run(options, command))
    except AttribotError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
