"""Sentences of texts with Markdown in them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribot.context.partition import NupunktSplitter, PunktSplitter, SentenceSplitter
from attribot.errors import InvalidInputError
from attribot.explain.blocks import BlockSplitter, blocks_of, fenced_code
from tests.context.texts import NUM_EXAMPLES, any_text

SPLITTER = BlockSplitter(NupunktSplitter())


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in pairwise((0, *SPLITTER.split(text)))]


LIST = """\
I found this. It is short:

1. The lake freezes. It is **cold**.
2. The valley is narrow:
   - on one side,
\t* on the other.
• A word processor wrote this.
"""
HEADINGS = """\
# Lakes
Deep ones. Shallow ones.
Rivers
======
Long ones.

---
The end.
"""
TABLE = """\
Depths:
| lake | depth |
|:-----|------:|
| Ornvik. North | 4 m |
| Sund | 7 m |

Measured once.
"""
CODE = """\
Run this. Then wait:
```python
lake.freeze()  # cold. very cold

- 1
```
Done.
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            LIST,
            [
                "I found this. ",
                "It is short:\n\n",
                "1. The lake freezes. ",
                "It is **cold**.\n",
                "2. The valley is narrow:\n",
                "   - on one side,\n",
                "\t* on the other.\n",
                "• A word processor wrote this.\n",
            ],
        ),
        (
            HEADINGS,
            [
                "# Lakes\n",
                "Deep ones. ",
                "Shallow ones.\n",
                "Rivers\n======\n",
                "Long ones.\n\n---\n",
                "The end.\n",
            ],
        ),
        (
            TABLE,
            [
                "Depths:\n",
                "| lake | depth |\n|:-----|------:|\n",
                "| Ornvik. ",
                "North | 4 m |\n",
                "| Sund | 7 m |\n\n",
                "Measured once.\n",
            ],
        ),
        (CODE, ["Run this. ", "Then wait:\n", CODE[CODE.index("```") : -6], "Done.\n"]),
        ("One side\n \nno stop\n\n\nthe other", ["One side\n \n", "no stop\n\n\n", "the other"]),
        (
            "It was built in\n1871. Its lamp is old.",
            ["It was built in\n1871. ", "Its lamp is old."],
        ),
        ("Minus\r\n- one\r- two", ["Minus\r\n", "- one\r", "- two"]),
        ("* * *\nA rule. Two.", ["* * *\nA rule. ", "Two."]),
        ("", []),
        (" \n\n ", []),
        ("?", ["?"]),
    ],
    ids=lambda value: value[:9] if isinstance(value, str) else "",
)
def test_blocks_part_sentences(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```py\na\n\nb\n```\nc", ["```py\na\n\nb\n```\n"]),
        ("~~~\n```b\n~~~~\nc", ["~~~\n```b\n~~~~\n"]),
        # Cut inside the code: by the end of a response, or by whoever cut the documents.
        ("a\n```py\nb\n\nc", ["```py\nb\n\nc"]),
        ("a()\n```\nProse.\n```py\nb\n```", ["```py\nb\n```"]),
        ("a()\n```\nProse. More.", []),
        ("- so:\n  ```\n  b\n  ```\n- c", ["  ```\n  b\n  ```\n"]),
        ("- ```sh\n  b\n  ```\n- c", ["- ```sh\n  b\n  ```\n"]),
        ("```a``` and ```b```\nc", []),
        ("````md\n```py\nb\n```\n````", ["````md\n```py\nb\n```\n````"]),
    ],
)
def test_code_stays_whole(text: str, code: list[str]) -> None:
    assert [text[start:end] for start, end in fenced_code(text)] == code
    assert all(each in cut(text) for each in code)


_MARKS = (
    "- ",
    "1. ",
    "2) ",
    "# ",
    "> ",
    "```",
    "```py",
    "~~~",
    "| a | b |\n|--|--|\n",
    "---",
    "===",
)
_lines = st.lists(st.sampled_from(_MARKS) | any_text | st.just("\n"), max_size=12).map("".join)


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
def test_any_text_is_cut_into_pieces_that_say_something(num_examples: int) -> None:
    @settings(max_examples=num_examples, deadline=None)
    @given(_lines)
    def check(text: str) -> None:
        pieces = cut(text)
        assert "".join(pieces) == (text if text.strip() else "")
        assert all(map(str.strip, pieces))
        ends = {0, *SPLITTER.split(text)}
        code = fenced_code(text)
        blocks = blocks_of(text, code)
        assert "".join(text[start:end] for start, end in blocks) == text
        for start, end in code:
            assert not any(start < cut_at < end for cut_at in ends)

    check()


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
def test_a_line_of_prose_is_cut_as_the_splitter_does(num_examples: int) -> None:
    @settings(max_examples=num_examples, deadline=None)
    @given(any_text)
    def check(text: str) -> None:
        line = "So " + "".join(text.split("\n")).replace("\r", "")
        assert SPLITTER.split(line) == NupunktSplitter().split(line)

    check()


@pytest.mark.parametrize("splitter", [NupunktSplitter(), PunktSplitter()])
def test_the_number_of_an_item_is_no_sentence(splitter: SentenceSplitter) -> None:
    items = ["1870. Lake ice is cold. It is thin.\n", "1871. Done."]
    assert BlockSplitter(splitter).split("".join(items)) == (24, 36, 47)


@dataclass(frozen=True)
class Fixed:
    """A splitter that always gives the same ends."""

    ends: tuple[int, ...]

    def split(self, text: str) -> tuple[int, ...]:  # noqa: ARG002
        return self.ends


@pytest.mark.parametrize("ends", [(), (2,), (3, 3), (4,)])
def test_a_splitter_that_does_not_cut_its_text_is_refused(ends: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match=r"to the text's length 3; Fixed gave .* for 'abc'"):
        BlockSplitter(Fixed(ends)).split("abc")
