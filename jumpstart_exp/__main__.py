"""`python -m jumpstart_exp`: Hydra in, cells out, nothing else."""

import gc

if __name__ == "__main__":
    gc.disable()  # until something is trained: of all that is imported and composed nothing is ever freed

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra._internal import hydra as hydra_internals
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.config_files import at_its_file
from jumpstart_exp.config.contents import with_contents
from jumpstart_exp.config.effects import warn_of_no_effect
from jumpstart_exp.config.errors import check_override, explain, unusable
from jumpstart_exp.config.filters import kept
from jumpstart_exp.config.logrange import expand_logranges
from jumpstart_exp.config.reading_once import ReadingOnce
from jumpstart_exp.config.run import RunSettings, is_own_word, text_override
from jumpstart_exp.config.schema import check_variant, conf_dir, plain_config, register_schema, split_config
from jumpstart_exp.console import complain, notes, output, set_up_output
from jumpstart_exp.folders import FOLDERS
from jumpstart_exp.settings import SettingError
from jumpstart_exp.surroundings import check_surroundings
from jumpstart_exp.sweep.stopping import InterruptedSweepError

_FULL_ERROR = "HYDRA_FULL_ERROR"


def cell_and_settings(config: DictConfig, method: str) -> tuple[Cell, RunSettings]:
    """The cell and the run settings of one composed configuration."""
    values, settings = split_config(plain_config(config))
    cells = with_contents([Cell.from_config(values, method)], Path(settings.data_dir))
    kept(cells, settings.where)  # or it says why there is nothing to train
    return cells[0], settings


def tidied_arguments(arguments: list[str]) -> list[str]:
    """Arguments as Hydra's grammar takes them: -m first, texts of the user's own quoted, logranges as lists.

    Raises:
        SettingError: a logrange cannot be read.
    """
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    rest = [argument for argument in arguments if argument not in flags]
    for index, argument in enumerate(rest):
        name, _, value = argument.partition("=")
        is_quoted = value[:1] in ("'", '"') if name in FOLDERS else _is_in_quotes(value)
        if is_own_word(name, value):
            rest[index] = text_override(name, value)
        elif name not in (*FOLDERS, "where"):
            rest[index] = expand_logranges(argument)
        elif value not in ("", "null") and not is_quoted and "${" not in value:
            rest[index] = text_override(name, value)
    return flags[:1] + rest


def _is_in_quotes(value: str) -> bool:
    """Whether quotes hold the whole of a filter, which may also begin and end with texts that have their own."""
    quote = value[:1]
    return (
        len(value) > 1 and quote in "'\"" and value[-1] == quote and quote not in value[1:-1].replace(f"\\{quote}", "")
    )


def main() -> None:
    """The command line; exit code 1 if cells failed or the store cannot be used, 2 for bad settings, 130 if stopped."""
    set_up_output()
    typed, wants_traces = sys.argv[1:], os.environ.get(_FULL_ERROR)
    try:
        check_surroundings()
        _train()
    except (HydraException, OmegaConfBaseException) as error:
        if wants_traces:
            raise
        _fail(at_its_file(explain(error, typed), typed), 2)
    except SettingError as error:
        _fail(at_its_file(str(error), typed, error.__cause__), 2)
    except yaml.YAMLError as error:
        _fail(" ".join(str(error).split()), 2)
    except InterruptedSweepError as error:
        notes().print(str(error), markup=False)
        sys.exit(130)
    except KeyboardInterrupt as stopped:
        notes().print(str(stopped) or "stopped: the same command goes on from what is stored", markup=False)
        sys.exit(130)
    except SystemExit:  # of --help; the next line would import for it what a training may raise
        raise
    except _told_in_a_line() as error:
        _fail(str(error), 1)
    except Exception as error:
        if wants_traces or not _is_hydras(error):
            raise
        if str(error).startswith("Only one of"):  # Hydra's own words about flags that exclude each other
            _fail(str(error), 2)
        _fail(at_its_file(str(unusable(typed, error)), typed, error), 2)


def _told_in_a_line() -> tuple[type[Exception], ...]:
    """What of a training is told in a line; only what has begun one gets here, so nothing is imported for it."""
    from jumpstart_exp.cluster import ClusterError
    from jumpstart_exp.data.image_files import DataError
    from jumpstart_exp.store import StoreError
    from jumpstart_exp.sweep.runner import CellsFailedError
    from jumpstart_exp.sweep.stopping import FirstFailureError
    from jumpstart_exp.sweep.workers import WorkerStartError

    return CellsFailedError, ClusterError, DataError, FirstFailureError, StoreError, WorkerStartError


def _train() -> None:
    """Train what the command line says: one cell, or a sweep.

    Raises:
        Exception: whatever is wrong with it, with what it chooses, or with the training.
    """
    register_schema()
    single: list[tuple[DictConfig, Mapping[str, Any], list[str]]] = []

    def task(config: DictConfig) -> None:
        choices = HydraConfig.get().runtime.choices
        if HydraConfig.get().mode == RunMode.RUN:
            # trained outside of Hydra, which would add lines to its errors
            single.append((config, choices, GlobalHydra.instance().config_loader().get_group_options("variant/of")))
        else:
            set_up_output()  # another process, of a launcher that starts one a job
            from jumpstart_exp.sweep.runner import run_cell

            run_cell(*cell_and_settings(config, choices["method"]))

    with _for_hydra():
        for argument in sys.argv[1:]:
            check_override(argument)
        hydra.main(version_base="1.3", config_path=conf_dir(), config_name="config")(task)()
    for config, choices, variants in single:
        if (launcher := choices.get("hydra/launcher")) not in ("fleet", None):
            raise SettingError(f"hydra/launcher={launcher} is for sweeps: add -m")
        check_variant(choices, variants)
        cell, settings = cell_and_settings(config, choices["method"])
        if settings.redraw:
            raise SettingError("redraw=true draws a sweep while it trains: add -m, or draw one cell by plot=true")
        from jumpstart_exp.sweep.runner import run_cell

        gc.freeze()
        gc.enable()
        warn_of_no_effect(sys.argv[1:], [cell])
        run_cell(cell, settings)
        if settings.plot and not settings.dry_run:
            _plot(cell, settings)


@contextlib.contextmanager
def _for_hydra() -> Iterator[None]:
    """Arguments, environment and mode as Hydra has to have them; afterwards they, and the log, are as they were."""
    tidied = tidied_arguments(sys.argv[1:])
    arguments, before, get_mode = sys.argv, os.environ.get(_FULL_ERROR), Hydra.get_mode
    loader, vars(hydra_internals)["ConfigLoaderImpl"] = vars(hydra_internals)["ConfigLoaderImpl"], ReadingOnce
    level, handlers = logging.root.level, [*logging.root.handlers]
    sys.argv = [arguments[0], *tidied]
    os.environ[_FULL_ERROR] = "1"  # Hydra then raises its errors, which `explain` puts into one line
    run_job, list_groups = vars(hydra_internals)["run_job"], Hydra.list_all_config_groups
    Hydra.list_all_config_groups = cache(list_groups)  # type: ignore[method-assign]  # --help asks twice
    if not _may_choose_mode(arguments[1:]):
        vars(hydra_internals)["run_job"] = _composed
        Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]  # it would compose everything once more
    try:
        yield
    finally:
        sys.argv, Hydra.get_mode = arguments, get_mode  # type: ignore[method-assign]
        vars(hydra_internals)["run_job"] = run_job
        Hydra.list_all_config_groups = list_groups  # type: ignore[method-assign]
        vars(hydra_internals)["ConfigLoaderImpl"] = loader
        logging.root.setLevel(level)
        logging.root.handlers[:] = handlers
        os.environ.pop(_FULL_ERROR, None)
        if before is not None:
            os.environ[_FULL_ERROR] = before


def _composed(*, task_function: TaskFunction, config: DictConfig, **_: Any) -> JobReturn:
    """A single job as Hydra runs it, but for its folder and its logs: the package's own configuration has none."""
    HydraConfig.instance().set_config(config)
    done = JobReturn(status=JobStatus.COMPLETED)
    done.return_value = task_function(config)
    return done


def _may_choose_mode(arguments: list[str]) -> bool:
    """Whether Hydra has to look for a `hydra.mode`: typed, or in a study or a folder of the user's own."""
    others = [argument for argument in arguments if argument not in ("-m", "--multirun")]
    is_sweep = len(others) < len(arguments)  # whatever a study says
    choosing = ("-",) if is_sweep else ("-", "+")
    return any(argument.startswith(choosing) or "hydra" in argument for argument in others)


def _plot(cell: Cell, settings: RunSettings) -> None:
    from jumpstart_exp.plot import plot_cell  # matplotlib takes a second

    try:
        png, pdf = plot_cell(cell, settings)
    except OSError as error:
        _fail(f"the figure cannot be written: {error.strerror or error} ({error.filename or settings.results_dir})", 1)
    output().print(f"drawn: {png} (and {pdf.suffix})", markup=False)


def _is_hydras(error: Exception) -> bool:
    """Whether Hydra stumbled before it called anything of ours: over what was typed, or a configuration."""
    names = {frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)}
    names -= {__name__, ReadingOnce.__module__}  # which stands around Hydra's own loader
    return not any(name.startswith(("jumpstart_exp.", "hydra_plugins.")) for name in names)


def _fail(message: str, code: int) -> NoReturn:
    complain(message)
    sys.exit(code)


if __name__ == "__main__":
    main()
