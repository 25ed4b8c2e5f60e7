"""One report of several runs."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from attribot.errors import RecordsError
from attribot.manifest import DatasetSummary
from attribot.records import Records
from attribot.report.curve import curve_of
from attribot.report.merging import merge_records
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


def resized(records: Records) -> Records:
    """The same questions under a configuration of another name."""
    summary = DatasetSummary("longer", num_read=3)
    return replace(
        records, manifest=replace(records.manifest, run_id="ba9876543210", dataset=summary)
    )


def test_sizes_of_one_data_set_are_told_apart_by_configuration(records: Records) -> None:
    merged = merge_records([resized(records), records])
    assert merged.examples["example_id"].tolist() == [
        f"{part}/example-{index}" for part in ("longer", "made_up") for index in range(3)
    ]
    summary = summarise(merged)
    assert summary["dataset"].unique().tolist() == ["longer", "made_up", "all"]
    for part in ("longer", "made_up"):
        own = summary[summary["dataset"] == part].reset_index(drop=True)
        pd.testing.assert_frame_equal(own, summarise(records).assign(dataset=part))


def test_the_order_of_runs_does_not_matter(records: Records) -> None:
    runs = [
        replace(
            resized(records),
            manifest=replace(
                records.manifest, run_id=name, dataset=DatasetSummary(name, num_read=3)
            ),
        )
        for name in ("samples_1200", "samples_600", "half")
    ]
    one, other = merge_records(runs), merge_records(runs[::-1])
    assert one.manifest == other.manifest
    assert one.metrics["dataset"].unique().tolist() == ["half", "samples_600", "samples_1200"]
    pd.testing.assert_frame_equal(one.metrics, other.metrics)


def test_the_parts_of_mixtures_are_told_apart_by_configuration_too(records: Records) -> None:
    def mixed(run: Records) -> Records:
        tables = {}
        for name in ("examples", "sources", "costs", "metrics"):
            rows = getattr(run, name)
            is_other = rows["example_id"] == "example-2"
            tables[name] = rows.assign(dataset=rows["dataset"].where(~is_other, "other"))
        return replace(run, **tables)

    alone = merge_records([mixed(records)])
    assert alone.examples["dataset"].tolist() == ["made_up", "made_up", "other"]
    merged = merge_records([mixed(records), mixed(resized(records))])
    assert merged.costs["dataset"].unique().tolist() == ["longer", "made_up"]
    assert len(merged.costs) == 2 * len(records.costs)


def test_runs_of_one_configuration_are_pooled_unless_they_repeat(records: Records) -> None:
    with pytest.raises(RecordsError, match=r"hold the example 'example-0' \(3 such examples\)"):
        merge_records([records, replace(records)])
    tables = {
        name: getattr(records, name).assign(
            example_id="more-" + getattr(records, name)["example_id"]
        )
        for name in ("examples", "sources", "costs", "metrics")
    }
    pooled = summarise(merge_records([records, replace(records, **tables)]))
    assert pooled["dataset"].unique().tolist() == ["made_up"]
    assert pooled["num_examples"].tolist() == [6] * 3


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
