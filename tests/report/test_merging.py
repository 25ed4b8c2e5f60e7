"""One report of several runs."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from attribot.errors import RecordsError
from attribot.manifest import DatasetSummary
from attribot.records import Records, merge_records
from attribot.report.curve import curve_of
from attribot.report.summary import summarise
from experiments.report import main


def other(records: Records, **changes: object) -> Records:
    """The same run on a data set of another name, whose examples have other ids."""
    tables = {
        name: getattr(records, name).assign(
            dataset="second", example_id="second-" + getattr(records, name)["example_id"]
        )
        for name in ("examples", "sources", "costs", "metrics")
    }
    summary = DatasetSummary("second", num_read=7, dropped={"too long": 4})
    manifest = replace(records.manifest, run_id="ba9876543210", dataset=summary, **changes)
    return Records(manifest, **tables)


def test_merged_runs_keep_their_rows_and_gain_a_row_over_all(records: Records) -> None:
    merged = merge_records([records, other(records)])
    summary = summarise(merged)
    alone = summarise(records)
    first = summary[summary["dataset"] == "made_up"].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, alone)
    assert list(summary["dataset"].unique()) == ["made_up", "second", "all"]
    of_all = summary[summary["dataset"] == "all"].set_index("method")
    assert of_all.loc["hierarchical", "num_examples"] == 2 * alone["num_examples"].max()
    assert merged.manifest.dataset == DatasetSummary(
        "made_up + second", 11, {"made_up: empty response": 1, "second: too long": 4}
    )
    curve = curve_of(summary, merged.manifest)
    assert curve.title == "Faithfulness against speed: 2 data sets, n = 6, 4 with outliers"
    assert curve.subtitle[0] == "data sets made_up, second"
    assert merged.manifest.run_id == "0123456789ab + ba9876543210"


@pytest.mark.parametrize("changes", [{"seed": 1}, {"git_commit": "0ff1ce"}])
def test_runs_that_differ_in_more_than_examples_are_refused(
    records: Records, changes: dict[str, object]
) -> None:
    with pytest.raises(RecordsError, match=f"differ in {next(iter(changes))}"):
        merge_records([records, other(records, **changes)])


def test_the_command_wants_a_place_for_several_runs(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(run_dir), str(run_dir)])
    assert "--output" in capsys.readouterr().err
