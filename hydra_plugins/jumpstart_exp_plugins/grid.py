"""The sweeper `grid` and the launchers `fleet` and `fleet_slurm`: they hand over to jumpstart_exp."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

_HERE = "hydra_plugins.jumpstart_exp_plugins.grid"


class GridSweeper(BasicSweeper):
    """A grid with ellipses (`depth=1,10,...,150`), launched as a whole."""

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the sweep's configuration, its folders named for every launcher, and make the launcher."""
        from jumpstart_exp.launcher import name_folders

        name_folders(config)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        """Launch every job; all failures are reported at the end."""
        from jumpstart_exp.launcher import sweep

        assert self.launcher is not None and self.hydra_context is not None and self.config is not None
        return sweep(self.launcher, self.hydra_context.config_loader, self.config, self.params, arguments)


class FleetLauncher(Launcher):
    """Trains a whole sweep on this machine, cells in parallel over the cores."""

    composes_cells = True

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the sweep's configuration and Hydra's loader."""
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs; results go to the store as they come."""
        from jumpstart_exp.launcher import launch_fleets

        assert self.config is not None and self.hydra_context is not None
        return launch_fleets(self.hydra_context.config_loader, self.config, self.workers, job_overrides)


class FleetSlurmLauncher(Launcher):
    """Trains a whole sweep on a SLURM cluster, many cells a task."""

    composes_cells = True

    def __init__(self, **options: Any) -> None:
        self.options = {
            name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for name, value in options.items()
        }
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the sweep's configuration and Hydra's loader."""
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit all jobs; results go to the store as they come."""
        from jumpstart_exp.launcher import launch_on_cluster

        assert self.config is not None and self.hydra_context is not None
        return launch_on_cluster(self.hydra_context.config_loader, self.config, self.options, job_overrides)


@dataclass
class GridSweeperConfig:
    """Settings of the sweeper: `params` is a study's own grid."""

    _target_: str = f"{_HERE}.GridSweeper"
    params: dict[str, Any] | None = None


@dataclass
class FleetLauncherConfig:
    """Settings of the launcher: `workers` processes, null for one a core."""

    _target_: str = f"{_HERE}.FleetLauncher"
    workers: int | None = field(default=None)


ConfigStore.instance().store(group="hydra/sweeper", name="grid", node=GridSweeperConfig, provider="jumpstart_exp")
ConfigStore.instance().store(
    group="hydra/launcher", name="fleet_schema", node=FleetLauncherConfig, provider="jumpstart_exp"
)
