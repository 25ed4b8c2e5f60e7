"""Progress, cancelling, taking up again, and threads."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attribot.errors import AttributionCancelledError
from attribot.explain import attribute as attribute_module
from attribot.explain.models import lock_of
from attribot.explain.terminal import TerminalBar
from attribot.models.language_model import LanguageModel
from tests.explain.cases import NUM_SOURCES, ask, tiny
from tests.models.tiny import tiny_language_model

STEP = 2


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribute_module, "PROMPTS_PER_STEP", STEP)


@pytest.mark.usefixtures("small_steps")
def test_progress_counts_prompts_up_to_the_plan() -> None:
    seen: list[tuple[int, int, str]] = []
    result = ask(method="loo", progress=lambda *step: seen.append(step))
    counted = [(done, total) for done, total, text in seen if text == "exact leave-one-out"]
    assert counted == [(0, 6), (2, 6), (4, 6), (6, 6)]
    assert seen[-1] == (6, 6, "done")
    assert result.cost.forward_passes == 1 + NUM_SOURCES


@pytest.mark.usefixtures("small_steps")
def test_steps_change_no_number() -> None:
    whole, stepped = ask(method="loo"), ask(method="loo", progress=lambda *_: None)
    np.testing.assert_allclose(stepped.scores, whole.scores, atol=1e-5, rtol=0)
    assert stepped.cost.computed_tokens == whole.cost.computed_tokens


class StopAfter:
    """Asks to stop, or interrupts, once so many prompts are scored."""

    def __init__(self, num_prompts: int, interrupts: bool = False) -> None:
        self.num_prompts, self.interrupts, self.is_over = num_prompts, interrupts, False

    def __call__(self, done: int, total: int, text: str) -> None:  # noqa: ARG002
        self.is_over = done >= self.num_prompts
        if self.is_over and self.interrupts:
            raise KeyboardInterrupt

    def is_set(self) -> bool:
        return self.is_over


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("interrupts", [False, True])
@pytest.mark.parametrize("method", ["loo", "mask"])
def test_a_stopped_call_is_taken_up_again(tmp_path: Path, interrupts: bool, method: str) -> None:
    """What was scored is not scored again, and the numbers are those of a call never stopped."""
    cache, stop = tmp_path / "scores.sqlite", StopAfter(4, interrupts)
    expected = ask(method=method)
    error = KeyboardInterrupt if interrupts else AttributionCancelledError
    with pytest.raises(error):
        ask(method=method, cache=cache, progress=stop, cancel=stop)
    resumed = ask(method=method, cache=cache)
    np.testing.assert_allclose(resumed.scores, expected.scores, atol=1e-4, rtol=0)
    assert 0 < resumed.cost.forward_passes <= expected.cost.forward_passes - 3
    if method == "loo":
        assert resumed.cost.forward_passes == 1 + NUM_SOURCES - 4
    assert ask(method=method, cache=cache).cost.forward_passes == 0


def test_the_models_own_answer_is_kept_as_well(tmp_path: Path) -> None:
    model = tiny_language_model("llama", seed=3)
    arguments: dict[str, Any] = {
        "model": model,
        "response": None,
        "max_new_tokens": 7,
        "method": "loo",
        "cache": tmp_path / "scores.sqlite",
    }
    first = ask(**arguments)
    calls: list[Any] = []
    model.model.generate = lambda *each, **named: calls.append((each, named))  # type: ignore[method-assign, assignment]
    again = ask(**arguments)
    assert not calls
    assert (again.response, again.scores.tolist()) == (first.response, first.scores.tolist())


def test_cancelled_at_once_nothing_is_loaded() -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(AttributionCancelledError, match="cancelled after 0 prompts; with cache="):
        ask(cancel=cancel, model="nobody/nothing")


def test_progress_counts_the_tokens_of_the_models_answer() -> None:
    seen: list[tuple[int, int, str]] = []
    ask(response=None, max_new_tokens=7, progress=lambda *step: seen.append(step))
    counted = [step[:2] for step in seen if step[2] == "the model answers"]
    assert counted == [(done, 7) for done in range(8)]
    assert seen[8] == (0, 0, "planning")


class Passes:
    """Counts the passes of a model, and calls back in one of them."""

    def __init__(self, model: LanguageModel, number: int, call: Callable[[], object]) -> None:
        self.count, self.number, self.call = 0, number, call
        model.model.register_forward_hook(self)

    def __call__(self, *_: Any) -> None:
        self.count += 1
        if self.count == self.number:
            self.call()


@pytest.mark.parametrize("by_thread", [False, True])
def test_a_call_is_cancelled_while_the_model_answers(tmp_path: Path, by_thread: bool) -> None:
    """After the third token, of which nothing is kept; the same call then writes all of them."""
    model = tiny_language_model("llama", seed=3)
    arguments: dict[str, Any] = {
        "model": model,
        "response": None,
        "max_new_tokens": 13,
        "method": "loo",
    }
    expected = ask(**arguments)
    arguments["cache"] = tmp_path / "scores.sqlite"
    cancel, third = threading.Event(), threading.Event()

    def set_by_thread() -> None:
        third.set()
        assert cancel.wait(60)

    def set_by_progress(done: int, _: int, text: str) -> None:
        if not by_thread and (done, text) == (3, "the model answers"):
            cancel.set()

    passes = Passes(model, 3, set_by_thread if by_thread else lambda: None)
    stopper = threading.Thread(target=lambda: third.wait(60) and cancel.set())
    stopper.start()
    with pytest.raises(AttributionCancelledError):
        ask(**arguments, cancel=cancel, progress=set_by_progress)
    third.set()
    stopper.join()
    assert passes.count == 3
    resumed = ask(**arguments)
    assert resumed.response == expected.response
    np.testing.assert_allclose(resumed.scores, expected.scores, atol=1e-5, rtol=0)
    count = passes.count
    assert ask(**arguments).response == expected.response
    assert passes.count == count


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize(
    ("method", "num_before"),
    [("auto", 2), ("loo", 0)],  # "auto" plans one pass, and the least that leave-one-out costs
)
def test_a_call_is_cancelled_while_it_plans(
    method: str, num_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the prompts of the plan, those of the first step are read, and no pass is run."""
    model = tiny_language_model("llama", seed=3)
    passes, cancel = Passes(model, 1, lambda: None), threading.Event()
    read: list[str] = []
    encode = LanguageModel.encode_prompt

    def encode_prompt(self: LanguageModel, prompt: str) -> Any:
        read.append(prompt)
        if len(read) == num_before + 1:
            cancel.set()
        return encode(self, prompt)

    monkeypatch.setattr(LanguageModel, "encode_prompt", encode_prompt)
    with pytest.raises(AttributionCancelledError):
        ask(model=model, method=method, cancel=cancel, progress=lambda *_: None)
    assert (len(read), passes.count) == (num_before + STEP, 0)


def test_a_call_that_waits_for_its_model_is_cancelled() -> None:
    """Although the thread that runs the model does not let go of it."""
    cancel = threading.Event()
    with ThreadPoolExecutor(1) as pool, lock_of(tiny()):
        waiting = pool.submit(ask, method="loo", cancel=cancel)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.1)
        cancel.set()
        with pytest.raises(AttributionCancelledError):
            waiting.result(timeout=60)


@pytest.mark.slow
def test_a_call_is_cancelled_before_noise_is_measured() -> None:
    cancel = threading.Event()

    def report(_: int, __: int, text: str) -> None:
        assert text != "done"
        if text == "measuring rounding noise":
            cancel.set()

    with pytest.raises(AttributionCancelledError):
        ask(method="loo", measure_noise=True, cancel=cancel, progress=report)


def test_threads_take_turns_with_a_model() -> None:
    """Never two passes at once, although one method changes the model's attention meanwhile."""
    model = tiny_language_model("llama", seed=1)
    expected = {
        name: ask(model=model, method=name, scorer="naive") for name in ("loo", "attention")
    }
    inside: list[int] = []
    most: list[int] = []

    def enter(*_: Any) -> None:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.005)

    model.model.register_forward_pre_hook(enter)
    model.model.register_forward_hook(lambda *_: inside.pop() and None)
    with ThreadPoolExecutor(4) as pool:
        names = ["loo", "attention"] * 4
        found = list(pool.map(lambda name: ask(model=model, method=name, scorer="naive"), names))
    assert max(most) == 1
    for name, result in zip(names, found, strict=True):
        np.testing.assert_allclose(result.scores, expected[name].scores, atol=1e-4, rtol=0)


def test_models_do_not_wait_for_each_other() -> None:
    """A thread that holds one model's lock stops nobody who asks another."""
    other = tiny_language_model("llama", seed=5)
    with ThreadPoolExecutor(1) as pool, lock_of(tiny()):
        assert pool.submit(ask, model=other, method="loo").result(timeout=60).sources


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_drawn_on_terminals_only() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        bar = TerminalBar(stream)
        bar(3, 12, "exact leave-one-out")
        bar(12, 12, "done")
    assert file.getvalue() == ""
    first, last = terminal.getvalue().split("\r\x1b[K")[1:]
    assert first.startswith("[########                      ] 3/12, ")
    assert first.endswith("exact leave-one-out")
    assert last.startswith("[" + "#" * 30 + "] 12/12")
    assert last.endswith("done\n")


def test_progress_true_writes_nothing_into_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    ask(method="loo", progress=True)
    assert capsys.readouterr() == ("", "")
