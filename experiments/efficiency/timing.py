"""Time the tricks on models of real geometries with random weights, interleaved in one process.

    python -m experiments.efficiency.timing --target experiments/geometries/llama-3.1-8b.yaml \\
        --proxy experiments/geometries/llama-3.2-1b.yaml --tokens 1000 4000 10000 --repeats 2 \\
        --device cuda --dtype bfloat16 --output results/efficiency

Real attributors under real scorers explain made-up prompts of these lengths; target and proxy stay
resident. All compositions meet a prompt in turn, `--repeats` times, every other round backwards,
after one round with a single ablation that is not counted. Of every round: seconds, those inside
forward passes, counted FLOPs, computed and reused tokens, peak memory. Where a round would take
longer than `--max-seconds`, leave-one-out is timed by some of its ablations, and the rows say so;
what has two stages cannot be divided, and is left out.

Writes `timing.json` after every row: the same command goes on where it was stopped, and another one
with the same `--output` adds to it. That takes torch, transformers and attribot alone. Where pandas
and tabulate are installed, the tables follow; `python -m experiments.efficiency.timing_report` and
`python -m experiments.efficiency` build them later.

On one H200 at 400 TFLOP/s, half the rate of its matrix products, the counted FLOPs of the command
above and what Python adds make about 8 minutes, most of them for 10,000 tokens; drawing weights and
compiling kernels come on top, a minute or two. All of naive leave-one-out at that length would take
2 minutes a round. Of a 70B target,

    PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True python -m experiments.efficiency.timing \\
        --target experiments/geometries/llama-3.1-70b.yaml \\
        --proxy experiments/geometries/llama-3.2-1b.yaml --tokens 1000 4000 --repeats 2 \\
        --max-seconds 25 --device cuda --dtype bfloat16 --output results/efficiency

takes about 6 minutes, and `--tokens 10000 --repeats 1` about 4, where all of naive leave-one-out
would take 19 a round. Its weights are 141 GB, the proxy's 2.5, and an H200 has 150: what is left is
just enough for states (3.3 GB) and passes (3 GB) of 10,000 tokens. What does not fit is left out as
out of memory; without `--proxy` there is more room.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from attribot.errors import AttribotError, InvalidInputError
from attribot.manifest import git_state, hardware, package_versions
from attribot.models.loading import set_threads
from experiments.benchmark.__main__ import matmul_rate, positive
from experiments.benchmark.records import LeftOut
from experiments.efficiency.compositions import (
    HEADLINE,
    NAIVE,
    ONE_BY_ONE,
    REUSE,
    Composition,
    timed_compositions,
)
from experiments.efficiency.counting import FEWEST_TOKENS, SyntheticPrompt, word_tokenizer
from experiments.efficiency.timed_models import TimedModels, available_bytes, check_memory
from experiments.efficiency.timing_records import TimingRow, TimingRun, Timings
from experiments.efficiency.timing_tasks import TimingTask, unless_out_of_memory
from experiments.forward_clock import undisturbed

WAYS = {way.name: way for way in timed_compositions()}
DEFAULT_WAYS = (
    NAIVE,
    ONE_BY_ONE,
    REUSE,
    "hierarchical + reuse",
    "proxy",
    "proxy + reuse",
    "proxy pruning + reuse",
    HEADLINE,
    "hierarchical proxy pruning + reuse",
    "mask, own paragraph",
    "proxy mask, then 5 in the pruned context",
)
OUT_OF_MEMORY = "out of memory"


def chosen_ways(options: argparse.Namespace) -> list[Composition]:
    """In the order of the tables.

    Raises:
        InvalidInputError: one that was asked for needs a proxy, and none is given.
    """
    asked = options.compositions
    ways = [way for name, way in WAYS.items() if name in (asked or DEFAULT_WAYS)]
    if options.proxy is not None:
        return ways
    if asked and (needy := [way.name for way in ways if way.uses_proxy]):
        raise InvalidInputError(f"{', '.join(needy)}: give --proxy, which is asked there")
    return [way for way in ways if not way.uses_proxy]


def left_to_time(
    ways: Sequence[Composition],
    prompts: Sequence[SyntheticPrompt],
    repeats: int,
    timed: set[tuple[int, str, int]],
) -> dict[SyntheticPrompt, dict[Composition, list[int]]]:
    """Rounds that are still to be timed, by prompt and composition."""
    found: dict[SyntheticPrompt, dict[Composition, list[int]]] = {}
    for prompt in prompts:
        for way in ways:
            numbers = [
                number
                for number in range(1, repeats + 1)
                if (prompt.prompt_tokens, way.name, number) not in timed
            ]
            if numbers:
                found.setdefault(prompt, {})[way] = numbers
    return found


def time_prompt(
    models: TimedModels,
    prompt: SyntheticPrompt,
    rounds: Mapping[Composition, Sequence[int]],
    max_seconds: float,
    run: int,
) -> Iterator[TimingRow | LeftOut]:
    """A row per composition and round, and what is left out; all compositions in turn.

    rounds: numbers of the rounds to time of each composition.
    run: number of the run, for the record.
    """
    problem = prompt.problem(models.target)
    tasks: dict[Composition, TimingTask] = {}
    for way in rounds:
        prepared = prepare(TimingTask(models, way, prompt, problem), max_seconds)
        if isinstance(prepared, TimingTask):
            tasks[way] = prepared
        else:
            yield LeftOut(way.name, prompt.prompt_tokens, prompt.num_sources, prepared)
    for number in sorted({number for numbers in rounds.values() for number in numbers}):
        # Every other round runs backwards: no composition always follows the same one.
        for way in list(tasks)[:: 1 if number % 2 else -1]:
            if number not in rounds[way]:
                continue
            row = unless_out_of_memory(partial(tasks[way].row, run, number))
            if row is None:
                del tasks[way]
                yield LeftOut(way.name, prompt.prompt_tokens, prompt.num_sources, OUT_OF_MEMORY)
            else:
                yield row


def prepare(task: TimingTask, max_seconds: float) -> TimingTask | str:
    """The task, warm and of bearable length; or why it is left out."""
    if refusal := task.models.refusal(task.way):
        return refusal
    seconds = unless_out_of_memory(task.expected_seconds)
    if seconds is not None and seconds > max_seconds:
        # The first time kernels may have been compiled.
        seconds = unless_out_of_memory(task.expected_seconds)
    if seconds is None:
        return OUT_OF_MEMORY
    return task.fitted(seconds, max_seconds) or f"about {seconds:.0f} s a round"


def resident_models(
    options: argparse.Namespace, prompts: Collection[SyntheticPrompt], ways: Collection[Composition]
) -> TimedModels:
    """The models, warm: every way has explained a short prompt under them, kernels are compiled.

    Raises:
        InvalidInputError, PromptTooLongError: the models do not fit, or do not read the prompts.
    """
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    geometries = {"target": options.target}
    if options.proxy is not None:
        geometries["proxy"] = options.proxy
    weights = sum(check_memory(geometries, device, dtype).values()) / 1e9
    room = available_bytes(device) / 1e9 - weights
    print(f"weights: {weights:.1f} GB; for states and passes: {room:.1f} GB", flush=True)
    warm_up = SyntheticPrompt.of_length(FEWEST_TOKENS)
    tokenizer = word_tokenizer([warm_up, *prompts])
    models = TimedModels.random(geometries, device, dtype, tokenizer)
    for prompt in prompts:
        models.check_length(prompt)
    problem = warm_up.problem(models.target)
    for way in ways:
        if models.refusal(way) is None:
            models.run(way, problem)
    return models


def measure(
    earlier: Timings,
    rounds: Mapping[SyntheticPrompt, Mapping[Composition, Sequence[int]]],
    options: argparse.Namespace,
    command: str,
) -> None:
    """Times what is left to time; the file is written after every row.

    Raises:
        InvalidInputError, PromptTooLongError: as `resident_models`.
    """
    ways = dict.fromkeys(way for asked in rounds.values() for way in asked)
    models = resident_models(options, rounds, ways)
    rate = matmul_rate(models.target.model)
    print(f"warm; matrix multiplication at {rate / 1e12:.3g} TFLOP/s", flush=True)
    commit, is_dirty = git_state(Path(__file__).parent)
    run = TimingRun(*pair(options), command, date.today().isoformat(), commit, is_dirty, rate)
    timings = earlier.with_run(run)
    for prompt, asked in rounds.items():
        results = time_prompt(models, prompt, asked, options.max_seconds, len(timings.runs))
        for result in results:
            timings = timings.with_result(result)
            timings.write(options.output)
            print(said(result), flush=True)


def pair(options: argparse.Namespace) -> tuple[str, str]:
    """Names of target and proxy, "" without one."""
    return options.target.stem, "" if options.proxy is None else options.proxy.stem


def said(result: TimingRow | LeftOut) -> str:
    """A line of the log."""
    if isinstance(result, LeftOut):
        return f"{result.prompt_tokens} tokens, {result.way}: left out, {result.reason}"
    part = result.timed_ablations
    share = "" if part is None else f" for {part} of {result.sources} ablations"
    return (
        f"{result.prompt_tokens} tokens, round {result.round}, {result.composition}: "
        f"{result.seconds:.2f} s{share}"
    )


def run(options: argparse.Namespace, command: str) -> Path:
    """Times what is not timed yet, and reports; returns the report, or the folder where a package
    is missing that reporting needs."""
    threads = set_threads(options.threads)
    is_gpu = options.device.startswith("cuda")
    machine: dict[str, Any] = {
        "dtype": options.dtype,
        "hardware": hardware(torch.cuda.get_device_name(options.device) if is_gpu else None),
        "threads": threads,
        "versions": package_versions(["torch", "transformers"]),
    }
    earlier = Timings.beside(options.output, machine)
    prompts = [SyntheticPrompt.of_length(length) for length in sorted(set(options.tokens))]
    timed = earlier.timed(*pair(options))
    rounds = left_to_time(chosen_ways(options), prompts, options.repeats, timed)
    if rounds:
        measure(earlier, rounds, options, command)
    folder: Path = options.output
    if find_spec("pandas") is None or find_spec("tabulate") is None:
        return folder
    from experiments.efficiency.timing_report import build

    return build(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    command = shlex.join(sys.argv[1:] if arguments is None else arguments)
    parser = argument_parser()
    options = parser.parse_args(arguments)
    try:
        with undisturbed():
            print(run(options, command))
    except AttribotError as error:
        parser.exit(1, f"{error}\n")


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.efficiency.timing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--target", type=Path, required=True, help="geometry, a YAML file")
    parser.add_argument("--proxy", type=Path, help="geometry; without it: the target's ways only")
    parser.add_argument("--tokens", type=positive, nargs="+", default=[1000, 4000, 10000])
    parser.add_argument(
        "--compositions",
        nargs="+",
        choices=WAYS,
        metavar="NAME",
        help=f"of {', '.join(WAYS)}; default: {', '.join(DEFAULT_WAYS)}",
    )
    parser.add_argument("--repeats", type=positive, default=3, help="rounds per length")
    parser.add_argument("--max-seconds", type=float, default=20.0, help="of a round of one way")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=None, help="default: all available cores")
    parser.add_argument("--output", type=Path, default=Path("runs/timing"))
    return parser


if __name__ == "__main__":
    main()
