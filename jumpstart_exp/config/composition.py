"""Composition, wherever cells are asked for: a sweep's jobs, one set of overrides, a study's own configuration.

Jobs that differ only in plain values (depth, width, seed, a learning rate) are composed once for each distinct set of
everything else (group choices, additions, deletions, lists): the first job is, with its own values, which a plain merge
replaces by those of the others. A sample of these is composed by Hydra itself, and the last job of each set where there
are configurations of the user's own; should one differ, every job is.
"""

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from jumpstart_exp.cell import SPECS, Cell
from jumpstart_exp.config.config_files import at_its_file
from jumpstart_exp.config.contents import with_contents
from jumpstart_exp.config.effects import warn_of_no_effect
from jumpstart_exp.config.errors import check_override, explain, unknown_setting, unusable
from jumpstart_exp.config.expansion import expand_jobs
from jumpstart_exp.config.filters import kept
from jumpstart_exp.config.logrange import expand_logranges
from jumpstart_exp.config.reading_once import reading_once
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.config.schema import (
    RUN_NAMES,
    check_variant,
    conf_dir,
    known_settings,
    plain_config,
    register_schema,
    split_config,
)
from jumpstart_exp.console import output
from jumpstart_exp.data import DATASETS
from jumpstart_exp.folders import why_no_folder
from jumpstart_exp.settings import SettingError, is_plainly

log = logging.getLogger(__name__)

_SAMPLE = 3
_MOST_BASES_CHECKED = 20

_COMPOSING = threading.RLock()


@contextmanager
def own_hydra() -> Iterator[None]:
    """Hydra with this package's version base and schemas; a program that uses Hydra itself has its own again after."""
    with _COMPOSING:
        Plugins.instance()  # what it discovers stays
        store, base = ConfigStore.instance(), version.VersionBase.instance()
        before = store.repo, base.version_base
        store.repo = {name: {**node} if isinstance(node, dict) else node for name, node in store.repo.items()}
        try:
            version.setbase("1.3")
            register_schema()
            if not OmegaConf.has_resolver("hydra"):
                setup_globals()
            yield
        finally:
            store.repo, base.version_base = before


@dataclass(frozen=True)
class _Base:
    """The first of the jobs with one set of structural overrides: the others have other plain values."""

    config: dict[str, Any] | DictConfig
    method: str

    def with_values(self, values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
        """The plain configuration with these values set; names have to exist."""
        if isinstance(self.config, DictConfig):
            # interpolations: OmegaConf resolves them after the values are in place
            config = self.config.copy()
            for path, value in values.items():
                OmegaConf.update(config, ".".join(path), value)
            return plain_config(config)
        merged = dict(self.config)
        for path, value in values.items():
            node = merged
            for part in path[:-1]:
                child = node.get(part)
                if not isinstance(child, dict):
                    raise unknown_setting(".".join(path))
                node[part] = node = dict(child)
            if path[-1] not in node:
                raise unknown_setting(".".join(path))
            node[path[-1]] = value
        return merged


@own_hydra()
def compose_cells(
    loader: Any, master: DictConfig, jobs: Sequence[Sequence[str]], *, sampled: bool = True
) -> list[Cell]:
    """The cell of every job, in order.

    Args:
        loader: Hydra's configuration loader.
        master: the sweep's own composed configuration, Hydra's node included.
        jobs: each job's task overrides, all jobs overriding the same names.
        sampled: whether Hydra composes a sample, too; False for the package's own studies, of which the
            tests compare all.

    Raises:
        SettingError: a job sets something that does not exist or is not allowed.
        HydraException: a job cannot be composed.
    """
    assert isinstance(loader, ConfigLoaderImpl)
    composer = _Composer(loader, master)
    cells = [composer.fast(job, index) for index, job in enumerate(jobs)]
    if not sampled or not jobs:
        return cells
    checked = {round(i * (len(jobs) - 1) / (_SAMPLE - 1)) for i in range(_SAMPLE)} | {*composer.by_hydra}
    if _has_folders_of_others(master):
        checked |= {*[*composer.last_jobs.values()][:_MOST_BASES_CHECKED]}
    for index in sorted(checked):
        slow = composer.by_hydra[index] if index in composer.by_hydra else composer.slow(jobs[index])
        if slow != cells[index]:
            log.warning("composing every job with Hydra: the fast way differs for %s", " ".join(jobs[index]))
            return [composer.slow(job) for job in jobs]
    return cells


def compose_sweep(
    loader: Any, master: DictConfig, jobs: Sequence[Sequence[str]], settings: RunSettings
) -> tuple[list[Sequence[str]], list[Cell]]:
    """The jobs of a sweep that its filter keeps, and the cell of each, as it is trained from the files that there are.

    Raises:
        SettingError: a job sets something that is not allowed, or the filter cannot be read or keeps no cell.
        DataError: a dataset asks for other content than its files have.
        HydraException: a job cannot be composed.
    """
    jobs, cells = [*jobs], with_contents(compose_cells(loader, master, jobs), Path(settings.data_dir))
    if settings.where is not None:
        is_kept = kept(cells, settings.where)
        output().print(f"where keeps {sum(is_kept)} of {len(cells)} cells")
        jobs, cells = [*itertools.compress(jobs, is_kept)], [*itertools.compress(cells, is_kept)]
    warn_of_no_effect(jobs[0] if jobs else [], cells)  # all jobs set the same
    return jobs, cells


def compose_grid(overrides: Sequence[str], config_dir: str | Path | None = None) -> tuple[list[Cell], RunSettings]:
    """The cells, in order, and the run settings of `python -m jumpstart_exp -m OVERRIDES`.

    Args:
        overrides: as they are typed, none of them of Hydra's own settings.
        config_dir: a folder of the user's own configurations, as `--config-dir` names it.

    Raises:
        SettingError: they cannot be composed; one line says why, and headed by its file what stands in one.
    """
    typed = [*([] if config_dir is None else ["--config-dir", str(config_dir)]), *overrides]
    try:
        expanded = [*map(expand_logranges, overrides)]
        for override in expanded:
            check_override(override)
        return _compose_grid(expanded, config_dir)
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingError(at_its_file(explain(error, typed), typed)) from error
    except SettingError as error:
        raise SettingError(at_its_file(str(error), typed, error.__cause__)) from error


@own_hydra()
def _compose_grid(overrides: list[str], config_dir: str | Path | None) -> tuple[list[Cell], RunSettings]:
    loader = reading_once(own_loader(config_dir))
    try:
        master = loader.load_configuration("config", overrides, RunMode.MULTIRUN, from_shell=False)
    except (SettingError, HydraException, OmegaConfBaseException):
        raise
    except Exception as error:
        raise unusable(overrides, error) from error
    jobs = expand_jobs(loader, master.hydra.sweeper.params, overrides)
    cells = compose_cells(loader, master, jobs)
    warn_of_no_effect(jobs[0] if jobs else [], cells)
    return cells, split_config(plain_config(master))[1]


@own_hydra()
def compose_one(overrides: Sequence[str], loader: ConfigLoaderImpl | None = None) -> Cell:
    """The cell that `python -m jumpstart_exp OVERRIDES` trains; `loader` None is one of its own.

    Raises:
        SettingError: an override sets something that is not allowed.
        HydraException, OmegaConfBaseException: they cannot be composed.
    """
    loader = reading_once(loader or own_loader())
    config, method = _chosen(load_configuration(overrides, RunMode.RUN, loader), loader)
    return _cell(plain_config(config), method)


@own_hydra()
def load_configuration(overrides: Sequence[str], mode: RunMode, loader: ConfigLoaderImpl | None = None) -> DictConfig:
    """The package's configuration with these overrides, Hydra's node included; `loader` None is one of its own.

    Raises:
        HydraException, OmegaConfBaseException: they cannot be composed.
    """
    return reading_once(loader or own_loader()).load_configuration("config", list(overrides), mode, from_shell=False)


def own_loader(config_dir: str | Path | None = None) -> ConfigLoaderImpl:
    """Hydra's loader of the package's configurations and, after them, those of a folder of the user's own.

    Raises:
        SettingError: there is no such folder.
    """
    if config_dir is not None and (why := why_no_folder(Path(config_dir))):
        raise SettingError(f"config_dir={str(config_dir)!r} is not allowed: {why}")
    folder = None if config_dir is None else str(Path(config_dir).absolute())
    return _loader(folder, tuple(SPECS.items()), tuple(DATASETS.items()))


@cache
def _loader(config_dir: str | None, *_of: tuple[tuple[str, type], ...]) -> ConfigLoaderImpl:
    """One for each folder and schema, made beside Hydra's own, which may be running."""
    search_path = create_config_search_path(conf_dir())
    if config_dir is not None:
        search_path.prepend("command-line", f"file://{config_dir}", anchor="schema")
    return ConfigLoaderImpl(search_path)


def _chosen(config: DictConfig, loader: ConfigLoaderImpl) -> tuple[DictConfig, str]:
    """The configuration and its method's label, its variant checked."""
    choices = config.hydra.runtime.choices
    check_variant(choices, loader.repository.get_group_options("variant/of"))
    return config, str(choices["method"])


def _has_folders_of_others(master: DictConfig) -> bool:
    """Whether configurations are searched for anywhere but in Hydra, this package and their schemas."""
    own = {"hydra": "hydra.conf", "main": conf_dir(), "schema": ""}
    return any(own.get(source.provider) != source.path for source in master.hydra.runtime.config_sources)


def _cell(config: Mapping[str, Any], method: str) -> Cell:
    return Cell.from_config(split_config(config)[0], method)


@dataclass(frozen=True)
class _Typed:
    """An override as it was typed, the setting's name and path, and its value, which may be plain."""

    text: str
    name: str
    path: tuple[str, ...]
    value: Any
    is_plain: bool


def _touched(odd: Iterable[str], names: Iterable[str]) -> frozenset[str]:
    """Those of the names that are odd, or what an odd one replaces: their order counts, so Hydra composes them."""
    return frozenset(
        name
        for name in names
        if any(f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.") for other in odd)
    )


class _Composer:
    def __init__(self, loader: ConfigLoaderImpl, master: DictConfig) -> None:
        self.loader, self.master = reading_once(loader), master
        self.parser = OverridesParser.create(config_loader=loader)
        self.parsed: dict[str, _Typed] = {}
        self.bases: dict[tuple[str, ...], _Base] = {}
        self.last_jobs: dict[tuple[str, ...], int] = {}
        self.by_hydra: dict[int, Cell] = {}  # of the bases' first jobs
        self.run_checked: Mapping[str, Any] | None = None
        self.is_group: Callable[[str], bool] = cache(loader.repository.group_exists)
        self._touched = cache(_touched)

    def split(self, job: Sequence[str]) -> tuple[tuple[str, ...], dict[tuple[str, ...], Any]]:
        """The overrides that Hydra has to compose, and the plain values of the others by their paths."""
        overrides = [self._parse(text) for text in job]
        odd = tuple(one.name for one in overrides if not one.is_plain)
        touched = self._touched(odd, tuple(one.name for one in overrides)) if odd else frozenset()
        structural = tuple(one.text for one in overrides if one.name in touched)
        return structural, {one.path: one.value for one in overrides if one.name not in touched}

    def fast(self, job: Sequence[str], index: int) -> Cell:
        key, values = self.split(job)
        if key not in self.bases:
            self.bases[key] = base = self._compose([*job])
            self.by_hydra[index] = _cell(base.with_values({}), base.method)
        self.last_jobs[key] = index
        config = self.bases[key].with_values(values)
        run = {name: value for name, value in config.items() if name in RUN_NAMES}
        if run != self.run_checked:  # the same in all jobs mostly
            RunSettings(**run)
            self.run_checked = run
        of_cell = {name: value for name, value in config.items() if name not in RUN_NAMES}
        return Cell.from_config(of_cell, self.bases[key].method)

    def slow(self, job: Sequence[str]) -> Cell:
        config, method = self._load(list(job))
        return _cell(plain_config(config), method)

    def _compose(self, overrides: list[str]) -> _Base:
        config, method = self._load(overrides)
        own = config.copy()  # a masked copy would lose the types of what interpolations resolve to
        with flag_override(own, ["struct", "readonly"], [False, False]):
            own.pop("hydra")
        raw = OmegaConf.to_container(own, resolve=False)
        return _Base(own if "${" in str(raw) else plain_config(own), method)

    def _load(self, overrides: list[str]) -> tuple[DictConfig, str]:
        try:
            config = self.loader.load_sweep_config(self.master, overrides)
        except (SettingError, HydraException, OmegaConfBaseException):
            raise
        except Exception as error:  # Hydra has no words for it: a file that is no text, a group of numbers
            raise unusable(overrides, error) from error
        return _chosen(config, self.loader)

    def _parse(self, text: str) -> "_Typed":
        if text not in self.parsed:
            override = self.parser.parse_override(text)
            name, value = str(override.key_or_group), override.value()
            plain = value.text if isinstance(value, QuotedString) else value
            self.parsed[text] = _Typed(text, name, tuple(name.split(".")), plain, self._is_plain_value(override))
        return self.parsed[text]

    def _is_plain_value(self, override: Override) -> bool:
        return (
            override.type == OverrideType.CHANGE
            and not override.is_sweep_override()
            and not self.is_group(str(override.key_or_group))
            and override.package is None
            and self._is_of_its_type(str(override.key_or_group), override.value())
        )

    @staticmethod
    def _is_of_its_type(name: str, value: Any) -> bool:
        """Whether OmegaConf would take the value as it is; anything else is left to it."""
        text = value.text if isinstance(value, QuotedString) else value
        known = known_settings()
        return name in known and is_plainly(known[name][0], text) and "${" not in str(text)
