"""Run an experiment again, build the committed views of it anew, and compare the two.

    python -m experiments.reproduce first_results --data-dir ../shared/data
    python -m experiments.reproduce first_results --data-dir ../shared/data dataset=qasper_samples

The grid is the experiment's own: `hydra.sweeper.params` in conf/experiment/NAME.yaml; further
arguments are Hydra overrides. What is there is not computed again: finished examples of a run stand
in its folder, and responses and exact scores in a cache that all experiments share (`cache_path`),
keyed by weights, tokenizer, prompt and response, so that two experiments on the same questions
compute the reference once. `--fresh` takes new folders and an empty cache.

Exits with 1 if a number that no hardware explains differs by more than the tolerance, with 2 if a
run fails.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from attribot.errors import AttribotError
from attribot.manifest import read_manifest
from experiments.reproduce.differences import Comparison, Tolerances, compare_tables
from experiments.run import CONF_DIR, run_dir_of
from experiments.views import build_views, views_of

RESULTS = Path(__file__).resolve().parents[2] / "results"


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration of one run with Hydra's own part; sets what `${hydra:...}` resolves to."""
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        config = compose("config", overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return config


def grid(overrides: Sequence[str]) -> list[list[str]]:
    """Overrides of each run of an experiment: its sweep, but for what `overrides` settles."""
    parser = OverridesParser.create()
    settled = {override.get_key_element() for override in parser.parse_overrides(list(overrides))}
    params = composed(overrides).hydra.sweeper.params or {}
    swept = parser.parse_overrides([f"{key}={value}" for key, value in params.items()])
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [override.input_line or ""]
        for override in swept
        if override.get_key_element() not in settled
    ]
    return [[*overrides, *choice] for choice in product(*choices)]


def run_dirs(overrides: Sequence[str]) -> list[Path]:
    """Folders that the runs of an experiment write to."""
    folders = []
    for job in grid(overrides):
        config = composed(job)
        OmegaConf.set_struct(config, False)
        config.pop("hydra")
        folders.append(run_dir_of(config))
    return folders


def run_grid(overrides: Sequence[str]) -> int:
    """Every run of the experiment, one after the other; the exit code."""
    command = [sys.executable, "-m", "experiments.run", "--multirun", *overrides]
    print("python", shlex.join(command[1:]), flush=True)
    return subprocess.run(command, check=False).returncode


def compare_folders(committed: Path, new: Path, tolerances: Tolerances) -> bool:
    """Print how the new tables differ from the committed ones; True if computed cells agree."""
    agree = True
    if not committed.is_dir():
        print(f"{committed} does not exist: there is nothing to compare {new} with")
        return agree
    folders = [committed / name for name in (*views_of(committed), "figures")]
    for view in sorted(path for folder in folders for path in folder.glob("*")):
        name = view.relative_to(committed)
        if not (new / name).is_file():
            print(f"{name}: committed, but not rebuilt")
            agree = False
        elif view.suffix == ".csv":
            found = compare_tables(pd.read_csv(view), pd.read_csv(new / name), tolerances)
            print_comparison(str(name), found, tolerances)
            agree = agree and not found.computed
    return agree


def print_comparison(name: str, found: Comparison, tolerances: Tolerances) -> None:
    """Every difference on a line, then how many there are."""
    for difference in found.differences:
        print(f"{name}: {difference}" + (" (measured)" if difference.is_measured else ""))
    print(
        f"{name}: {len(found.computed)} differences beyond {tolerances.value:g} in "
        f"{found.num_computed} computed cells, {len(found.measured)} beyond a factor of "
        f"{tolerances.factor:g} in {found.num_measured} measured ones"
    )


def print_runs(what: str, folders: Sequence[Path]) -> None:
    """Where runs stand and which code computed them."""
    for folder in folders:
        manifest = read_manifest(folder)
        changes = " with changes" if manifest.is_dirty else ""
        commit = (manifest.git_commit or "unknown")[:12]
        print(f"{what} run {folder}: commit {commit}{changes}, {manifest.started_at}")


def reproduce(name: str, overrides: Sequence[str], options: argparse.Namespace) -> int:
    """Run, rebuild, compare; the exit code."""
    folders = run_dirs(overrides)
    if run_grid(overrides):
        print(f"a run of {name} failed: see above; the same command continues where it stopped")
        return 2
    output = options.output / name
    committed = options.results / name
    build_views(views_of(committed), folders, output)
    print(f"tables, figures and report: {output}")
    print_runs("new", folders)
    print_runs("committed", sorted(committed.glob("records/*")))
    tolerances = Tolerances(options.tolerance, options.factor)
    return 0 if compare_folders(committed, output, tolerances) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    defaults = Tolerances()
    parser = argparse.ArgumentParser(
        prog="python -m experiments.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="of a file in conf/experiment, and of a folder in results")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides")
    parser.add_argument("--data-dir", type=Path, help="folder of official data files")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="where runs are written")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where committed tables are")
    parser.add_argument("--fresh", action="store_true", help="take over nothing from earlier runs")
    parser.add_argument(
        "--tolerance", type=float, default=defaults.value, help="of computed cells (%(default)s)"
    )
    parser.add_argument(
        "--factor", type=float, default=defaults.factor, help="of measured cells (%(default)s)"
    )
    options = parser.parse_intermixed_args(arguments)
    if options.fresh:
        options.output.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f"{options.name}-fresh-", dir=options.output)
        options.output = Path(folder)
    overrides = [f"experiment={options.name}", f"output_dir={options.output}"]
    overrides += [f"data_dir={options.data_dir}"] if options.data_dir else []
    overrides += [f"cache_path={options.output / 'scores.sqlite'}"] if options.fresh else []
    try:
        return reproduce(options.name, [*overrides, *options.overrides], options)
    except (AttribotError, HydraException) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    raise SystemExit(main())
