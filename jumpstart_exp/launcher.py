"""What Hydra's sweeper and launcher do here; the classes that Hydra discovers only hand over to these functions."""

import gc
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.composition import compose_sweep
from jumpstart_exp.config.expansion import expand_jobs
from jumpstart_exp.config.run import literal
from jumpstart_exp.config.schema import plain_config, split_config
from jumpstart_exp.folders import FOLDERS, named_folder
from jumpstart_exp.settings import SettingError


def name_folders(config: DictConfig) -> None:
    """Expand ~ in a sweep's folders, of which Hydra makes others (`hydra.sweep.dir`).

    Raises:
        SettingError: it cannot be a folder.
    """
    for name in FOLDERS:
        folder = str(named_folder(name, config[name]))
        if folder != config[name]:
            OmegaConf.update(config, name, literal(folder))


def sweep(
    launcher: Launcher, loader: Any, config: DictConfig, params: Mapping[str, Any] | None, arguments: Sequence[str]
) -> list[Any]:
    """Launch all jobs of a sweep at once, and account for every one that failed.

    Raises:
        SettingError: a job sets something that is not allowed, plot=true, or there are more cells than are allowed;
            nothing was launched.
        FirstFailureError: a cell failed, and fail_fast was set.
        CellsFailedError: jobs failed; the message lists each with its reason.
    """
    from jumpstart_exp.sweep.bounds import axes_words, check_count
    from jumpstart_exp.sweep.runner import CellsFailedError

    gc.freeze()  # what was imported and composed stays
    gc.enable()
    jobs = expand_jobs(loader, params, arguments)
    settings = split_config(plain_config(config))[1]
    if settings.plot:
        raise SettingError("plot=true draws one cell: leave out -m, or draw a sweep by python -m jumpstart_exp.report")
    if settings.where is None and not settings.dry_run:  # else it is said when it is known what is left
        check_count(len(jobs), settings, axes_words(jobs))
    if not getattr(launcher, "composes_cells", False):
        from jumpstart_exp.cluster.hydra_launchers import launch_cells

        return [launch_cells(launcher, loader, config, jobs)]
    returns = list(launcher.launch(jobs, initial_job_idx=0))
    failures = []
    for done in returns:
        if done.status == JobStatus.FAILED:
            text = str(done._return_value).strip() or type(done._return_value).__name__
            failures.append(f"  {' '.join(done.overrides or ())}: {text.splitlines()[0]}")
    if failures:
        raise CellsFailedError(f"{len(failures)} of {len(returns)} cells failed:\n" + "\n".join(failures))
    return [returns]


def launch_fleets(
    loader: Any, config: DictConfig, workers: int | None, jobs: Sequence[Sequence[str]]
) -> list[JobReturn]:
    """Run a whole sweep here; a return for each job that the filter keeps, FAILED with its reason where it failed."""
    from jumpstart_exp.sweep.runner import run_sweep

    _, settings = split_config(plain_config(config))
    jobs, cells = compose_sweep(loader, config, jobs, settings)
    return _returns(jobs, cells, run_sweep(cells, settings, workers))


def launch_on_cluster(
    loader: Any, config: DictConfig, options: Mapping[str, Any], jobs: Sequence[Sequence[str]]
) -> list[JobReturn]:
    """Submit a whole sweep to SLURM; a return for each job that the filter keeps, FAILED if it failed or was lost."""
    from jumpstart_exp.cluster.launch import run_on_cluster
    from jumpstart_exp.config.cluster_settings import ClusterSettings

    cluster = ClusterSettings.from_values(options)
    _, settings = split_config(plain_config(config))
    jobs, cells = compose_sweep(loader, config, jobs, settings)
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
