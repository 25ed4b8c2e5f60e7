"""The bundled examples: their promised properties."""

import pytest

from attribot.context.partition import NupunktSplitter, build_tree, gold_sources
from attribot.data.examples import BundledDataset
from attribot.types import Example
from tests.data.checks import check_examples, gold_texts

EXAMPLES = BundledDataset().load().examples


def tags(example: Example) -> tuple[str, ...]:
    return tuple(example.documents[0].metadata["tags"])


def test_the_collection() -> None:
    assert len(EXAMPLES) == 20
    check_examples(EXAMPLES)
    assert len({example.documents[0].metadata["domain"] for example in EXAMPLES}) >= 10
    counts = {
        tag: sum(tag in tags(example) for example in EXAMPLES)
        for tag in ("one_hop", "two_hop", "duplicated_fact", "braces", "german")
    }
    assert counts == {
        "one_hop": 12,
        "two_hop": 8,
        "duplicated_fact": 3,
        "braces": 1,
        "german": 1,
    }
    assert len({example.query for example in EXAMPLES}) == 20


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.example_id)
def test_size_and_gold(example: Example) -> None:
    tree = build_tree(example, NupunktSplitter())
    num_words = [len(tree.source_text(source).split()) for source in range(tree.num_sources)]
    assert 3 <= len(tree.units("paragraph")) <= 6
    assert 10 <= tree.num_sources <= 25
    assert 180 <= sum(num_words) <= 350
    assert min(num_words) >= 7
    assert max(num_words) <= 20
    assert len({tree.source_text(source) for source in range(tree.num_sources)}) == len(num_words)
    num_facts = 1 if "one_hop" in tags(example) else 2
    num_doubles = 1 if "duplicated_fact" in tags(example) else 0
    assert len(gold_sources(tree, example)) == num_facts + num_doubles


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.example_id)
def test_the_answer_stands_in_gold_sources_only(example: Example) -> None:
    assert example.answer is not None
    tree = build_tree(example, NupunktSplitter())
    gold = gold_texts(example)
    holding = [text for text in gold if example.answer.lower() in text.lower()]
    num_statements = 2 if "duplicated_fact" in tags(example) else 1
    assert len(holding) == num_statements
    if "braces" not in tags(example):
        everywhere = tree.text.lower().count(example.answer.lower())
        assert everywhere == num_statements


def test_braces_are_plain_text() -> None:
    (example,) = (each for each in EXAMPLES if "braces" in tags(each))
    tree = build_tree(example, NupunktSplitter())
    assert all(piece in tree.text for piece in ("{context}", "{x}", "{{x}}", '{"a": x}'))
