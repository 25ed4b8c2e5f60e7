"""What all data sets share: where rows come from, which examples are taken, what was dropped."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attribot.errors import InvalidInputError
from attribot.types import Example

# The hub keeps a Parquet copy of every data set there; loading scripts no longer run.
PARQUET_BRANCH = "refs/convert/parquet"


@dataclass(frozen=True)
class Dropped:
    """A question that cannot be used, and why."""

    reason: str


@dataclass(frozen=True)
class LoadedExamples:
    """The examples taken from a data set.

    num_read: questions looked at; those taken, those dropped and those before the offset.
    dropped: number of questions dropped, by reason.
    """

    examples: tuple[Example, ...]
    num_read: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class DatasetLoader(ABC):
    """Takes examples in the order of the data set.

    offset: usable examples passed over first.
    max_examples: examples taken then; None takes all.
    max_context_words: an example whose context, after any other reduction, has more words
        (separated by white space) is dropped and counted; None keeps all.
    """

    offset: int = 0
    max_examples: int | None = None
    max_context_words: int | None = None

    def __post_init__(self) -> None:
        if self.offset < 0:
            raise InvalidInputError(f"offset must be at least 0; got {self.offset}")
        check_limit("max_examples", self.max_examples)
        check_limit("max_context_words", self.max_context_words)

    @abstractmethod
    def candidates(self) -> Iterator[Example | Dropped]:
        """Every question of the data set in order, as an example or as dropped."""

    def load(self) -> LoadedExamples:
        """Read until `max_examples` are taken or the data set ends.

        Raises:
            InvalidInputError: the data cannot be read, or no example is left.
        """
        examples: list[Example] = []
        dropped: Counter[str] = Counter()
        num_read, num_passed = 0, 0
        for candidate in map(self._check_length, self.candidates()):
            num_read += 1
            if isinstance(candidate, Dropped):
                dropped[candidate.reason] += 1
            elif num_passed < self.offset:
                num_passed += 1
            else:
                examples.append(candidate)
            if len(examples) == self.max_examples:
                break
        if not examples:
            raise InvalidInputError(
                f"{type(self).__name__} has no usable example: {num_read} questions read, "
                f"{num_passed} passed over by offset={self.offset}, dropped {dict(dropped)}"
            )
        return LoadedExamples(tuple(examples), num_read, dict(dropped))

    def _check_length(self, candidate: Example | Dropped) -> Example | Dropped:
        limit = self.max_context_words
        if isinstance(candidate, Dropped) or limit is None or context_words(candidate) <= limit:
            return candidate
        return Dropped(f"context longer than {limit} words")


@dataclass(frozen=True, kw_only=True)
class OfficialDataset(DatasetLoader):
    """A published data set: its official JSON file, or else its copy on the Hugging Face hub.

    path: the official file; None loads `hub_id` instead, which needs the network once.
    hub_id, config, revision: data set, subset and branch, tag or commit on the hub; the branch
        must hold Parquet files named `{config}/{split}/*.parquet`.
    split: recorded with every example; chooses the split on the hub.
    """

    path: str | None = None
    hub_id: str
    config: str
    split: str
    revision: str = PARQUET_BRANCH

    def official_rows(self) -> Any:
        """The content of the official file, whichever way it came."""
        if self.path is None:
            return self.from_hub(self._hub_rows())
        return read_json(Path(self.path), f"path=null downloads {self.hub_id!r} from the hub")

    @abstractmethod
    def from_hub(self, rows: Iterable[Mapping[str, Any]]) -> Any:
        """Rows in the hub's schema, brought into that of the official file."""

    def _hub_rows(self) -> Iterable[Mapping[str, Any]]:
        try:
            from datasets import load_dataset
        except ImportError as error:
            raise InvalidInputError(
                f"loading {self.hub_id!r} from the hub needs the package datasets: "
                "`pip install 'attribot[experiments]'`, or set path to the official file"
            ) from error
        files = {self.split: f"{self.config}/{self.split}/*.parquet"}
        try:
            rows: Iterable[Mapping[str, Any]] = load_dataset(
                self.hub_id, data_files=files, split=self.split, revision=self.revision
            )
        except (OSError, ValueError) as error:
            raise InvalidInputError(
                f"cannot load {files[self.split]} of {self.hub_id!r} at {self.revision!r} from "
                f"the hub ({type(error).__name__}: {error}); set path to the official file instead"
            ) from error
        return rows


def read_json(path: Path, alternative: str) -> Any:
    """The content of a JSON file.

    Raises:
        InvalidInputError: no such file, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(
            f"cannot read {path} ({error.strerror}): give the official file, or {alternative}"
        ) from error
    except ValueError as error:
        raise InvalidInputError(f"{path} is not valid JSON: {error}") from error


def require(record: Any, keys: Iterable[str], where: str) -> None:
    """Check that `record` is an object with `keys`.

    Raises:
        InvalidInputError: it is not; the message names `where` and the keys found.
    """
    if not isinstance(record, Mapping):
        raise InvalidInputError(
            f"{where}: expected an object with {list(keys)}; got {type(record).__name__}"
        )
    missing = [key for key in keys if key not in record]
    if missing:
        raise InvalidInputError(f"{where}: expected the keys {missing}; found {sorted(record)}")


def check_limit(name: str, value: int | None) -> None:
    """Raises InvalidInputError unless `value` is None or at least 1."""
    if value is not None and value < 1:
        raise InvalidInputError(f"{name} must be at least 1, or null for no limit; got {value}")


def window(num_units: int, gold: Iterable[int], limit: int | None) -> tuple[int, ...]:
    """The units kept when a context is cut down to `limit` documents or paragraphs.

    All gold units stay, then the first others until `limit` are reached; the order is that of the
    data set. More gold units than `limit` all stay. Ours, to fit contexts to small machines.
    """
    units = range(num_units)
    if limit is None:
        return tuple(units)
    kept = set(gold)
    others = [unit for unit in units if unit not in kept]
    kept.update(others[: max(0, limit - len(kept))])
    return tuple(sorted(kept))


def context_words(example: Example) -> int:
    """Words, separated by white space, of all headers and paragraphs."""
    return sum(
        len(text.split())
        for document in example.documents
        for text in (
            document.header,
            *(f"{paragraph.header} {paragraph.text}" for paragraph in document.paragraphs),
        )
    )
