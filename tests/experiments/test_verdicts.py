"""The verdict table from a made-up table, and every way in which a verdict is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from attribot.errors import InvalidInputError
from experiments.verdicts.__main__ import MEANINGS, build, main
from tests.synthetic_run import continue_run

CURVE = pd.DataFrame(
    {
        "dataset": ["squad", "squad", "all", "all"],
        "method": ["loo", "proxy", "loo", "proxy"],
        "speedup": [1.5, 2.5, 1.8, 2.0],
        "speedup_low": [1.4, 2.4, 1.7, 1.9],
        "speedup_high": [1.6, 2.6, 1.9, 2.1],
        "mAP": [1.0, 0.8, 1.0, 0.7],
        "worst": [1.0, 0.6, 1.0, 0.5],
        "best": [1.0, 0.9, 1.0, 0.9],
    }
)
CLAIMS: dict[str, Any] = {
    "results": {"first": {"scale": "tiny", "command": "make first"}},
    "sections": [
        {
            "title": "The paper's",
            "claims": [
                {
                    "claim": "Reuse saves",
                    "paper": "1.5x",
                    "table": "first/tables/curve.csv",
                    "ours": {
                        "speed": {
                            "rows": {"dataset": "all", "method": "loo"},
                            "value": "speedup",
                            "format": "{:.1f}x",
                        }
                    },
                    "expect": ["value > 1.5", "high < 2"],
                    "verdict": "holds",
                    "reason": "simple",
                },
                {
                    "claim": "Proxies are exact|faithful",
                    "paper": "yes",
                    "table": "first/tables/curve.csv",
                    "ours": {
                        "the_proxy": {
                            "rows": {"dataset": "all", "method": "proxy"},
                            "value": "mAP",
                            "low": "worst",
                            "high": "best",
                        },
                        "exact": {
                            "rows": {"dataset": "all", "method": "loo"},
                            "value": "mAP",
                        },
                    },
                    "expect": ["the_proxy.high < exact.value"],
                    "verdict": "fails",
                    "reason": "small",
                },
            ],
        },
        {
            "title": "Ours",
            "claims": [
                {
                    "claim": "More",
                    "paper": "none",
                    "verdict": "cannot be tested here",
                    "reason": "no GPU",
                }
            ],
        },
    ],
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "first" / "tables").mkdir(parents=True)
    CURVE.to_csv(tmp_path / "first" / "tables" / "curve.csv", index=False)
    return tmp_path


def verdicts_of(results: Path, claims: dict[str, Any]) -> str:
    path = results / "claims.yaml"
    path.write_text(yaml.safe_dump(claims, sort_keys=False), encoding="utf-8")
    return build(path).read_text(encoding="utf-8")


def changed(**changes: Any) -> dict[str, Any]:
    """The claims with other fields in the first one."""
    claims = copy.deepcopy(CLAIMS)
    claims["sections"][0]["claims"][0] |= changes
    return claims


def with_query(**changes: Any) -> dict[str, Any]:
    """The claims with another query in the first one."""
    claims = copy.deepcopy(CLAIMS)
    claims["sections"][0]["claims"][0]["ours"]["speed"] |= changes
    return claims


def test_the_whole_page(results: Path) -> None:
    head = (
        "| claim | paper | ours | verdict | why (what was checked) | scale | table | command "
        "| commit |"
    )
    line = "| " + " | ".join(["---"] * 9) + " |"
    assert verdicts_of(results, CLAIMS) == "\n".join(
        [
            "# Claims and verdicts",
            "",
            "Written by `python -m experiments.verdicts` from [claims.yaml](claims.yaml) and the "
            "committed tables. 3 claims: holds 1, holds in direction 0, fails 1, cannot be tested "
            "here 1.",
            "",
            MEANINGS,
            "",
            "## The paper's",
            "",
            head,
            line,
            "| Reuse saves | 1.5x | 1.8x [1.7x, 1.9x] | **holds** | simple (`value > 1.5`, "
            "`high < 2`) | tiny | [first](first/tables/curve.csv) | `make first` | – |",
            "| Proxies are exact\\|faithful | yes | the proxy 0.700 [0.500, 0.900]<br>exact 1.000 "
            "| **fails** | small (`the_proxy.high < exact.value`) | tiny | "
            "[first](first/tables/curve.csv) | `make first` | – |",
            "",
            "## Ours",
            "",
            head,
            line,
            "| More | none | – | **cannot be tested here** | no GPU | – | – | – | – |",
            "",
        ]
    )


def test_commit_and_readable_table_are_found(results: Path) -> None:
    continue_run(results / "first" / "records" / "squad")
    (results / "first" / "tables" / "curve.md").touch()
    text = verdicts_of(results, CLAIMS)
    assert text.count("| [first](first/tables/curve.md) | `make first` | deadbee |") == 2


def test_a_verdict_that_its_number_contradicts_is_refused(results: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        verdicts_of(results, changed(expect=["value > 1.5", "value > 1.85"]))
    assert str(caught.value) == (
        "'Reuse saves' has the verdict 'holds', which implies 'value > 1.85', but its numbers are "
        "speed 1.8x [1.7x, 1.9x]: change the verdict and its reason"
    )
    assert not (results / "verdicts.md").exists()


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        (
            changed(verdict="probably"),
            "verdict 'probably'; known: holds, holds in direction, fails",
        ),
        (changed(expect=[]), "the verdict 'holds' needs an `expect`"),
        (changed(expected="value > 1"), "unknown key 'expected'"),
        (changed(table="first/curve.csv"), "no table 'first/curve.csv'; known: first/tables/curve"),
        (changed(table=""), "no table ''; known: first/tables/curve.csv"),
        (with_query(rows={"dataset": "all"}), "2 rows of first/tables/curve.csv have {'dataset'"),
        (with_query(rows={"dataset": "all", "method": "lo"}), "0 rows of first/tables/curve.csv"),
        (with_query(rows={"data": "all"}), "has no column 'data'; it has: dataset, method,"),
        (with_query(value="speed"), "has no column 'speed'"),
        (with_query(low="slow"), "has no column 'slow'"),
        ({**CLAIMS, "results": {}}, "`results` does not describe 'first'"),
        ({"sections": []}, "expected `results` and `sections`"),
    ],
)
def test_what_cannot_be_looked_up_is_refused(
    results: Path, claims: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        verdicts_of(results, claims)
    assert message in str(caught.value)


def test_the_command_says_what_is_wrong(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results / "claims.yaml"
    path.write_text("sections: [", encoding="utf-8")
    with pytest.raises(SystemExit, match="1"):
        main([str(path)])
    assert f"cannot read the claims in {path}" in capsys.readouterr().err
