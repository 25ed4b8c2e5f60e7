"""Files of learned attributors: what was saved is loaded, anything else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attribot.attributors.at2 import AT2
from attribot.attributors.fw_shapley import FWShapley
from attribot.attributors.trained_for import TrainedFor
from attribot.errors import InvalidInputError
from attribot.learned.saved import (
    SavedEstimator,
    load_at2,
    load_fw_shapley,
    read_estimator,
    sha_of_ids,
)
from tests.attributors.test_at2 import WEIGHTS
from tests.attributors.test_fw_shapley import network

MODEL = TrainedFor.of("planted", {"weights": "planted", "double_bos": False})
TRAINING = {"dataset": "tiny", "num_ablations": 16, "estimator": {"beta": None}}
HELD_OUT = {"correlation": {"at2": {"mean": 0.5, "low": None}}}
ESTIMATORS: dict[str, Any] = {
    "at2": (AT2(WEIGHTS, MODEL), load_at2),
    "fw_shapley": (FWShapley(network(), MODEL), load_fw_shapley),
}


def written(path: Path, attributor: AT2 | FWShapley) -> Path:
    SavedEstimator.of(attributor, TRAINING, HELD_OUT).write(path)
    return path


def changed(path: Path, **changes: Any) -> Path:
    """The file with some of its fields replaced."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_what_was_saved_is_loaded(tmp_path: Path, kind: Any) -> None:
    attributor, load = ESTIMATORS[kind]
    path = written(tmp_path / "new" / "estimator.json", attributor)
    assert load(str(path)) == attributor
    assert load(str(path), role="proxy").role == "proxy"
    assert load(str(path), allow_other_model=True).trained_for is None
    saved = read_estimator(path, kind)
    assert (saved.model, saved.training, saved.held_out) == (MODEL, TRAINING, HELD_OUT)


def test_a_network_without_hidden_units_is_loaded(tmp_path: Path) -> None:
    attributor = FWShapley(network(num_hidden=0), MODEL)
    assert load_fw_shapley(str(written(tmp_path / "linear.json", attributor))) == attributor


def test_the_file_says_what_it_holds(tmp_path: Path) -> None:
    fields = json.loads(written(tmp_path / "at2.json", AT2(WEIGHTS, MODEL)).read_text())
    assert list(fields)[:3] == ["format_version", "kind", "model"]
    assert fields["model"] == {
        "name": "planted",
        "fingerprint": {"double_bos": False, "weights": "planted"},
    }
    assert fields["feature_names"][4] == "attention.layer1.head1"
    assert (fields["training"], fields["held_out"]) == (TRAINING, HELD_OUT)


def test_a_path_keeps_its_estimator(tmp_path: Path) -> None:
    path = written(tmp_path / "at2.json", AT2(WEIGHTS, MODEL))
    before = path.read_bytes()
    written(path, AT2(WEIGHTS, MODEL))
    with pytest.raises(InvalidInputError, match="stands already and holds something else: name"):
        written(path, AT2(((1.0,),), MODEL))
    assert path.read_bytes() == before


def test_an_attributor_without_a_model_is_not_saved() -> None:
    with pytest.raises(InvalidInputError, match="AT2 names no model: nothing to save"):
        SavedEstimator.of(AT2(WEIGHTS), TRAINING, HELD_OUT)


def test_values_that_json_lacks_are_not_saved(tmp_path: Path) -> None:
    saved = SavedEstimator.of(AT2(WEIGHTS, MODEL), {"mean": float("nan")}, HELD_OUT)
    with pytest.raises(InvalidInputError, match="an estimator holds plain values only"):
        saved.write(tmp_path / "at2.json")
    assert not (tmp_path / "at2.json").exists()


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_wrong_kind_is_refused(tmp_path: Path, kind: str) -> None:
    attributor, _ = ESTIMATORS[kind]
    path = written(tmp_path / "one.json", attributor)
    ((other, (_, load)),) = [item for item in ESTIMATORS.items() if item[0] != kind]
    with pytest.raises(InvalidInputError, match=f"kind '{other}', but .* holds '{kind}'; known"):
        load(str(path))


@pytest.mark.parametrize(("kind", "name"), [("at2", "weights"), ("fw_shapley", "linear")])
@pytest.mark.parametrize("damage", ["missing", "ragged", "text", "list"])
def test_damaged_parameters_are_refused(tmp_path: Path, kind: str, name: str, damage: str) -> None:
    attributor, load = ESTIMATORS[kind]
    path = written(tmp_path / "one.json", attributor)
    parameters = json.loads(path.read_text())["parameters"]
    if damage == "missing":
        del parameters[name]
    elif damage == "list":
        parameters = [parameters]
    else:
        parameters[name] = {"ragged": [[1.0], [1.0, 2.0]], "text": "much"}[damage]
    changed(path, parameters=parameters)
    with pytest.raises(InvalidInputError, match=r"one\.json is damaged .*: restore it or train it"):
        load(str(path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "has format version 2, this attribot reads version 1: train"),
        ({"reading": "gradient_norm"}, "reads 'gradient_norm', expected 'head_attention'"),
        ({"feature_names": ["a"]}, "trained on 1 features, of which this attribot computes 0"),
        ({"model": {"name": "x"}}, "is damaged"),
        ({"model": None}, "is damaged"),
        ({"surplus": 1}, "is damaged"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = changed(written(tmp_path / "at2.json", AT2(WEIGHTS, MODEL)), **changes)
    with pytest.raises(InvalidInputError, match=message):
        load_at2(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot read .*at2\.json \(No such file .*train estimator=at2 output="),
        ("{", "is no estimator of attribot: "),
        ("[1]", "is no estimator of attribot: it names no format_version"),
    ],
)
def test_no_estimator_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "at2.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidInputError, match=message):
        load_at2(str(path))


def test_sets_of_examples_are_told_apart() -> None:
    assert sha_of_ids(["a", "b"]) == sha_of_ids(["b", "a"]) != sha_of_ids(["a,b"])
    assert len(sha_of_ids([])) == 16


def test_loaded_numbers_are_exact(tmp_path: Path) -> None:
    weights = tuple(map(tuple, np.random.default_rng(0).normal(size=(3, 5)).tolist()))
    path = written(tmp_path / "at2.json", AT2(weights, MODEL))
    assert load_at2(str(path)).weights == weights
