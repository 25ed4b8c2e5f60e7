"""Time the ways to score all leave-one-out ablations of a prompt, interleaved in one process.

    python -m experiments.benchmark --tokens 300 600 1200 --sources 8 16 32 --output runs/benchmark
    python -m experiments.benchmark --geometry experiments/geometries/llama-3.1-8b.yaml \\
        --device cuda --dtype bfloat16 --tokens-per-second 20000

Every cell is a prompt of so many tokens in so many sources with a response of 32. All ways meet it
in turn, `--repeats` times; medians and quartiles are reported, beside counted tokens and FLOPs, the
share of the machine's measured matrix-multiplication rate, each way's own peak of memory and the
time spent outside the model. Ways whose round would take longer than `--max-seconds`, judged by the
tokens to compute and `--tokens-per-second`, are left out of the cell and said to be. Random token
ids serve: time does not depend on what the tokens say.

Without `--geometry` the bundled model is timed; with it, a model of that geometry with random
weights, which takes torch and transformers alone: without pandas and matplotlib the report is left
to `python -m experiments.benchmark.report`. The same command with other cells or ways and the same
`--output` adds to what is there.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from attribot.errors import AttribotError, InvalidInputError
from attribot.manifest import git_state, hardware, package_versions
from attribot.models.bundled import load_bundled
from attribot.models.geometry import random_model
from attribot.models.language_model import LanguageModel, input_device
from attribot.models.loading import set_threads
from attribot.models.memory import peak_memory, reset_peak_memory
from experiments.benchmark.records import WAYS, BenchmarkRun, LeftOut, Measurements
from experiments.benchmark.ways import Cell, Way, ways_of
from experiments.forward_clock import ForwardClock, read_clock, undisturbed

# First calls set up kernels and buffers, milliseconds that longer rounds do not show.
MAX_UNMEASURED_SECONDS = 2.0
WARM_UP = Cell(128, 2)


def matmul_rate(model: PreTrainedModel, seconds: float = 1.0) -> float:
    """FLOP/s of matrix multiplication on the model's device, in its dtype and at its shapes:
    1,024 tokens through the first matrix of a feed-forward block."""
    config, device = model.config.get_text_config(), input_device(model)
    shapes = (1024, config.hidden_size), (config.hidden_size, config.intermediate_size)
    left, right = (torch.randn(shape, device=device, dtype=model.dtype) for shape in shapes)
    left @ right
    # A GPU must not idle between readings of the clock; on a CPU one product may take a second.
    num_between = 64 if device.type == "cuda" else 1
    count, start = 0, read_clock(device)
    while (spent := read_clock(device) - start) < seconds:
        for _ in range(num_between):
            left @ right
        count += num_between
    return 2.0 * 1024 * right.numel() * count / spent


def plan(
    ways: Mapping[str, Way], options: argparse.Namespace
) -> tuple[dict[Cell, dict[str, Way]], tuple[LeftOut, ...]]:
    """The ways to measure by cell, the smallest cell first, and those left out.

    Raises:
        InvalidInputError: nothing is left.
    """
    taken: dict[Cell, dict[str, Way]] = {}
    left_out = []
    for num_tokens in sorted(options.tokens):
        for num_sources in sorted(options.sources):
            cell = Cell(num_tokens, num_sources)
            for name in options.ways:
                if reason := why_not(ways[name], cell, options):
                    left_out.append(LeftOut(name, num_tokens, num_sources, reason))
                else:
                    taken.setdefault(cell, {})[name] = ways[name]
    if not taken:
        reasons = "; ".join(sorted({left.reason for left in left_out}))
        raise InvalidInputError(
            f"nothing to measure, all ways are left out of all cells ({reasons}): raise "
            f"--max-seconds or --tokens-per-second, or choose other cells or ways"
        )
    return taken, tuple(left_out)


def why_not(way: Way, cell: Cell, options: argparse.Namespace) -> str | None:
    """Why a way is left out of a cell; None where it is measured."""
    if way.refusal:
        return way.refusal
    if not cell.has_room:
        return "fewer tokens than sources"
    seconds = way.expected_tokens(cell) / options.tokens_per_second
    return f"about {seconds:.0f} s a round" if seconds > options.max_seconds else None


def measure_cell(
    cell: Cell, ways: Mapping[str, Way], options: argparse.Namespace
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """(name of a way, row) per way and round; None for a row where memory does not suffice."""
    running = dict(ways)
    for number in range(options.repeats + 1):
        # Every other round runs backwards: no way always follows the same one.
        for name in list(running)[:: -1 if number % 2 else 1]:
            way = running[name]
            expected = way.expected_tokens(cell)
            if number == 0 and expected > MAX_UNMEASURED_SECONDS * options.tokens_per_second:
                continue
            try:
                row = measure_once(way, cell)
            except torch.OutOfMemoryError:
                del running[name]
                yield name, None
                continue
            if number:
                yield name, {"way": name, "round": number, "expected_tokens": expected, **row}


def measure_once(way: Way, cell: Cell) -> dict[str, Any]:
    """Seconds, counters and peak memory of one way in one cell."""
    device = input_device(way.engine.model)
    reset_peak_memory(device)
    resting = peak_memory(device)
    with ForwardClock(way.module, device) as clock:
        start = read_clock(device)
        cost = way.score(cell)
        seconds = read_clock(device) - start
    return {
        "prompt_tokens": cell.num_tokens,
        "sources": cell.num_sources,
        "seconds": seconds,
        "forward_seconds": clock.seconds,
        "forward_passes": cost.forward_passes,
        "computed_tokens": cost.computed_tokens,
        "reused_tokens": cost.reused_tokens,
        "flops": cost.flops,
        "peak_memory_bytes": peak_memory(device),
        "resting_memory_bytes": resting,
    }


def measure(
    earlier: Measurements,
    run: BenchmarkRun,
    taken: Mapping[Cell, Mapping[str, Way]],
    options: argparse.Namespace,
) -> None:
    """Measures all cells and writes what there is after each of them."""
    rows: list[dict[str, Any]] = []
    for cell, ways in taken.items():
        for name, row in measure_cell(cell, ways, options):
            if row is None:
                failed = LeftOut(name, cell.num_tokens, cell.num_sources, "out of memory")
                run = replace(run, left_out=(*run.left_out, failed))
            else:
                rows.append(row | {"matmul_flops_per_second": run.matmul_flops_per_second})
        earlier.with_run(run, rows).write(options.output)
        print(f"{cell.num_tokens} tokens, {cell.num_sources} sources: done", flush=True)


def load(options: argparse.Namespace) -> tuple[str, PreTrainedModel, LanguageModel | None]:
    """Name and model; with its tokenizer where it has one."""
    if options.geometry is not None:
        dtype = getattr(torch, options.dtype)
        model = random_model(options.geometry, torch.device(options.device), dtype)
        return f"random weights in the geometry of {options.geometry.stem}", model, None
    device_map = None if options.device == "cpu" else options.device
    bundled = load_bundled(dtype=options.dtype, device_map=device_map)
    return bundled.name, bundled.model, bundled


def main(arguments: Sequence[str] | None = None) -> None:
    command = shlex.join(sys.argv[1:] if arguments is None else arguments)
    parser = argument_parser()
    options = parser.parse_args(arguments)
    try:
        with undisturbed():
            print(benchmark(options, command))
    except AttribotError as error:
        parser.exit(1, f"{error}\n")


def benchmark(options: argparse.Namespace, command: str) -> Path:
    """Measures, writes and reports; returns the report, or the folder where none can be drawn."""
    threads = set_threads(options.threads)
    name, model, language_model = load(options)
    is_gpu = options.device.startswith("cuda")
    machine = {
        "model": name,
        "dtype": options.dtype,
        "hardware": hardware(torch.cuda.get_device_name(options.device) if is_gpu else None),
        "threads": threads,
        "versions": package_versions(["torch", "transformers"]),
    }
    earlier = Measurements.beside(options.output, machine)
    taken, left_out = plan(ways_of(model), options)
    total = sum(way.expected_tokens(cell) for cell, ways in taken.items() for way in ways.values())
    minutes = options.repeats * total / options.tokens_per_second / 60
    print(f"{len(taken)} cells, about {minutes:.0f} minutes", flush=True)
    used = {name: way for ways in taken.values() for name, way in ways.items()}
    for way in used.values():
        measure_once(way, WARM_UP)
    text = None
    if language_model is not None and "packed" in used:
        # It needs more packages than a machine that only times random weights may have.
        from experiments.benchmark.text import measure_text

        text = measure_text(language_model, options.repeats)
    commit, is_dirty = git_state(Path(__file__).parent)
    today, rate = date.today().isoformat(), matmul_rate(model)
    run = BenchmarkRun(command, today, commit, is_dirty, rate, left_out, text)
    measure(earlier, run, taken, options)
    if find_spec("pandas") is None or find_spec("matplotlib") is None:
        return Path(options.output)
    from experiments.benchmark.report import build

    return build(options.output)


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tokens", type=positive, nargs="+", default=[300, 600, 1200])
    parser.add_argument("--sources", type=positive, nargs="+", default=[8, 16, 32])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY")
    parser.add_argument("--repeats", type=positive, default=3, help="measured rounds per cell")
    parser.add_argument("--max-seconds", type=float, default=60.0, help="per way, cell and round")
    parser.add_argument("--tokens-per-second", type=float, default=400.0, help="for that judgement")
    parser.add_argument("--geometry", type=Path, help="YAML; default: the bundled model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=None, help="default: all available cores")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"))
    return parser


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


if __name__ == "__main__":
    main()
