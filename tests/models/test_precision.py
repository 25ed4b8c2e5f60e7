import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from attribot.models import precision
from attribot.models.__main__ import main
from attribot.models.loading import computing_device, load_model
from attribot.models.precision import ProbedDtype, matmul_seconds, probe_dtype, probed_dtype
from attribot.scoring.noise import NoiseFloor
from tests.models.tiny import tiny_language_model

CPU = torch.device("cpu")


class FakeTimer:
    """Seconds per dtype: the first call of each is slow, one later call is disturbed."""

    def __init__(self, full: float, half: float) -> None:
        self.seconds = {
            torch.float32: [50.0, full, full, 90 * full, full, full],
            torch.bfloat16: [99.0, half, half, half, half, 80 * half],
        }
        self.calls: list[torch.dtype] = []

    def __call__(self, dtype: torch.dtype) -> float:
        self.calls.append(dtype)
        return self.seconds[dtype].pop(0)


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    """What a test makes believe must not reach the next one."""
    precision._probe_once.cache_clear()
    yield
    precision._probe_once.cache_clear()


def pretend(half: float) -> Callable[[torch.dtype], float]:
    """A timer under which bfloat16 takes `half` seconds and float32 one."""
    return lambda dtype: half if dtype == torch.bfloat16 else 1.0


@pytest.mark.parametrize(
    ("full", "half", "expected"),
    [
        (3.0, 1.0, ProbedDtype(torch.bfloat16, 3.0)),
        (1.5, 1.0, ProbedDtype(torch.bfloat16, 1.5)),
        (1.25, 1.0, ProbedDtype(torch.float32, 1.25)),
        (1.0, 2.0, ProbedDtype(torch.float32, 0.5)),
    ],
)
def test_bfloat16_where_it_is_clearly_faster(
    full: float, half: float, expected: ProbedDtype
) -> None:
    timer = FakeTimer(full, half)
    assert probe_dtype(CPU, timer) == expected
    assert timer.calls == [torch.float32, torch.bfloat16] * 6


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_float16_on_an_accelerator_without_timing(device: str) -> None:
    def never(dtype: torch.dtype) -> float:
        raise AssertionError(f"{dtype} was timed")

    assert probe_dtype(torch.device(device), never) == ProbedDtype(torch.float16, None)


def test_the_choice_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "attribot.models.precision"):
        probe_dtype(CPU, pretend(0.4))
        probe_dtype(torch.device("cuda"))
    threads = torch.get_num_threads()
    assert [record.getMessage() for record in caplog.records] == [
        "dtype=auto is bfloat16 on this CPU: bfloat16 is 2.50 times as fast as float32 with "
        f"{threads} threads",
        "dtype=auto is float16 on cuda",
    ]


def test_a_process_probes_once_per_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([ProbedDtype(torch.bfloat16, 2.0), ProbedDtype(torch.float32, 1.0)])
    monkeypatch.setattr(precision, "probe_dtype", lambda _: next(answers))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert [probed_dtype(CPU).dtype for _ in range(3)] == [torch.bfloat16] * 3
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert [probed_dtype(CPU).dtype for _ in range(3)] == [torch.float32] * 3


def test_the_real_machine_gives_a_consistent_answer() -> None:
    probed = probe_dtype(CPU)
    assert probed.speedup is not None
    assert probed.speedup > 0
    assert (probed.dtype == torch.bfloat16) == (probed.speedup >= precision.MIN_SPEEDUP)
    assert 0 < matmul_seconds(torch.float32) < 5


@pytest.mark.parametrize(
    ("device_map", "expected"),
    [
        (None, "cpu"),
        ("cpu", "cpu"),
        ("cuda:1", "cuda:1"),
        ({"": "cpu"}, "cpu"),
        ({"model.layers": "disk", "lm_head": "cpu"}, "cpu"),
        ({"model.embed_tokens": "cpu", "model.layers": "cuda:1"}, "cuda:1"),
    ],
)
def test_a_device_map_computes_on_its_accelerator(
    device_map: str | dict[str, str] | None, expected: str
) -> None:
    assert computing_device(device_map) == torch.device(expected)


@pytest.mark.parametrize("device_map", ["auto", "balanced", "balanced_low_0", "sequential"])
@pytest.mark.parametrize(("is_there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_an_automatic_map_takes_the_accelerator_where_there_is_one(
    device_map: str, is_there: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: is_there)
    found = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: found)
    assert computing_device(device_map) == torch.device(expected)


@pytest.mark.parametrize(
    ("bfloat16_seconds", "expected"), [(0.3, torch.bfloat16), (1.3, torch.float32)]
)
def test_models_load_in_the_probed_dtype(
    bfloat16_seconds: float, expected: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_language_model("llama")
    tiny.model.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    probe = probe_dtype(CPU, pretend(bfloat16_seconds))
    monkeypatch.setattr(precision, "probe_dtype", lambda _: probe)
    assert load_model(tmp_path, dtype="auto", device_map=None).model.dtype == expected


def test_the_command_prints_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = tiny_language_model("llama")
    tiny.model.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr("attribot.models.__main__.set_threads", lambda: 1)
    measured = ProbedDtype(torch.bfloat16, 2.9)
    monkeypatch.setattr("attribot.models.__main__.probe_dtype", lambda _: measured)
    floors = {"float32": 1.234e-5, "bfloat16": 0.21, "float16": 0.03}
    monkeypatch.setattr(
        "attribot.models.__main__.noise_floor",
        lambda model: NoiseFloor(model.dtype, floors[model.dtype], 3 * floors[model.dtype], 16),
    )
    assert main(["precision", "--model", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "bfloat16 is 2.90 times as fast as float32 on 1 CPU thread(s): dtype=auto is bfloat16",
        "deviation of leave-one-out scores from float32 arithmetic [nats]:",
        "dtype            rms   largest",
        "float32      1.2e-05   3.7e-05",
        "bfloat16        0.21      0.63",
        "float16         0.03      0.09",
    ]


def test_the_command_says_which_model_it_cannot_load(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["precision", "--model", "./absent"]) == 1
    assert "cannot load the model './absent'" in capsys.readouterr().err
