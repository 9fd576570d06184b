"""What Hydra's sweeper and launcher do here; the classes that Hydra discovers only hand over to these functions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from jumpstart_exp.cell import Cell
from jumpstart_exp.cluster.hydra_launchers import launch_cells
from jumpstart_exp.config.composition import compose_cells
from jumpstart_exp.config.contents import with_contents
from jumpstart_exp.config.expansion import expand_jobs
from jumpstart_exp.config.run import literal
from jumpstart_exp.config.schema import plain_config, split_config
from jumpstart_exp.folders import FOLDERS, named_folder
from jumpstart_exp.settings import SettingError
from jumpstart_exp.sweep.runner import CellsFailedError, run_sweep


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
        SettingError: a job sets something that is not allowed, or plot=true; nothing was launched.
        CellsFailedError: jobs failed; the message lists each with its reason.
    """
    jobs = expand_jobs(loader, params, arguments)
    if split_config(plain_config(config))[1].plot:
        raise SettingError("plot=true draws one cell: leave out -m, or draw a sweep by python -m jumpstart_exp.report")
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
    cells = with_contents(compose_cells(loader, config, jobs), Path(settings.data_dir))
    return _returns(jobs, cells, run_sweep(cells, settings, workers))


def launch_on_cluster(
    loader: Any, config: DictConfig, options: Mapping[str, Any], jobs: Sequence[Sequence[str]]
) -> list[JobReturn]:
    """Submit a whole sweep to SLURM; one return a job, FAILED with its reason where the cell failed or was lost."""
    from jumpstart_exp.cluster.launch import run_on_cluster
    from jumpstart_exp.config.cluster_settings import ClusterSettings

    cluster = ClusterSettings.from_values(options)
    _, settings = split_config(plain_config(config))
    cells = with_contents(compose_cells(loader, config, jobs), Path(settings.data_dir))
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
