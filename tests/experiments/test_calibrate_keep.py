"""Thresholds from records: by hand on planted rows, and the command on a whole run."""

from dataclasses import replace

import numpy as np
import pytest

from attribot.attributors.adaptive_keep import recall_threshold
from attribot.evaluation.outliers import TopScores
from attribot.recording import RecordWriter
from attribot.records import read_records
from experiments.calibrate_keep import calibrate, main, screened_examples
from tests.synthetic_run import SENTENCES, continue_run, example_row, manifest, pair_rows

NUM_EXAMPLES = 18
# Of every other example; the screens believe in the order of the sources.
REFERENCE_SCORES = ((2.0, 1.0, -1.0, -2.0), (0.1, 5.0, 0.2, 0.3))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Finished, with planted reference scores."""
    path = tmp_path_factory.mktemp("runs") / "run"
    with RecordWriter(path, manifest(naive=None)) as writer:
        for index in range(NUM_EXAMPLES):
            example = example_row(index)
            writer.write_example(example)
            for method in writer.manifest.methods:
                sources, cost, metrics = pair_rows(example, method)
                if method == "reference":
                    planted = zip(sources, REFERENCE_SCORES[index % 2], strict=True)
                    sources = [replace(row, score=score) for row, score in planted]
                writer.write_method(sources, cost, metrics)
        writer.finish()
    return path


def test_distances_are_those_of_the_units_that_hold_the_outliers(run_dir):
    records = read_records(run_dir)
    found = screened_examples(records, "similarity", "sentence", TopScores(1), "rank")
    assert len(found) == NUM_EXAMPLES
    # The screen ranks the sources in order, and the outlier is the first or the second source.
    assert [example.outliers.tolist() for example in found] == [[0], [1]] * (NUM_EXAMPLES // 2)
    assert [example.units.tolist() for example in found] == [[0, 1, 2, 3]] * NUM_EXAMPLES


def test_paragraphs_are_units_too(run_dir):
    records = read_records(run_dir)
    found = screened_examples(records, "similarity", "paragraph", TopScores(3), "rank_share")
    # Sources 0 and 1, or 1, 2 and 3, in two paragraphs of two.
    assert [e.units.tolist() for e in found] == [[0, 0.5]] * NUM_EXAMPLES
    assert [e.outliers.tolist() for e in found] == [[0, 0], [0, 0.5, 0.5]] * (NUM_EXAMPLES // 2)


def test_pruned_sources_are_farthest(run_dir):
    records = read_records(run_dir)
    _, second, *_ = screened_examples(records, "hierarchical", "sentence", TopScores(3), "gap")
    assert second.units.tolist() == [0, 1, 2, 2]
    assert second.outliers.tolist() == [1, 2, 2]


def test_examples_without_outliers_are_left_out(run_dir):
    records = read_records(run_dir)
    flat = records.sources["score"].where(records.sources["method"] != "reference", -1.0)
    without = replace(records, sources=records.sources.assign(score=flat))
    assert screened_examples(without, "similarity", "sentence", TopScores(1), "gap") == []


def test_the_threshold_is_of_all_examples_and_checked_on_others(run_dir):
    records = read_records(run_dir)
    examples = screened_examples(records, "similarity", "sentence", TopScores(1), "rank")
    found = calibrate(examples, recall=0.75, seed=0)
    assert found.threshold == recall_threshold([e.outliers for e in examples], 0.75) == 1
    assert found.num_units == len(SENTENCES)
    # Half of the examples need two units, so nearly every half is calibrated to two of them.
    assert 0.95 < found.recall <= 1
    assert calibrate(examples, 0.5, seed=0) == calibrate(examples, 0.5, seed=0)
    assert calibrate(examples, 0.5, seed=0) != calibrate(examples, 0.5, seed=1)


def test_the_command_prints_thresholds_and_how_to_use_them(run_dir, capsys):
    main([str(run_dir), str(run_dir), "--screen", "similarity", "--outliers", "top_1"])
    out = capsys.readouterr().out
    assert "similarity keeps 90% of outliers: 36 examples with outliers" in " ".join(out.split())
    rows = {words[0]: words[1:] for line in out.splitlines() if len(words := line.split()) == 5}
    assert rows["rank"] == ["1", "1.00", "2.00", "4.00"]
    assert rows["rank_share"] == ["0.25", "1.00", "2.00", "4.00"]
    assert "keep@pruning.method.keep=recall" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--screen", "embedding"], r"no method 'embedding'.*'similarity'"),
        (["--screen", "similarity", "--recall", "0.99"], "needs at least 99"),
        (["--screen", "similarity", "--recall", "1.5"], "between 0 and 1"),
    ],
)
def test_the_command_says_what_is_wrong(run_dir, options, message):
    with pytest.raises(SystemExit, match=message):
        main([str(run_dir), *options])


def test_an_unfinished_run_calibrates_by_what_is_done(tmp_path):
    continue_run(tmp_path, num_pairs=7)
    records = read_records(tmp_path)
    done = records.costs[records.costs["method"] == "similarity"]["example_id"]
    found = screened_examples(records, "similarity", "sentence", TopScores(1), "rank")
    assert len(found) == len(done) == 1


def test_units_are_numbered_in_document_order(run_dir):
    """Ties go to the earlier document, whatever the documents are called."""
    records = read_records(run_dir)
    renamed = records.sources["document_id"].map({"page 0": "z", "page 1": "a"})
    tied = records.sources.assign(document_id=renamed, score=1.0, priority=1.0)
    one_sided = replace(records, sources=tied)
    (first, *_) = screened_examples(one_sided, "similarity", "document", TopScores(1), "rank")
    assert first.outliers.tolist() == [0]
    np.testing.assert_array_equal(first.units, [0, 1])
