"""Runs on Weights & Biases: a view of the records, off or offline unless asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import pandas as pd

from attribot.errors import InvalidInputError
from attribot.extras import import_extra
from attribot.manifest import Manifest
from attribot.records import CostRow, MetricRow
from attribot.report.curve import cost_units, curve_of

Mode = Literal["offline", "online"]
PUBLISHED = ("manifest.json", "report.html", "*.parquet", "tables/*", "figures/*")


class TrackedRun(Protocol):
    """A run that is being tracked."""

    def log_progress(self, example_index: int, cost: CostRow, metrics: Sequence[MetricRow]) -> None:
        """Note what one method gave for one example; `example_index` counts examples from 0."""
        ...

    def finish(self, summary: pd.DataFrame, run_dir: Path) -> None:
        """Publish the summary, the curve, the report and the records of a finished run."""
        ...


class Tracker(Protocol):
    """Settings of where runs are tracked.

    with tracker.start(config, manifest, run_dir) as tracked:
        tracked.log_progress(0, cost_row, metric_rows)
        tracked.finish(summary, run_dir)
    """

    def start(
        self, config: Mapping[str, Any], manifest: Manifest, run_dir: Path
    ) -> AbstractContextManager[TrackedRun]:
        """Note configuration and manifest before any work; an error inside marks the run failed."""
        ...


@dataclass(frozen=True)
class NoTracker:
    """Tracks nothing."""

    @contextmanager
    def start(
        self,
        config: Mapping[str, Any],  # noqa: ARG002
        manifest: Manifest,  # noqa: ARG002
        run_dir: Path,  # noqa: ARG002
    ) -> Iterator[TrackedRun]:
        yield _UntrackedRun()


class _UntrackedRun:
    def log_progress(self, example_index: int, cost: CostRow, metrics: Sequence[MetricRow]) -> None:
        """Nothing."""

    def finish(self, summary: pd.DataFrame, run_dir: Path) -> None:
        """Nothing."""


@dataclass(frozen=True)
class WandbTracker:
    """Tracks every run as one Weights & Biases run, in the folder `wandb` of the run folder.

    mode: "offline" writes files for a later `wandb sync`; "online" sends, and needs a login.
    name: of the run; None takes the run id.

    Raises:
        InvalidInputError: the mode is unknown.
    """

    project: str = "attribot"
    entity: str | None = None
    group: str | None = None
    job_type: str = "attribution"
    tags: tuple[str, ...] = ()
    mode: Mode = "offline"
    name: str | None = None

    def __post_init__(self) -> None:
        # Configurations bring lists; tuples keep the dataclass hashable.
        object.__setattr__(self, "tags", tuple(self.tags))
        if self.mode not in get_args(Mode):
            raise InvalidInputError(
                f"unknown mode of tracking {self.mode!r}; known: {', '.join(get_args(Mode))} "
                "(and tracking=none for no tracking)"
            )

    @contextmanager
    def start(
        self, config: Mapping[str, Any], manifest: Manifest, run_dir: Path
    ) -> Iterator[TrackedRun]:
        """Open the run; its config is the configuration and, under "manifest", the manifest.

        Raises:
            ImportError: wandb is not installed.
            InvalidInputError: the mode is "online" and nobody is logged in.
        """
        wandb = import_extra("wandb", "experiments")
        if self.mode == "online" and not wandb.login(prompt=False):
            raise InvalidInputError(
                "tracking.mode=online needs a Weights & Biases login: run `wandb login` or set "
                "WANDB_API_KEY, or keep tracking.mode=offline and upload later with `wandb sync`"
            )
        described = asdict(manifest)
        del described["config"]
        run = wandb.init(
            project=self.project,
            entity=self.entity,
            group=self.group,
            job_type=self.job_type,
            tags=self.tags,
            mode=self.mode,
            name=self.name or manifest.run_id,
            config={**config, "manifest": described},
            dir=run_dir,
            reinit="finish_previous",
        )
        # The run as a context manager would print the traceback of an error that the caller shows.
        exit_code = 1
        try:
            run.define_metric("example")
            run.define_metric("eval/*", step_metric="example")
            run.define_metric("cost/*", step_metric="example")
            yield _WandbRun(run, manifest)
            exit_code = 0
        finally:
            run.finish(exit_code=exit_code)


@dataclass(frozen=True, eq=False)
class _WandbRun:
    run: Any
    manifest: Manifest

    def log_progress(self, example_index: int, cost: CostRow, metrics: Sequence[MetricRow]) -> None:
        values: dict[str, float] = {
            f"eval/{row.method}/{row.metric}": row.value for row in metrics if row.value is not None
        }
        for name in ("forward_passes", "computed_tokens", "reused_tokens", "flops", "wall_seconds"):
            value = getattr(cost, name)
            if value is not None:
                values[f"cost/{cost.method}/{name}"] = value
        self.run.log({"example": example_index, **values})

    def finish(self, summary: pd.DataFrame, run_dir: Path) -> None:
        wandb = import_extra("wandb", "experiments")
        unit = cost_units(summary)[0]
        curve = curve_of(summary, self.manifest, unit)
        saving = "speedup" if unit == "seconds" else "token_saving"
        x_name = f"log10_{unit if curve.is_x_cost else saving}"
        points = curve.points.assign(**{x_name: np.log10(curve.points["x"])})
        points = points.rename(columns={"y": "map"})[["method", "kind", x_name, "x", "map"]]
        # The stored chart definitions that W&B offers offline have no log axis.
        chart = wandb.plot.scatter(
            wandb.Table(dataframe=points), x_name, "map", title=f"mAP against {x_name}"
        )
        logged = {"results/summary": wandb.Table(dataframe=summary), "results/curve": chart}
        picture = run_dir / "figures" / "curve.png"
        if picture.is_file():
            logged["results/figure"] = wandb.Image(str(picture))
        self.run.log(logged)
        for _, row in points.iterrows():
            self.run.summary[f"map/{row['method']}"] = row["map"]
        artifact = wandb.Artifact(f"records-{self.manifest.run_id}", type="records")
        for path in sorted(path for glob in PUBLISHED for path in run_dir.glob(glob)):
            artifact.add_file(str(path), name=path.relative_to(run_dir).as_posix())
        self.run.log_artifact(artifact)
