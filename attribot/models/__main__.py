"""Commands around models.

prepare converts the bundled model once and prints where it is; precision prints what `dtype=auto`
takes on this machine, and how much each dtype blurs the scores of a model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from transformers.utils.logging import disable_progress_bar

from attribot.errors import AttribotError
from attribot.models.bundled import load_bundled, prepare_bundled
from attribot.models.language_model import LanguageModel
from attribot.models.loading import DType, load_model, set_threads
from attribot.models.precision import probe_dtype
from attribot.scoring.noise import noise_floor

MEASURED: tuple[DType, ...] = ("float32", "bfloat16", "float16")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 1 where a model cannot be loaded or measured."""
    parser = argparse.ArgumentParser(prog="python -m attribot.models", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="convert the bundled model")
    precision = commands.add_parser("precision", help="measure dtypes on the CPU")
    precision.add_argument("--model", help="hub id, directory or GGUF file; default: the bundled")
    parsed = parser.parse_args(arguments)
    try:
        if parsed.command == "prepare":
            print(prepare_bundled())
        else:
            print_precision(parsed.model)
    except AttribotError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def print_precision(name_or_path: str | None) -> None:
    """The probed dtype, and the noise floor of a model in every dtype, on all available cores."""
    disable_progress_bar()
    threads = set_threads()
    probed = probe_dtype(torch.device("cpu"))
    print(
        f"bfloat16 is {probed.speedup:.2f} times as fast as float32 on {threads} CPU thread(s): "
        f"dtype=auto is {str(probed.dtype).removeprefix('torch.')}"
    )
    print("deviation of leave-one-out scores from float32 arithmetic [nats]:")
    print(f"{'dtype':<10}{'rms':>10}{'largest':>10}")
    for dtype in MEASURED:
        floor = noise_floor(_load(name_or_path, dtype))
        print(f"{dtype:<10}{floor.rms:>10.2g}{floor.largest:>10.2g}", flush=True)


def _load(name_or_path: str | None, dtype: DType) -> LanguageModel:
    if name_or_path is None:
        return load_bundled(dtype=dtype)
    return load_model(name_or_path, dtype=dtype, device_map=None)


if __name__ == "__main__":
    sys.exit(main())
