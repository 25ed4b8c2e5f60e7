"""docs/methods.md is what docstrings, YAML heads and the table of the comparison say."""

import re
from dataclasses import dataclass

import pandas as pd
import pytest

from attribot.attributors.context_cite import ContextCite
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.leave_two_out import LeaveTwoOut
from attribot.attributors.random_scores import RandomScores
from attribot.errors import InvalidInputError
from experiments.methods_page.__main__ import (
    ABSENT,
    CONF,
    REPOSITORY,
    Links,
    main,
    methods_page,
    read_comparison,
)
from experiments.methods_page.descriptions import (
    QUANTITIES,
    Description,
    description_of,
    head_of,
    method_class,
    methods_of,
)

DOCS = REPOSITORY / "docs"
LINKS = Links(DOCS)
FIRST_RESULTS = REPOSITORY / "results" / "first_results"
OPTIONS = sorted((CONF / "attributor").glob("*.yaml"))
PARTS = {
    "Formula": "    score(s) = 0",
    "Measures": "Measures: nothing, ever.",
    "Use": "Use: never.",
    "Cost": "Cost: a pass.",
    "Source": "Source: ours.",
}


@pytest.fixture(scope="module")
def standard():
    """The methods that the first results hold, with their numbers."""
    return read_comparison(FIRST_RESULTS, "standard", LINKS)


@pytest.fixture(scope="module")
def standard_page(standard):
    return methods_page(standard, LINKS)


def method_with(parts):
    method = dataclass(frozen=True)(type("Made", (), {}))
    method.__doc__ = "\n\n".join(["Made up.", *parts])
    return method


def section(page, name):
    return re.search(rf"^### {name}\n(.*?)(?=^##)", page, flags=re.S | re.M).group(1)


@pytest.mark.slow
def test_the_committed_page_is_what_the_command_writes():
    committed = (DOCS / "methods.md").read_text(encoding="utf-8")
    comparison = read_comparison(REPOSITORY / "results" / "comparison", "comparison", LINKS)
    page = methods_page(comparison, LINKS)
    assert page == committed, "run `python -m experiments.methods_page`"


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_every_attributor_says_all_that_the_page_needs(path):
    target = re.search(r"^_target_: (\S+)", path.read_text(encoding="utf-8"), flags=re.M).group(1)
    method = method_class(target)
    description = description_of(method)
    assert description.summary.endswith(".")
    for part in ("Measures", "Use"):
        assert re.search(rf"^    {part}: .+\.$", method.__doc__, flags=re.M), "on one line"


@pytest.mark.parametrize("missing", PARTS)
def test_a_missing_part_is_named(missing):
    parts = [text for name, text in PARTS.items() if name != missing]
    name = "formula" if missing == "Formula" else f"`{missing}:`"
    with pytest.raises(InvalidInputError, match=f"Made lacks: {name}.*add_a_method.md"):
        description_of(method_with(parts))


def test_a_class_without_a_docstring_is_refused():
    with pytest.raises(InvalidInputError, match=r"lacks: `Measures:`, `Use:`, .* formula"):
        description_of(dataclass(type("Bare", (), {})))


def test_a_part_that_stands_twice_is_refused():
    with pytest.raises(InvalidInputError, match="says something twice"):
        description_of(method_with([*PARTS.values(), "Cost: more."]))


def test_an_unknown_quantity_lists_the_known_ones():
    parts = PARTS | {"Measures": "Measures: needs, of each source."}
    with pytest.raises(InvalidInputError, match=r"measures 'needs'; known.*necessity, suff"):
        description_of(method_with(parts.values()))


def test_a_docstring_is_read_part_by_part():
    """Labels may follow one another in a paragraph, and lines may break anywhere."""
    text = """Gives all sources the same.

        score(s) = 1
        for all s

    Measures: nothing, at
        all.
    Use: never. Here is why.

    Nothing of Note: is read.

    Cost: none; 2 * n + 1
    at worst. Source: ours;
    section 3.

    role: whose scores.
    """
    method = type("Made", (), {"__doc__": text})
    expected = Description(
        summary="Gives all sources the same.",
        formula="score(s) = 1\nfor all s",
        measures="nothing, at all.",
        use="never. Here is why.",
        cost="none; 2 * n + 1 at worst.",
        source="ours; section 3.",
    )
    assert description_of(method) == expected
    assert expected.quantity == "nothing"


def test_a_class_is_found_behind_the_function_that_loads_it():
    options = methods_of(CONF / "attributor")
    assert {method.__name__ for method in options} >= {"AT2", "FWShapley", "LeaveOneOut"}
    assert options[LeaveOneOut] == ["loo"]
    assert sorted(name for names in options.values() for name in names) == [p.stem for p in OPTIONS]


def test_a_head_ends_where_its_commands_begin(tmp_path):
    path = tmp_path / "option.yaml"
    path.write_text("# Does this\n# and that.\n#\n#   python -m experiments.run\n# late\nk: 1\n")
    assert head_of(path) == "Does this and that."


def test_the_numbers_are_those_of_the_table(standard_page):
    table = pd.read_csv(FIRST_RESULTS / "tables" / "curve.csv")
    row = table[(table["dataset"] == "all") & (table["method"] == "context_cite_16")].iloc[0]
    cells = [row["label"]]
    for name, form in (
        ("average_precision", "{:.3f}"),
        ("spearman", "{:.3f}"),
        ("flops_saving", "{:.2f}×"),
    ):
        value, low, high = (form.format(row[name + end]) for end in ("", "_low", "_high"))
        cells.append(f"{value} [{low}, {high}]")
    cells.append(f"{row['forward_passes']:.1f}")
    shown = section(standard_page, "ContextCite").splitlines()[-2]
    assert [cell.strip() for cell in shown.strip("|").split("|")][:5] == cells
    assert "Means over 100 questions of hotpotqa, qasper, squad" in standard_page


def test_methods_find_their_rows(standard):
    assert standard.by_class[LeaveOneOut] == ["loo_naive", "loo", "proxy_loo"]
    assert standard.by_class[ContextCite] == ["context_cite_16"]
    assert standard.by_pruning["hierarchical"] == ["hierarchical_k1"]
    assert list(standard.rows(["random", "absent"]).index) == ["random"]


def test_a_method_without_a_row_says_so(standard_page):
    assert section(standard_page, "LeaveTwoOut").rstrip().endswith(f"{ABSENT.capitalize()}.")
    assert re.search(rf"\| necessity +\| \[LeaveTwoOut\].*{ABSENT}", standard_page)
    assert ABSENT.capitalize() not in section(standard_page, "LeaveOneOut")
    assert re.search(rf"`pruning=exact`.*{ABSENT}", standard_page)


def test_a_table_without_a_column_is_refused(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "curve.csv").write_text("dataset,method\nsquad,loo\n")
    with pytest.raises(InvalidInputError, match=r"curve\.csv has no column 'average_precision'"):
        read_comparison(tmp_path, "exact", LINKS)


def test_the_overview_has_every_method_in_the_order_of_the_sections(standard_page):
    overview = standard_page.split("## Overview")[1].split("\n## ")[0]
    linked = re.findall(r"^\| ([\w ]+?) +\| \[(\w+)\]\(#(\w+)\)", overview, flags=re.M)
    every_heading = re.findall(r"^#+ (.+)$", standard_page, flags=re.M)
    assert len(every_heading) == len({heading.lower() for heading in every_heading})
    headings = re.findall(r"^### (\w+)$", standard_page, flags=re.M)
    assert [name for _, name, _ in linked] == headings[:-1]
    assert headings[-1] == "TwoStage"
    assert all(anchor == name.lower() for _, name, anchor in linked)
    order = [list(QUANTITIES).index(quantity) for quantity, _, _ in linked]
    assert order == sorted(order)
    assert {LeaveTwoOut.__name__, RandomScores.__name__} <= {name for _, name, _ in linked}


def test_the_command_writes_the_page_before_there_are_results(tmp_path, capsys):
    """Its links are right from where it stands."""
    output = tmp_path / "page.md"
    main(["--output", str(output), "--methods", "exact", "--results", str(tmp_path)])
    assert capsys.readouterr().out.strip() == str(output)
    page = output.read_text(encoding="utf-8")
    assert "The comparison has not been run yet." in page
    assert page.count(f"{ABSENT.capitalize()}.") == len(methods_of(CONF / "attributor"))
    for link in re.findall(r"\]\(([^)#]+)\)", page):
        assert (tmp_path / link).exists(), link
