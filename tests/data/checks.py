"""What must hold for every example of every data set."""

from collections.abc import Iterable

from attribot.context.partition import NupunktSplitter, build_tree, gold_sources
from attribot.types import Example


def check_examples(examples: Iterable[Example]) -> list[int]:
    """Every char is rendered and every gold span resolves; returns the numbers of sources."""
    splitter = NupunktSplitter()
    num_sources, seen = [], set()
    for example in examples:
        tree = build_tree(example, splitter)
        assert tree.render(tree.all_kept()) == tree.text
        position = 0
        for document in example.documents:
            for text in (document.header, *(p.header + p.text for p in document.paragraphs)):
                found = tree.text.find(text, position)
                assert not tree.text[position : max(found, 0)].strip(), text
                position = found + len(text)
        assert not tree.text[position:].strip()
        assert example.query.strip()
        assert gold_sources(tree, example)
        for source in range(tree.num_sources):
            assert tree.source_text(source).strip() == tree.source_text(source) != ""
        num_sources.append(tree.num_sources)
        seen.add(example.example_id)
    assert len(seen) == len(num_sources)
    return num_sources


def gold_texts(example: Example) -> list[str]:
    tree = build_tree(example, NupunktSplitter())
    return [tree.source_text(source) for source in gold_sources(tree, example)]
