"""Hydra's loader that does once what is the same in many compositions, and gives what Hydra's own gives.

A composition reads files, finds the defaults list and merges what it names, half of which is Hydra's own; then it
applies what is typed. Files are read once; a list is found once for each set of group choices; what two lists begin
with is merged once. Copies are made node by node, as OmegaConf makes them, but without the detour over `copy.deepcopy`.
"""

import copy
import itertools
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, base, flag_override, grammar_parser
from omegaconf.base import Metadata, Node

_MOST_KEPT = 32
"""Merged configurations of a kind that are kept, the last ones used: half a megabyte each."""

_Entry = tuple[str | None, str | None, bool, bool]
_PATCHING = threading.RLock()
_find_defaults, _choices_so_far = defaults_list.create_defaults_list, defaults_list._create_interpolation_map


def reading_once(loader: ConfigLoaderImpl) -> "ReadingOnce":
    """The loader, but what is the same in many compositions is done when it is first asked for."""
    return loader if isinstance(loader, ReadingOnce) else ReadingOnce(loader.get_search_path())


class ReadingOnce(ConfigLoaderImpl):
    """A loader for as long as the files do not change."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        self.config_search_path = config_search_path
        self.repository = _ReadOnce(config_search_path)

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Hydra's configuration of these overrides."""
        with _defaults_found_once():
            return super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        assert isinstance(repo, CachingConfigRepository) and isinstance(repo.delegate, _ReadOnce)
        copies = _Copies(repo)
        entries = tuple((each.config_path, each.package, each.is_self, each.primary) for each in defaults)
        if len({path for path, *_ in entries}) < len(entries):  # Hydra's nodes of a file at two places are the same
            return super()._compose_config_from_defaults_list(defaults, copies)
        merged = repo.delegate.merged
        if (whole := merged.whole(entries)) is not None:
            return whole
        config, count = merged.begun(entries)
        shared = merged.shared(entries)
        try:
            with flag_override(config, "no_deepcopy_set_nodes", True):
                for at in range(count, len(entries)):
                    config.merge_with(self._load_single_config(defaults[at], copies).config)
                    if at + 1 == shared:
                        merged.keep_begun(entries[:shared], config)
        except Exception:  # Hydra's words for it
            return super()._compose_config_from_defaults_list(defaults, _Copies(repo))
        _strip_defaults(config)
        merged.keep_whole(entries, config)
        return config


class _Merged:
    """Merged configurations by the entries of the defaults list that they are of."""

    def __init__(self) -> None:
        self._wholes: OrderedDict[tuple[_Entry, ...], DictConfig] = OrderedDict()
        self._begun: OrderedDict[tuple[_Entry, ...], DictConfig] = OrderedDict()
        self._seen: OrderedDict[tuple[_Entry, ...], None] = OrderedDict()

    def whole(self, entries: tuple[_Entry, ...]) -> DictConfig | None:
        """A copy of all of them merged; None if they were not."""
        if entries not in self._wholes:
            return None
        self._wholes.move_to_end(entries)
        copy_of: DictConfig = copied(self._wholes[entries])
        return copy_of

    def begun(self, entries: tuple[_Entry, ...]) -> tuple[DictConfig, int]:
        """A copy of as many of the first of them as are merged, and their number."""
        for count in range(len(entries), 0, -1):
            if entries[:count] in self._begun:
                self._begun.move_to_end(entries[:count])
                return copied(self._begun[entries[:count]]), count
        return OmegaConf.create(), 0

    def shared(self, entries: tuple[_Entry, ...]) -> int:
        """How many of the first of them are worth keeping: those that another list began with, at first Hydra's."""
        most = sum(1 for _ in itertools.takewhile(lambda entry: str(entry[0]).startswith("hydra/"), entries))
        for other in self._seen:
            pairs = zip(entries, other, strict=False)
            most = max(most, sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        self._seen[entries] = None
        _forget_oldest(self._seen)
        return most

    def keep_begun(self, entries: tuple[_Entry, ...], config: DictConfig) -> None:
        kept = copied(config)
        kept._set_flag("no_deepcopy_set_nodes", None)
        self._begun[entries] = kept
        _forget_oldest(self._begun)

    def keep_whole(self, entries: tuple[_Entry, ...], config: DictConfig) -> None:
        self._wholes[entries] = copied(config)
        _forget_oldest(self._wholes)


def _forget_oldest(kept: OrderedDict[tuple[_Entry, ...], Any]) -> None:
    if len(kept) > _MOST_KEPT:
        kept.popitem(last=False)


def _strip_defaults(config: Any) -> None:
    """Take the defaults lists out that Hydra leaves in structured nodes until all is merged, as Hydra does."""
    if not isinstance(config, DictConfig) or config._is_missing() or config._is_none():
        return
    if config._get_flag("HYDRA_REMOVE_TOP_LEVEL_DEFAULTS"):
        with flag_override(config, ["readonly", "struct"], [False, False]):
            config._set_flag("HYDRA_REMOVE_TOP_LEVEL_DEFAULTS", None)
            config.pop("defaults", None)
    for _, value in config.items_ex(resolve=False):
        _strip_defaults(value)


class _ReadOnce(ConfigRepository):
    """Keeps what it has read and looked for; Hydra's own reads, and copies every schema, for each composition."""

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        super().initialize_sources(config_search_path)
        self._forget()

    def _forget(self) -> None:
        self.read: dict[str, ConfigResult | None] = {}
        self.found: dict[tuple[Any, ...], Any] = {}
        self.defaults: dict[tuple[Any, ...], DefaultsList] = {}
        self.merged = _Merged()

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self.read:
            self.read[config_path] = super().load_config(config_path)
        return self.read[config_path]

    def group_exists(self, config_path: str) -> bool:
        return bool(self._once(("group", config_path), lambda: super(_ReadOnce, self).group_exists(config_path)))

    def config_exists(self, config_path: str) -> bool:
        return bool(self._once(("config", config_path), lambda: super(_ReadOnce, self).config_exists(config_path)))

    def get_group_options(self, group_name: str, results_filter: ObjectType | None = ObjectType.CONFIG) -> list[str]:
        def options() -> list[str]:
            return super(_ReadOnce, self).get_group_options(group_name, results_filter)

        return [*self._once(("options", group_name, results_filter), options)]

    def _once(self, asked: tuple[Any, ...], find: Callable[[], Any]) -> Any:
        if asked not in self.found:
            self.found[asked] = find()
        return self.found[asked]

    def __getstate__(self) -> dict[str, Any]:
        """As Hydra's other launchers pickle it for their jobs: with nothing read."""
        fresh = copy.deepcopy(self)
        fresh._forget()
        return vars(fresh)

    def __deepcopy__(self, _: dict[int, Any]) -> "_ReadOnce":
        same = object.__new__(_ReadOnce)  # Hydra sets new sources in a copy, never changes those that there are
        vars(same).update(vars(self))
        return same


class _Copies(CachingConfigRepository):
    """The repository of one composition, with copies of what was read: merging takes it apart."""

    def __init__(self, repo: CachingConfigRepository) -> None:
        self.delegate, self.cache = repo, {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self.cache:
            read = self.delegate.load_config(config_path)
            self.cache[config_path] = None if read is None else replace(read, config=copied(read.config))
        return self.cache[config_path]


@contextmanager
def _defaults_found_once() -> Iterator[None]:
    """Hydra's functions that find a defaults list, and OmegaConf's parser, replaced by those below; then put back."""
    with _PATCHING:
        modules = vars(config_loader_impl), vars(defaults_list), vars(base)
        names = ("create_defaults_list", "_create_interpolation_map", "parse")
        before = [module[name] for module, name in zip(modules, names, strict=True)]
        try:
            for module, name, own in zip(modules, names, _OWN, strict=True):
                module[name] = own
            yield
        finally:
            for module, name, theirs in zip(modules, names, before, strict=True):
                module[name] = theirs


def _create_defaults_list(
    repo: IConfigRepository,
    config_name: str | None,
    overrides_list: list[Override],
    prepend_hydra: bool,
    skip_missing: bool,
) -> DefaultsList:
    """Hydra's, found once for all overrides that choose the same groups: no others have a say in it."""
    once = repo.delegate if isinstance(repo, CachingConfigRepository) else None
    if not isinstance(once, _ReadOnce):  # another thread's own Hydra
        return _find_defaults(repo, config_name, overrides_list, prepend_hydra, skip_missing)
    said = [each for each in overrides_list if not each.is_sweep_override()]
    is_value = [isinstance(each.value(), dict) or not repo.group_exists(each.key_or_group) for each in said]
    groups = [each for each, value in zip(said, is_value, strict=True) if not value]
    key = (config_name, prepend_hydra, skip_missing, *(each.input_line for each in groups))
    if key not in once.defaults:
        once.defaults[key] = _find_defaults(repo, config_name, groups, prepend_hydra, skip_missing)
    return replace(once.defaults[key], config_overrides=[*itertools.compress(said, is_value)])


def _create_interpolation_map(overrides: Overrides, defaults: list[InputDefault], self_added: bool) -> DictConfig:
    """Hydra's, where an entry has an interpolation to resolve; Hydra makes it for every file, and reads none."""
    if any(not each.is_self() and each.is_interpolation() for each in defaults):
        return _choices_so_far(overrides, defaults, self_added)
    return _NO_CHOICES


_NO_CHOICES = OmegaConf.create()
_OWN = _create_defaults_list, _create_interpolation_map, lru_cache(1024)(grammar_parser.parse)
"""The last parses each interpolation once: nobody changes a parse tree."""


def copied(config: Any) -> Any:
    """What `copy.deepcopy` makes of a configuration, but for what resolvers said, the time among it: that is forgotten.

    The nodes are copied, their values shared, the parent is kept.
    """
    return _copied(config, config.__dict__["_parent"])


def _copied(node: Node, parent: Any) -> Node:
    new: Node = object.__new__(type(node))
    state = new.__dict__
    state.update(node.__dict__)
    state["_metadata"], state["_flags_cache"], state["_parent"] = _copied_metadata(state["_metadata"]), None, parent
    content = state.get("_content")
    if isinstance(content, dict):
        state["_content"] = {name: _copied(value, new) for name, value in content.items()}
    elif isinstance(content, list):
        state["_content"] = [_copied(value, new) for value in content]
    elif isinstance(content, Node):
        state["_content"] = _copied(content, new)
    return new


def _copied_metadata(metadata: Metadata) -> Metadata:
    new: Metadata = object.__new__(type(metadata))
    new.__dict__.update(metadata.__dict__)
    new.flags = None if metadata.flags is None else {**metadata.flags}
    new.resolver_cache = defaultdict(dict)
    return new
