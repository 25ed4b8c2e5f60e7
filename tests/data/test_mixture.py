from dataclasses import dataclass

import pytest

from attribot.data.loading import DatasetLoader, Dropped
from attribot.data.mixture import MixtureDataset
from attribot.errors import InvalidInputError
from attribot.types import Document, Example, Paragraph


@dataclass(frozen=True, kw_only=True)
class Numbered(DatasetLoader):
    name: str
    size: int

    def candidates(self):
        yield Dropped("unanswerable")
        for i in range(self.size):
            documents = (Document((Paragraph("A sentence."),)),)
            yield Example(f"{self.name}{i}", self.name, "dev", "Who?", documents)


def test_parts_take_turns_by_their_share_and_report_what_they_dropped():
    mixture = MixtureDataset(
        parts={"a": Numbered(name="a", size=4), "b": Numbered(name="b", size=2)}
    )
    loaded = mixture.load()
    assert [e.example_id for e in loaded.examples] == ["a0", "b0", "a1", "a2", "b1", "a3"]
    assert loaded.num_read == 8
    assert loaded.dropped == {"a: unanswerable": 1, "b: unanswerable": 1}


def test_nothing_to_mix_is_an_error():
    with pytest.raises(InvalidInputError, match="parts"):
        MixtureDataset(parts={})
