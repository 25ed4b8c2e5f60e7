"""A figure that is not its cell's does not pass, however close the page's other numbers are."""

import pandas as pd
import pytest

from tests.quoted_numbers import Figure, blocks, problems, read_figures

ROWS = [
    # dataset, method, label, num_examples, mAP with interval, speedup with interval, cost
    ("squad", "loo", "LOO, packed", 13, 0.9194, 0.8751, 0.9561, 2.8397, 2.7, 2.9, 0.0029),
    ("squad", "proxy", "proxy LOO", 13, 0.9379, 0.8984, 0.9716, 2.1083, 2.0, 2.2, 0.0175),
    ("all", "loo", "LOO, packed", 1044, 0.9304, 0.8901, 0.9603, 2.4363, 2.3, 2.5, 0.0029),
    ("all", "proxy", "proxy LOO", 1044, 0.9414, 0.9001, 0.9805, 2.1121, 2.0, 2.2, 0.0175),
]
COLUMNS = ["dataset", "method", "label", "num_examples"]
COLUMNS += ["map", "map_low", "map_high", "speedup", "speedup_low", "speedup_high", "cost"]
PAGE = """# Costs

| tokens | packed / naive [at most 0.80] | outside |
|--------|-------------------------------|---------|
| 400    | 0.82 [0.81, 0.83], n = 2      | 0.7%    |
| 600    | 0.84 [0.82, 0.85], n = 2      | –       |

15 pairs of
methods tested.
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two experiments whose tables differ in the second digit, and one without a CSV."""
    root = tmp_path_factory.mktemp("results")
    for name, shift in (("first", 0.0), ("second", 0.01)):
        frame = pd.DataFrame(ROWS, columns=COLUMNS)
        frame[["map", "map_low", "map_high"]] += shift
        (root / name).mkdir()
        frame.to_csv(root / name / "curve.csv", index=False)
        (root / name / "curve.md").write_text("as in the CSV", encoding="utf-8")
    (root / "costs").mkdir()
    (root / "costs" / "costs.md").write_text(PAGE, encoding="utf-8")
    return root


def problems_of(page, results):
    found = [problem for block in blocks(page, results, results) for problem in problems(block)]
    return "; ".join(found)


LEAD = "In [a table](first/curve.md)\n"
COSTS = "In [a table](costs/costs.md) "


@pytest.mark.parametrize(
    "page",
    [
        LEAD + "0.930 [0.890, 0.960]. <!-- loo: map -->",
        LEAD + "for 1,044 examples\nin 2 rows. <!-- loo: num_examples; all: rows -->",
        LEAD + "0.93 at 2.44× [2.3, 2.5], 0.94 at 2.1×. <!-- loo, proxy: map, speedup -->",
        LEAD + "0.9194 and 93.8%. <!-- squad & loo, proxy: map -->",
        LEAD + '0.930. <!-- "LOO, packed": map -->',
        LEAD + "345×, not 57×. <!-- loo, proxy: 1/cost -->",
        LEAD + "0.930 with 16 passes. <!-- loo: map; setting: 16 passes -->",
        LEAD + "a 135M model, 95%\nintervals, `x = 0.5`, BM25, Coder-1.5B, [a.3.yaml](b-2.yaml).",
        "# A\n\n" + LEAD + "\n- 0.930 <!-- loo: map -->\n- 0.941\n  <!-- proxy: map -->",
        "[a](second/curve.md)\n\n- [b](first/curve.md) 0.930 <!-- loo: map -->\n"
        "- 0.940 <!-- loo: map -->",
        LEAD + "\n<!-- all & $: map, speedup -->\n\n| | of 1,044 <!-- loo: num_examples --> |\n"
        "|---|---|\n| LOO, packed | 0.930 at 2.44× |\n| proxy LOO | 0.941 at 2.11× |",
        COSTS + "0.82 [0.81, 0.83], 0.7%. <!-- 400: packed / naive, outside -->",
        COSTS + "15 pairs. <!-- page: 15 pairs of methods -->",
        "```\n0.5\n\n- 0.6\n```",
    ],
)
def test_a_figure_of_its_cell_passes(page, results):
    assert problems_of(page, results) == ""


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("0.931. <!-- loo: map -->", "0.931 is 0.930 in loo: map"),  # altered in the third digit
        ("0.940. <!-- loo: map -->", "0.940 is 0.930"),  # from the other folder
        ("0.941. <!-- loo: map -->", "0.941 is 0.930"),  # of another row
        ("0.919. <!-- loo: map -->", "0.919 is 0.930"),  # of another data set
        ("0.890. <!-- loo: map -->", "0.890 is 0.930"),  # an end of the interval
        ("0.930 [0.900, 0.980]. <!-- loo: map -->", "0.900 is 0.890"),  # another row's interval
        ("0.930 [0.960, 0.890]. <!-- loo: map -->", "0.960 is 0.890"),
        ("0.930 [0.890, 0.961]. <!-- loo: map -->", "0.961 is 0.960"),
        ("0.941, 0.930. <!-- loo, proxy: map -->", "0.941 is 0.930"),  # in another order
        ("345× [1, 2]. <!-- loo: 1/cost -->", "there is no interval"),
        ("2.44. <!-- loo: speedup -->", "× stands behind savings"),
        ("0.93×. <!-- loo: map -->", "× stands behind savings"),
        ("0.93x. <!-- loo: map -->", "× stands behind savings"),
        ("1,045. <!-- loo: num_examples -->", "1,045 is 1044"),
        ("3. <!-- all: rows -->", "3 is 2 in all: rows"),
        ("0.930.", "0.930 has no cell"),
        ("0.930, 17. <!-- loo: map -->", "17 has no cell"),
        ("0.930. <!-- loo: map, speedup -->", "nothing is quoted for"),
        ("17 passes. <!-- setting: 16 passes -->", "'16 passes' does not stand in the text"),
        ("116 passes. <!-- setting: 16 passes -->", "'16 passes' does not stand in the text"),
        ("136M", "136M has no cell"),
        ("4-20 <!-- setting: 4 -->", "20 has no cell"),
        ("0.930. <!-- loo: mAP -->", "there is no loo: mAP in curve.md"),
        ("0.930. <!-- LOO: map -->", "there is no LOO: map in curve.md"),
        ("0.930. <!-- 1044: map -->", "expected one row with these words, found 2"),
        ("0.930. <!-- loo map -->", "expected `ROWS: COLUMNS`"),
        ("[0.890, 0.960]. <!-- loo: map -->", "has no number of its own before it"),
        ("15. <!-- page: 15 pairs -->", "'15 pairs' does not stand on a linked page"),
    ],
)
def test_any_other_figure_does_not(page, problem, results):
    assert problem in problems_of(LEAD + page, results)


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("0.81. <!-- 400: packed / naive -->", "0.81 is 0.82"),
        ("0.82 [0.82, 0.85]. <!-- 400: packed / naive -->", "0.82 is 0.81"),
        ("0.6%. <!-- 400: outside -->", "0.6 is 0.7"),
        ("0.6%. <!-- 600: outside -->", "outside is '–', which has no number"),
        ("16. <!-- page: 15 pairs -->", "16: the page says 15"),
        ("15. <!-- page: 5 pairs -->", "'5 pairs' does not stand on a linked page"),
    ],
)
def test_pages_without_a_csv_are_held_to_their_own_tables(page, problem, results):
    assert problem in problems_of(COSTS + page, results)


def test_links_count_under_their_heading_alone(results):
    page = LEAD + "\n# Next\n\n0.930 <!-- loo: map -->"
    assert problems_of(page, results) == "there is no loo: map in nothing, for no table is linked"


def test_a_row_of_a_table_is_held_to_its_label(results):
    page = LEAD + "\n<!-- $: map -->\n\n| | mAP |\n|---|---|\n| proxy LOO | 0.930 |"
    assert "0.930 is 0.941 in proxy LOO: map" in problems_of(page, results)


def test_phrases_held_elsewhere_need_no_cell(results):
    (block,) = blocks("with 13 to\n15 sources, and 13.", results, results)
    assert problems(block, ["13 to 15 sources"]) == ["13 has no cell"]


def test_figures_are_read_with_units_and_intervals():
    text = "1.79× the speed [-0.5, 2.0], 19% of v1.2.3 or qwen-1.5b, -1,200 0.25x 0.9. 1e-4"
    assert list(read_figures(text)) == [
        Figure("1.79", "×", ("-0.5", "2.0")),
        Figure("19", "%"),
        Figure("-1,200"),
        Figure("0.25", "x"),
        Figure("0.9"),
        Figure("1", "e"),
    ]
