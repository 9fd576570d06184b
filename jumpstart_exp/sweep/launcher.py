"""What Hydra's sweeper and launcher do here; the classes that Hydra discovers only hand over to these functions."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig

from jumpstart_exp.cell import Cell
from jumpstart_exp.config import RunSettings, check_override, plain_config, split_config
from jumpstart_exp.console import warn
from jumpstart_exp.settings import SettingError, field_types
from jumpstart_exp.sweep.compose import compose_cells
from jumpstart_exp.sweep.ellipsis import sweep_strings
from jumpstart_exp.sweep.runner import CellsFailedError, run_sweep
from jumpstart_exp.sweep.stock import launch_cells

_MOST_JOBS = 1_000_000
"""Cells of a sweep: more would fill the memory before anything trains."""


def expand_jobs(loader: Any, params: Mapping[str, Any] | None, arguments: Sequence[str]) -> list[list[str]]:
    """Every job's overrides: the product over all swept values, ellipses expanded.

    Args:
        loader: Hydra's configuration loader.
        params: a study's own grid, name → sweep as it would be typed.
        arguments: the command line's overrides; they win over `params`.

    Raises:
        SettingError: an ellipsis cannot be read, the sweep is empty, or a run setting is swept.
    """
    own = [f"{name}={value}" for name, value in (params or {}).items()]
    for text in own:
        check_override(text)
    axes: dict[str, list[str]] = {}
    parser = OverridesParser.create(config_loader=loader)
    for override in [*parser.parse_overrides(own), *parser.parse_overrides(list(arguments))]:
        name = override.get_key_element()
        if not override.is_sweep_override():
            axes[name] = [f"{name}={override.get_value_element_as_str()}"]
            continue
        if not override.is_discrete_sweep():
            raise SettingError(f"{override.input_line} is not allowed: a sweep must be a list or a range of values")
        if name in field_types(RunSettings):
            raise SettingError(f"{name} cannot be swept: it is the same for the whole sweep")
        expansion = sweep_strings(override)
        if name.lstrip("+") == "experiment" and len(expansion.values) > 1:
            raise SettingError(f"{override.input_line} is not allowed: each study has its own grid, give one at a time")
        if override.input_line not in own:  # a study's grid is as its author meant it
            for warning in expansion.warnings:
                warn(warning)
        if not expansion.values:
            raise SettingError(f"the sweep is empty: {override.input_line} has no values")
        axes[name] = [f"{name}={value}" for value in expansion.values]
    if (count := math.prod(map(len, axes.values()))) > _MOST_JOBS:
        raise SettingError(f"the sweep has {count} cells: at most {_MOST_JOBS} can be swept at once")
    return [list(job) for job in itertools.product(*axes.values())]


def sweep(
    launcher: Launcher, loader: Any, config: DictConfig, params: Mapping[str, Any] | None, arguments: Sequence[str]
) -> list[Any]:
    """Launch all jobs of a sweep at once, and account for every one that failed.

    Raises:
        SettingError: a job sets something that is not allowed; nothing was launched.
        CellsFailedError: jobs failed; the message lists each with its reason.
    """
    jobs = expand_jobs(loader, params, arguments)
    if not getattr(launcher, "composes_cells", False):
        return [launch_cells(launcher, loader, config, jobs)]
    returns = list(launcher.launch(jobs, initial_job_idx=0))
    failures = []
    for job, done in zip(jobs, returns, strict=True):
        if done.status == JobStatus.FAILED:
            text = str(done._return_value).strip() or type(done._return_value).__name__
            failures.append(f"  {' '.join(job)}: {text.splitlines()[0]}")
    if failures:
        raise CellsFailedError(f"{len(failures)} of {len(jobs)} cells failed:\n" + "\n".join(failures))
    return [returns]


def launch_fleets(
    loader: Any, config: DictConfig, workers: int | None, jobs: Sequence[Sequence[str]]
) -> list[JobReturn]:
    """Run a whole sweep here; one return a job, FAILED with its reason where the cell failed."""
    _, settings = split_config(plain_config(config))
    cells = compose_cells(loader, config, jobs)
    return _returns(jobs, cells, run_sweep(cells, settings, workers))


def launch_on_cluster(
    loader: Any, config: DictConfig, options: Mapping[str, Any], jobs: Sequence[Sequence[str]]
) -> list[JobReturn]:
    """Submit a whole sweep to SLURM; one return a job, FAILED with its reason where the cell failed or was lost."""
    from jumpstart_exp.cluster.launch import run_on_cluster
    from jumpstart_exp.cluster.settings import ClusterSettings

    cluster = ClusterSettings.from_values(options)
    _, settings = split_config(plain_config(config))
    cells = compose_cells(loader, config, jobs)
    return _returns(jobs, cells, run_on_cluster(cells, settings, cluster))


def _returns(jobs: Sequence[Sequence[str]], cells: Sequence[Cell], errors: Mapping[str, str | None]) -> list[JobReturn]:
    returns = []
    for job, cell in zip(jobs, cells, strict=True):
        done = JobReturn(overrides=list(job), status=JobStatus.COMPLETED)
        done.return_value = cell.key
        if errors.get(cell.key) is not None:
            done.status, done.return_value = JobStatus.FAILED, RuntimeError(errors[cell.key])
        returns.append(done)
    return returns
