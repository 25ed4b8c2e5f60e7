"""docs/methods.md is what names, docstrings, YAML heads and the table of the comparison say."""

import re
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace

import pandas as pd
import pytest

from attribot.attributors.context_cite import ContextCite
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.leave_two_out import LeaveTwoOut
from attribot.attributors.random_scores import RandomScores
from attribot.errors import InvalidInputError, MissingExtraError
from attribot.explain.methods import METHODS, admitted
from attribot.models.embedder import SentenceEmbedder
from attribot.report.tables import MISSING
from attribot.scoring.engine import LikelihoodEngine
from experiments.methods_page.__main__ import ABSENT, main, methods_page
from experiments.methods_page.comparison import read_comparison
from experiments.methods_page.descriptions import (
    QUANTITIES,
    Description,
    description_of,
    head_of,
    method_class,
    methods_of,
)
from experiments.methods_page.links import CONF, REPOSITORY, Links
from experiments.methods_page.names import NUM_WORDS, names_section, planned, planned_job
from tests.attributors.fakes import LetterCountEmbedder
from tests.explain.cases import ask
from tests.models.tiny import tiny_language_model

DOCS = REPOSITORY / "docs"
LINKS = Links(DOCS)
FIRST_RESULTS = REPOSITORY / "results" / "first_results"
OPTIONS = sorted((CONF / "attributor").glob("*.yaml"))
COLUMNS = ("Scores in", "Cost", "Parts", "Needs")
# Cells of a method of each kind; costs are one pass, one and the way back, none.
SOME_NAMES = {
    "proxy_mask": ("nats", "5.4", "any", "proxy, hiding"),
    "contextcite": ("logits", "14.8", "asked", "`baselines`"),
    "attention": ("attention mass", "1.0", "none", MISSING),
    "gradient_norm": ("gradient norm", "2.0", "none", MISSING),
    "similarity": ("cosine", "0.0", "asked", "`baselines`"),
}
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
    return methods_page(standard, LINKS, ["## Names"])


@pytest.fixture(scope="module")
def some_names():
    """The section of `SOME_NAMES`."""
    return "\n\n".join(names_section(LINKS, {name: METHODS[name] for name in SOME_NAMES}))


@pytest.fixture(scope="module")
def every_name():
    return rows_by_name("\n\n".join(names_section(LINKS)))


def method_with(parts):
    method = dataclass(frozen=True)(type("Made", (), {}))
    method.__doc__ = "\n\n".join(["Made up.", *parts])
    return method


def table(page, heading):
    """Rows of the first table under a heading, by column."""
    lines = re.search(rf"^## {heading}\n.*?\n((?:\|[^\n]*\n)+)", page, flags=re.S | re.M).group(1)
    columns, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()
    ]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def rows_by_name(page):
    return {row["`method=`"].split("`")[1]: row for row in table(page, "Names")}


def section(page, name):
    return re.search(rf"^### {name}\n(.*?)(?=^##)", page, flags=re.S | re.M).group(1)


@pytest.mark.slow
def test_the_committed_page_is_what_the_command_writes():
    committed = (DOCS / "methods.md").read_text(encoding="utf-8")
    comparison = read_comparison(REPOSITORY / "results" / "comparison", "comparison", LINKS)
    page = methods_page(comparison, LINKS, names_section(LINKS))
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


@pytest.mark.slow
def test_the_command_writes_the_page_before_there_are_results(tmp_path, capsys):
    """Its links are right from where it stands."""
    output = tmp_path / "page.md"
    main(["--output", str(output), "--methods", "exact", "--results", str(tmp_path)])
    assert capsys.readouterr().out.strip() == str(output)
    page = output.read_text(encoding="utf-8")
    assert "The comparison has not been run yet." in page
    assert page.count(f"{ABSENT.capitalize()}.") == len(methods_of(CONF / "attributor"))
    for link in re.findall(r"\]\(([^)#]+)(?:#.*?)?\)", page):
        assert (tmp_path / link).exists(), link


@pytest.mark.slow
def test_every_name_has_its_row(every_name):
    assert list(every_name) == list(METHODS)


@pytest.mark.parametrize("name", SOME_NAMES)
def test_a_row_says_what_the_method_is(name, some_names):
    row = rows_by_name(some_names)[name]
    assert row["What it does"] == METHODS[name].what
    assert tuple(row[column] for column in COLUMNS) == SOME_NAMES[name]


@pytest.mark.slow
def test_names_lead_to_sections(every_name, standard_page):
    headings = re.findall(r"^### (\w+)$", standard_page, flags=re.M)
    for name, row in every_name.items():
        target = type(METHODS[name].attributor).__name__
        assert row["`method=`"] == f"[`{name}`](#{target.lower()})"
        assert target in headings


def test_the_cost_of_leave_one_out_is_that_of_what_stands_behind_each_source():
    job = planned_job()
    model, problem = job.scorers["target"].language_model, job.problem
    prompt = problem.prompt()
    num_prompt = len(model.encode_prompt(prompt).token_ids)
    num_response = len(model.encode_response(problem.response))
    num_after_first = num_prompt - len(prompt[: prompt.index("W0x0x0")].split()) - NUM_WORDS
    # The last token of the response predicts nothing.
    tokens = num_prompt + num_response - 1
    for index in range(problem.tree.num_sources):
        tokens += num_after_first - index * NUM_WORDS + num_response - 1
    assert planned(job, LeaveOneOut()).cost.computed_tokens == tokens


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_method_fails_without_what_it_needs(name, every_name, monkeypatch):
    """And without that alone."""
    proxy = tiny_language_model("qwen2", seed=2)
    monkeypatch.setattr("attribot.explain.scorers.SentenceEmbedder", LetterCountEmbedder)

    def fails(**changes):
        try:
            ask(method=name, **{"proxy": proxy} | changes)
        except (InvalidInputError, MissingExtraError):
            return True
        return False

    assert not fails()
    failing = {"proxy": fails(proxy=None)}
    with monkeypatch.context() as patch:
        patch.setattr(LikelihoodEngine, "masking_refusal", lambda *_: "it hides nothing")
        failing["hiding"] = fails()
    for package in ("bm25s", "sklearn", "sklearn.linear_model", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("attribot.explain.scorers.SentenceEmbedder", SentenceEmbedder)
    # Leave-two-out screens where there are more pairs than it may look at.
    failing["`baselines`"] = fails(context=[f"The bridge has {n} arches." for n in range(23)])
    needs = ", ".join(need for need, fails_without in failing.items() if fails_without)
    assert every_name[name]["Needs"] == (needs or MISSING)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_parts_are_those_that_the_method_attributes(name, every_name, monkeypatch):
    monkeypatch.setattr("attribot.explain.scorers.SentenceEmbedder", LetterCountEmbedder)
    proxy = tiny_language_model("qwen2", seed=2)
    kind = every_name[name]["Parts"]
    result = ask(method=name, proxy=proxy)
    with nullcontext() if kind == "any" else pytest.raises(InvalidInputError, match="by token"):
        result.span(0, 5)
    with pytest.raises(InvalidInputError) if kind == "none" else nullcontext():
        assert len(ask(method=name, proxy=proxy, spans=[(0, 5)]).spans) == 1


def test_the_lists_of_auto_depend_on_the_model(some_names):
    rows = table(some_names, "How `auto` chooses")
    names = [row["Tried in this order"].replace("`", "").split(", ") for row in rows]
    hiding, paired, *_ = names
    job = planned_job()
    alone = replace(job, scorers={"target": job.scorers["target"]})
    assert (hiding, paired) == (admitted(alone), admitted(job))
    assert [{"mask", "hierarchical_full"} & set(each) for each in names] == [
        {"mask"},
        {"mask"},
        {"hierarchical_full"},
        {"hierarchical_full"},
    ]
    assert ["proxy_mask" in each or "proxy_full" in each for each in names] == [False, True] * 2
