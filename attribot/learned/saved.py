"""Learned attributors as files: JSON that says what was learned, for which model and from what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from attribot.attributors.at2 import AT2
from attribot.attributors.fw_shapley import FWShapley, SourceNetwork
from attribot.attributors.source_features import feature_names, head_names
from attribot.attributors.trained_for import TrainedFor
from attribot.durable import write_atomically
from attribot.errors import InvalidInputError
from attribot.scoring.readings import HeadAttention

FORMAT_VERSION = 1
Kind = Literal["at2", "fw_shapley"]


@dataclass(frozen=True)
class SavedEstimator:
    """The content of a file.

    kind: which attributor it is for.
    model: that it was trained for.
    reading: what it reads of the model.
    feature_names: inputs of the estimator, in the order of its parameters.
    parameters: the attributor's own.
    training: data set, examples, ablations, seed, objective: plain values.
    held_out: metrics on examples that were not trained on: plain values.
    """

    kind: Kind
    model: TrainedFor
    reading: str
    feature_names: tuple[str, ...]
    parameters: Mapping[str, Any]
    training: Mapping[str, Any]
    held_out: Mapping[str, Any]
    format_version: int = FORMAT_VERSION

    @classmethod
    def of(
        cls,
        attributor: AT2 | FWShapley,
        training: Mapping[str, Any],
        held_out: Mapping[str, Any],
    ) -> SavedEstimator:
        """What is to be kept of a learned attributor.

        Raises:
            InvalidInputError: the attributor does not say what model it is for.
        """
        if attributor.trained_for is None:
            raise InvalidInputError(f"{type(attributor).__name__} names no model: nothing to save")
        if isinstance(attributor, AT2):
            shape = len(attributor.weights), len(attributor.weights[0])
            kind: Kind = "at2"
            names, parameters = head_names(*shape), {"weights": attributor.weights}
        else:
            kind = "fw_shapley"
            num_layers = attributor.network.num_features - len(feature_names(0))
            names, parameters = feature_names(num_layers), asdict(attributor.network)
        model, reading = attributor.trained_for, HeadAttention.name
        return cls(kind, model, reading, names, parameters, training, held_out)

    def write(self, path: Path) -> None:
        """Writes the file, unless it stands already.

        Raises:
            InvalidInputError: another file does, or a value is not plain. Runs name an estimator by
                its path, so what a path holds must not change under them.
        """
        model = {"name": self.model.name, "fingerprint": dict(self.model.fingerprint)}
        fields = {"format_version": self.format_version, **asdict(self), "model": model}
        try:
            text = json.dumps(fields, indent=1, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"an estimator holds plain values only ({error})") from error
        if path.exists():
            if path.read_text(encoding="utf-8") == text:
                return
            raise InvalidInputError(
                f"{path} stands already and holds something else: name another output, or delete "
                f"it and the runs that used it"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())


def read_estimator(path: Path, kind: Kind) -> SavedEstimator:
    """The content of the file of an estimator of this kind.

    Raises:
        InvalidInputError: it cannot be read, is no such file, is damaged, or was written by another
            version.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(
            f"cannot read {path} ({error.strerror}): train an estimator first, with "
            f"`python -m experiments.train estimator={kind} output={path}`"
        ) from error
    except ValueError as error:
        raise InvalidInputError(f"{path} is no estimator of attribot: {error}") from error
    if not isinstance(fields, dict) or "format_version" not in fields:
        raise InvalidInputError(f"{path} is no estimator of attribot: it names no format_version")
    if fields["format_version"] != FORMAT_VERSION:
        raise InvalidInputError(
            f"{path} has format version {fields['format_version']}, this attribot reads version "
            f"{FORMAT_VERSION}: train the estimator again"
        )
    if fields.get("kind") != kind:
        raise InvalidInputError(
            f"expected an estimator of the kind {kind!r}, but {path} holds {fields.get('kind')!r}; "
            f"known kinds: {', '.join(get_args(Kind))}"
        )
    try:
        model = TrainedFor.of(fields["model"]["name"], fields["model"]["fingerprint"])
        names = tuple(fields["feature_names"])
        saved = SavedEstimator(**(fields | {"model": model, "feature_names": names}))
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error
    if saved.reading != HeadAttention.name:
        raise InvalidInputError(f"{path} reads {saved.reading!r}, expected {HeadAttention.name!r}")
    return saved


def load_at2(path: str, role: str = "target", allow_other_model: bool = False) -> AT2:
    """The attributor whose weights a file holds.

    role: that the model is to fill; see `AT2`.
    allow_other_model: take any model with as many layers and heads: for the same weights in another
        dtype or attention implementation.

    Raises:
        InvalidInputError: as `read_estimator`.
    """
    saved = read_estimator(Path(path), "at2")
    try:
        weights = _tuples(saved.parameters["weights"])
        attributor = AT2(weights, None if allow_other_model else saved.model, role)
        expected = head_names(len(weights), len(weights[0]))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(Path(path), error) from error
    _check_names(Path(path), saved, expected)
    return attributor


def load_fw_shapley(path: str, role: str = "target", allow_other_model: bool = False) -> FWShapley:
    """The attributor whose network a file holds; see `load_at2`.

    Raises:
        InvalidInputError: as `read_estimator`.
    """
    saved = read_estimator(Path(path), "fw_shapley")
    try:
        network = SourceNetwork(**{key: _tuples(v) for key, v in saved.parameters.items()})
        num_layers = network.num_features - len(feature_names(0))
    except (AttributeError, TypeError, ValueError) as error:
        raise _damaged(Path(path), error) from error
    _check_names(Path(path), saved, feature_names(num_layers))
    return FWShapley(network, None if allow_other_model else saved.model, role)


def sha_of_ids(example_ids: Iterable[str]) -> str:
    """Sixteen hex digits that two sets of examples share exactly if they are the same."""
    text = json.dumps(sorted(example_ids))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tuples(value: Any) -> Any:
    """Lists as tuples, however deep."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _check_names(path: Path, saved: SavedEstimator, expected: tuple[str, ...]) -> None:
    if saved.feature_names != expected:
        raise InvalidInputError(
            f"{path} was trained on {len(saved.feature_names)} features, of which this attribot "
            f"computes {len(set(saved.feature_names) & set(expected))}: train the estimator again"
        )


def _damaged(path: Path, error: Exception) -> InvalidInputError:
    return InvalidInputError(f"{path} is damaged ({error!r}): restore it or train it again")
