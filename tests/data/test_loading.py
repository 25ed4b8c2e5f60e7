import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from attribot.data.hotpotqa import HotpotQADataset
from attribot.data.loading import DatasetLoader, Dropped, context_words, read_json, require, window
from attribot.data.qasper import QasperDataset
from attribot.data.squad import SquadDataset
from attribot.errors import InvalidInputError
from attribot.types import Document, Example, Paragraph

# Options that build on another one name only what they change.
CONF = [
    path
    for path in sorted((Path(__file__).parents[2] / "conf" / "dataset").glob("*.yaml"))
    if "defaults:" not in path.read_text(encoding="utf-8")
]
OFFICIAL = [SquadDataset, HotpotQADataset, QasperDataset]


def numbered(number: int, words: int) -> Example:
    document = Document((Paragraph("w " * words),))
    return Example(f"q{number}", "numbers", "test", "?", (document,))


@dataclass(frozen=True, kw_only=True)
class Numbers(DatasetLoader):
    """Ten questions; 2 and 5 are dropped, question n has n words."""

    def candidates(self) -> Iterator[Example | Dropped]:
        for number in range(10):
            yield Dropped("unlucky") if number in (2, 5) else numbered(number, number)


@pytest.mark.parametrize(
    ("settings", "taken", "num_read", "dropped"),
    [
        ({}, [0, 1, 3, 4, 6, 7, 8, 9], 10, {"unlucky": 2}),
        ({"max_examples": 3}, [0, 1, 3], 4, {"unlucky": 1}),
        ({"max_examples": 2, "offset": 3}, [4, 6], 7, {"unlucky": 2}),
        (
            {"max_context_words": 6, "offset": 1},
            [1, 3, 4, 6],
            10,
            {"unlucky": 2, "context longer than 6 words": 3},
        ),
    ],
)
def test_what_is_taken_read_and_dropped(
    settings: dict[str, int], taken: list[int], num_read: int, dropped: dict[str, int]
) -> None:
    loaded = Numbers(**settings).load()
    assert [example.example_id for example in loaded.examples] == [f"q{n}" for n in taken]
    assert loaded.num_read == num_read
    assert loaded.dropped == dropped
    passed = settings.get("offset", 0)
    assert loaded.num_read == passed + len(loaded.examples) + sum(loaded.dropped.values())


def test_no_usable_example_says_why() -> None:
    with pytest.raises(InvalidInputError, match=r"10 questions read, 8 passed .*'unlucky': 2"):
        Numbers(offset=8).load()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"offset": -1}, "offset must be at least 0; got -1"),
        ({"max_examples": 0}, "max_examples must be at least 1, or null for no limit; got 0"),
        ({"max_context_words": -3}, "max_context_words must be at least 1.*got -3"),
    ],
)
def test_bad_settings(settings: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Numbers(**settings)


@pytest.mark.parametrize(
    ("num_units", "gold", "limit", "kept"),
    [
        (7, [5], None, (0, 1, 2, 3, 4, 5, 6)),
        (7, [5], 3, (0, 1, 5)),
        (7, [0, 6], 3, (0, 1, 6)),
        (7, [1, 3, 5], 2, (1, 3, 5)),
        (3, [1], 11, (0, 1, 2)),
        (3, [], 2, (0, 1)),
    ],
)
def test_window(num_units: int, gold: list[int], limit: int | None, kept: tuple[int, ...]) -> None:
    assert window(num_units, gold, limit) == kept


def test_context_words_counts_headers() -> None:
    paragraphs = (Paragraph("one two.", header="three "), Paragraph(" four\n"))
    assert context_words(Example("", "", "", "", (Document(paragraphs, "five six\n"),))) == 6


def test_read_json_errors(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"absent\.json \(No such file.*or do that"):
        read_json(tmp_path / "absent.json", "do that")
    broken = tmp_path / "broken.json"
    broken.write_text('{"a": ')
    with pytest.raises(InvalidInputError, match=r"broken\.json is not valid JSON: .*line 1"):
        read_json(broken, "do that")


def test_require_errors() -> None:
    with pytest.raises(InvalidInputError, match=r"row 3: expected an object with \['a'\]; got int"):
        require(3, ("a",), "row 3")
    with pytest.raises(InvalidInputError, match=r"expected the keys \['b'\]; found \['a', 'c'\]"):
        require({"c": 0, "a": 0}, ("a", "b"), "row 3")


@pytest.mark.parametrize("dataset", OFFICIAL)
def test_missing_file_names_path_and_hub_id(dataset: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "absent.json"
    with pytest.raises(InvalidInputError, match=r"absent\.json .*path=null downloads '\w+/\w+'"):
        dataset(path=str(path)).load()


@pytest.mark.parametrize("dataset", OFFICIAL)
def test_a_file_of_another_schema(dataset: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"version": {"title": "x"}}))
    with pytest.raises(InvalidInputError, match="expected"):
        dataset(path=str(path)).load()


@pytest.mark.parametrize("dataset", OFFICIAL)
def test_hub_package_missing(dataset: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InvalidInputError, match=r"needs the package datasets.*or set path"):
        dataset().load()


@pytest.mark.parametrize("dataset", OFFICIAL)
def test_hub_failure(dataset: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(InvalidInputError, match=r"ConnectionError: no route\); set path"):
        dataset().load()


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_configuration_names_every_field(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    config = {key: value for key, value in yaml.safe_load(text).items() if key != "_convert_"}
    module, name = config.pop("_target_").rsplit(".", 1)
    loader = getattr(importlib.import_module(module), name)
    assert set(config) == {each.name for each in fields(loader)}
    differing = {
        each.name
        for each in fields(loader)
        if each.default is not MISSING and config[each.name] != each.default
    }
    assert differing <= {"max_examples", "compat_paragraph_leaves"}
    assert text.splitlines()[1].startswith(f"# python -m experiments.run dataset={path.stem}")


def test_every_data_set_has_a_configuration() -> None:
    assert [path.stem for path in CONF] == ["examples", "hotpotqa", "jsonl", "qasper", "squad"]
