"""Any value in any setting: a valid cell with exactly that value, or one line that names the field and the value."""

import dataclasses
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import instantiate
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from jumpstart_exp.__main__ import tidied_arguments
from jumpstart_exp.cell import Cell
from jumpstart_exp.config.cluster_settings import PREFIX, ClusterSettings, launcher_settings
from jumpstart_exp.config.composition import compose_cells
from jumpstart_exp.config.ellipsis import MOST_VALUES
from jumpstart_exp.config.errors import check_override, explain
from jumpstart_exp.config.expansion import expand_jobs
from jumpstart_exp.config.reading_once import reading_once
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.config.schema import (
    check_variant,
    conf_dir,
    known_settings,
    plain_config,
    register_schema,
    split_config,
)
from jumpstart_exp.data import DATASETS
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.settings import SettingError, legible
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

GROUPS = ("dataset", "method", "network", "optimizer", "variant", "+experiment")
NAMES = sorted({*known_settings(), *GROUPS, "hydra.launcher.workers"})
MOST = 2000
"""Characters of the longest line that still helps."""

HUGE = 10**5000
DEEP: Any = []
for _ in range(5000):
    DEEP = [DEEP]

NASTY = [
    *("", "''", "null", "true", "~", "'~'", "-0.0", "1e400", "-1e400", "nan", "-inf", "1e-400", "1_000", "0x10", "٣"),
    *("9" * 25, "-" + "9" * 25, "9" * 400, "-" + "9" * 400, "9" * 5000, "'" + "9" * 5000 + "'", "[" + "9" * 400 + "]"),
    *("x" * 3000, "'" + "x" * 50_000 + "'", "[" * 40 + "]" * 40, "[" * 2000 + "]" * 2000, "{a:" * 40 + "1" + "}" * 40),
    *("[]", "[[]]", "[null]", "[nan]", "[1,a]", "[1,2]", "{}", "{a:1}", "{depth:1}", "[relu]", "[moons]"),
    *("${depth}", "${", "${}", "${nothing}", "${oc.env:NO_SUCH_VARIABLE}", "${..depth}", "${${method}}", "'${depth}'"),
    *("\x00", "'\x00'", "'a\nb'", "\t", "'\x1b]0;title\x07'", "\x1b[2J", "'\u202eevil'", "'\ud800'", "[red]", "'[/]'"),
    *("'", '"', "\\", "'\\'", "a b", "a=b", "==", "a:b", "@x", "%s", "{", "}", ")", "(", ",", "1,", "#", "???"),
    *("../../etc/passwd", "/etc/passwd", "'\\input{/etc/passwd}'", "$(id)", "`id`", "!!python/object:os.system"),
    *("int('x')", "float(nan)", "bool(2)", "str(1)", "json_str([])", "extend_list(1)", "eval(1)", "sort(1)"),
]
"""Values as they are typed."""

SWEEPS = [
    *("range(1e400)", "range(nan)", "range(0.0,1,0)", "range(1,2,0)", "range(0,1,1e-300)", "range(100001)"),
    *("1,2,...,1e400", "1,2,...," + "9" * 400, "1,1,...,5", "...", "1,...,3", "1,2,...", "0.1,0.3,...,0.5"),
    *("interval(0,1)", "shuffle(1,2)", "tag(a,1,2)", "choice()", "choice(1,'')", "'a',\"b\"", "1,null", "1,[1]"),
]

wild = st.one_of(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=5),
    st.integers(-(2**70), 2**70),
    st.integers(300, 6000).map(lambda digits: -(10**digits)),
    st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zs"]), min_size=1, max_size=10),
    st.text(max_size=3).map(lambda text: text * 5000),
    st.recursive(st.floats() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3), max_leaves=6),
    st.dictionaries(st.text(max_size=3) | st.integers(), st.integers(), max_size=2),
    st.sampled_from([HUGE, -HUGE, [HUGE], {"a": HUGE}, DEEP, 1j, object(), Moons(), NetworkSpec, range(3), {1}, b"\0"]),
)

typed_values = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=12),
    st.text(max_size=12).map(lambda text: f"'{text}'"),
    st.text("[]{}(),:'\"\\$=.-+ \t0159eEnaif", max_size=12),
    (st.integers(-(2**65), 2**65) | st.floats()).map(str),
    st.lists(st.floats() | st.integers() | st.none(), max_size=4).map(lambda items: str(items).replace("None", "null")),
)


def is_one_line(message: str) -> bool:
    return message.isprintable() and 0 < len(message) <= MOST


def made(make: Callable[[], Any]) -> Any:
    """What is made, or the one line of the refusal."""
    try:
        return make()
    except SettingError as error:
        return str(error)


# The descriptions themselves


OWNERS: dict[str, Callable[..., Cell]] = {
    "dataset": lambda **values: Cell(dataset=Moons(**values)),
    "network": lambda **values: Cell(network=NetworkSpec(**values)),
    "penalty": lambda **values: Cell(penalty=PenaltySpec(**{"kind": "UP", **values})),
    "dropout": lambda **values: Cell(dropout=DropoutSpec(**{"rate": 0.5, **values})),
    "optimizer": lambda **values: Cell(optimizer=OptimizerSpec(**values)),
    "": lambda **values: Cell(**values),
}
SPECS: dict[str, type] = {
    "dataset": Moons,
    "network": NetworkSpec,
    "penalty": PenaltySpec,
    "dropout": DropoutSpec,
    "optimizer": OptimizerSpec,
    "": Cell,
}
FIELDS = [(group, field.name) for group, spec in SPECS.items() for field in dataclasses.fields(spec)]


def is_shown(value: Any, message: str) -> bool:
    try:
        texts = [repr(value), repr(int(value)) if isinstance(value, float) and value.is_integer() else repr(value)]
        texts += [repr(float(value))] if isinstance(value, int) and abs(value) <= sys.float_info.max else []
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too long to show" in message
    visible = ["".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text) for text in texts]
    return any(text[:50] in message for text in visible)


@pytest.mark.parametrize(("group", "name"), FIELDS)
@settings(max_examples=40)
@given(value=wild)
def test_a_field_holds_what_it_is_given_or_refuses_it_by_name(group: str, name: str, value: Any) -> None:
    answer = made(lambda: OWNERS[group](**{name: value}))
    if isinstance(answer, str):
        assert is_one_line(answer)
        # or it is fine by itself, but not beside another, which is named
        field = answer.partition("=")[0]
        assert field in (name, f"{group}.{name}") or (field in known_settings() and name in answer)
        assert is_shown(value, answer) or field != f"{group}.{name}".lstrip(".")
        return
    held = getattr(getattr(answer, group) if group else answer, name)
    if isinstance(held, tuple):
        assert list(held) == [float(item) for item in value]
    else:
        assert held == (float(value) if isinstance(held, float) else value)
    assert re.fullmatch("[0-9a-f]{32}", answer.key)


@settings(max_examples=80)
@given(name=st.sampled_from([field.name for field in dataclasses.fields(RunSettings)]), value=wild)
@example("results_dir", "~nobody-of-this-name/results")
@example("data_dir", "a\0b")
@example("results_dir", "\ud800")
def test_a_run_setting_holds_what_it_is_given_or_refuses_it_by_name(name: str, value: Any) -> None:
    answer = made(lambda: RunSettings(**{name: value}))
    if isinstance(answer, str):
        assert is_one_line(answer)
        assert answer.startswith(f"{name}=")
        assert is_shown(value, answer)
    else:
        assert getattr(answer, name) == value or (name.endswith("_dir") and isinstance(value, str))


def held_by_launcher(made: ClusterSettings, name: str) -> Any:
    return getattr(made.extra if name in ("setup", "additional_parameters") else made, name)


def spelled(value: Any) -> Any:
    """What a text is the spelling of, as OmegaConf reads it; any other value itself."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return yaml.safe_load(value)


def check_launcher(name: str, value: Any) -> None:
    answer = made(lambda: ClusterSettings.from_values({name: value}))
    if isinstance(answer, str):
        assert is_one_line(answer)
        assert answer.startswith(PREFIX) and legible(name) in answer
        if name in launcher_settings():
            assert is_shown(value, answer) or is_shown(spelled(value), answer)
        else:
            assert "is not a setting" in answer
        return
    assert name in launcher_settings()
    if name == "setup":
        value = tuple(value or ())
    if name == "additional_parameters":
        value = dict(value or {})
    held = held_by_launcher(answer, name)
    if isinstance(held, float) and type(value) is int:
        value = float(value)  # a number of a field with a point, as near as there is one
    assert held == value or held == spelled(value) or (isinstance(held, bool) and held == (spelled(value) != 0))


@pytest.mark.parametrize("name", launcher_settings())
@settings(max_examples=40)
@given(value=wild)
@example(value=None)
@example(value=math.nan)
@example(value="\x1b]0;title\x07")
@example(value=["true", "\0"])
@example(value={"hold": HUGE})
@example(value="2")
def test_a_setting_of_the_cluster_holds_what_it_is_given_or_refuses_it_by_name(name: str, value: Any) -> None:
    check_launcher(name, value)


@settings(max_examples=100)
@given(name=st.text(max_size=20) | st.sampled_from(["extra", "workers", "_target_", "x" * 9999, "\ud800", "a\nb"]))
@example(name="a\nb")
@example(name="x" * 9999)
def test_what_the_cluster_has_no_setting_for_is_refused_by_name(name: str) -> None:
    if name not in launcher_settings():
        check_launcher(name, 1)


@settings(max_examples=200)
@given(config=st.dictionaries(st.sampled_from([*SPECS, "depth", "method", "\x1b[31m", "x" * 9999, 1, HUGE]), wild))
@example({"dataset": {"name": "moons", HUGE: 1}})
@example({"penalty": {"\x1b]0;title\x07": 1}})
@example({"penalty": {"\n": 1}})
def test_a_configuration_of_anything_is_a_cell_or_one_line(config: Mapping[Any, Any]) -> None:
    answer = made(lambda: Cell.from_config(config, "any"))
    assert isinstance(answer, Cell) or is_one_line(answer)


def test_a_dataset_has_its_own_name() -> None:
    with pytest.raises(SettingError, match=r"^dataset\.name='cifar10' is not allowed: it must be moons for Moons$"):
        Cell(dataset=Moons(name="cifar10"))


@pytest.mark.parametrize("group", ["dataset", "network", "penalty", "dropout", "optimizer"])
def test_a_group_of_a_cell_is_of_its_kind(group: str) -> None:
    others = [value() for name, value in SPECS.items() if name not in (group, "")]
    for value in [None, 3, "", {}, *others]:
        with pytest.raises(SettingError, match=rf"^{group}=.* is not allowed: it must be a \w+Spec$"):
            Cell(**{group: value})


# The key


def values_of(hint: Any, rules: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Allowed values of a setting, and some that are not."""
    if rules.get("choices"):
        return st.sampled_from(rules["choices"])
    text = str(hint)
    if "tuple" in text:
        return st.lists(st.floats(0, 3), min_size=1, max_size=3)
    if "bool" in text:
        return st.booleans()
    return st.integers(0, 6) | st.floats(0, 1.5) | st.sampled_from([None, 1, 1.0, 5e-324, 2**32 - 1])


CONFIGS = st.fixed_dictionaries(
    {"dataset.name": st.sampled_from(sorted(DATASETS))},
    optional={
        name: values_of(*rules)
        for name, rules in known_settings().items()
        if name not in {field.name for field in dataclasses.fields(RunSettings)} and name != "dataset.name"
    },
)


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name, value in flat.items():
        group, _, last = name.rpartition(".")
        (config.setdefault(group, {}) if group else config)[last] = value
    return config


def cell_of(flat: Mapping[str, Any]) -> Cell | None:
    answer = made(lambda: Cell.from_config(nested(flat), "fuzzed"))
    assert isinstance(answer, Cell) or is_one_line(answer)
    # before its files are examined a cell has no key
    return answer if isinstance(answer, Cell) and answer.dataset.is_examined else None


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(flat=CONFIGS)
def test_a_key_survives_json_and_is_that_of_every_equal_cell(flat: dict[str, Any]) -> None:
    cell = cell_of(flat)
    if cell is None:
        return
    back = json.loads(json.dumps(nested(flat)))
    assert Cell.from_config(back, "other label").key == cell.key
    described = {name: value for name, value in cell.description().items() if value is not None}
    again = {("dataset.name" if name == "dataset" else name): value for name, value in described.items()}
    assert Cell.from_config(nested(json.loads(json.dumps(again))), "described").key == cell.key
    assert json.loads(json.dumps(cell.key)) == cell.key


NEUTRAL = {"dataset.noise": 0.0, "dataset.augment": "none", "penalty.layers": "hidden"}


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(flat=CONFIGS, data=st.data())
def test_keys_differ_exactly_where_descriptions_do(flat: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(set(known_settings()) & {*Cell().description(), "dataset.augment"})))
    other = {**flat, name: data.draw(values_of(*known_settings()[name]))}
    pair = cell_of(flat), cell_of(other)
    if pair[0] is None or pair[1] is None:
        return
    one, two = (
        {field: value for field, value in cell.description().items() if value not in (None, NEUTRAL.get(field))}
        for cell in pair
        if cell is not None
    )
    assert (pair[0].key == pair[1].key) == (one == two)


# What is typed


class CommandLine:
    """The command line's way from what is typed to cells, in this process: all that `main` does before it trains."""

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self.loader, self.master = loader, master

    def one(self, *typed: str) -> Cell | str:
        return self._answer(typed, self._one)

    def sweep(self, *typed: str) -> list[Cell] | str:
        return self._answer(typed, self._sweep)

    def cluster(self, *typed: str) -> ClusterSettings | str:
        return self._answer(typed, self._cluster)

    def _answer(self, typed: Sequence[str], composed: Callable[[list[str]], Any]) -> Any:
        try:
            arguments = tidied_arguments(list(typed))
            for argument in arguments:
                check_override(argument)
            return composed(arguments)
        except SettingError as error:
            return str(error)
        except (HydraException, OmegaConfBaseException) as error:
            return explain(error)

    def _one(self, arguments: list[str]) -> Cell:
        config = self.loader.load_configuration("config", arguments, RunMode.RUN)
        choices = config.hydra.runtime.choices
        check_variant(choices, self.loader.get_group_options("variant/of"))
        return Cell.from_config(split_config(plain_config(config))[0], choices["method"])

    def _sweep(self, arguments: list[str]) -> list[Cell]:
        jobs = expand_jobs(self.loader, None, arguments)
        return compose_cells(self.loader, self.master, jobs[:4])

    def _cluster(self, arguments: list[str]) -> ClusterSettings:
        chosen = ["hydra/launcher=fleet_slurm", *arguments]
        config = self.loader.load_configuration("config", chosen, RunMode.MULTIRUN)
        return ClusterSettings.from_values(instantiate(config.hydra.launcher).options)


@pytest.fixture(scope="module")
def line() -> Iterator[CommandLine]:
    register_schema()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        master = hydra.compose_config("config", [], RunMode.MULTIRUN, with_log_configuration=False)
        yield CommandLine(reading_once(hydra.config_loader), master)


def last(name: str) -> str:
    return name.lstrip("+").rpartition(".")[2]


def names_it(name: str, value: str, message: str) -> bool:
    """Whether the message names field and value, this as it was typed, or as Hydra or Python writes it."""
    plain = value.strip().strip("'\"")
    spellings = {plain, ascii(plain)[1:-1], "".join(c if c.isprintable() else ascii(c)[1:-1] for c in plain)}
    if re.fullmatch("[+-]?[0-9]+", plain):
        spellings.add(repr(float(plain)))  # a text, for a decimal
    try:
        parsed = OverridesParser.create().parse_override(f"x={value}").value()
        parsed = parsed.text if isinstance(parsed, QuotedString) else parsed
        spellings |= {str(parsed), repr(parsed), ascii(parsed)[1:-1]}
    except (HydraException, ValueError, RecursionError):
        pass
    seen = "".join(message.split())
    field = "dataset" if name == "dataset.name" else last(name)
    return field in message and any("".join(text.split())[:40] in seen for text in spellings)


def held(name: str, cell: Cell) -> Any:
    if name == "method":
        return cell.method
    if name in ("dataset", "dataset.name"):
        return cell.dataset.name
    part: Any = cell
    for attribute in name.split("."):
        part = getattr(part, attribute)
    return part


def means(value: Any, found: Any) -> bool:
    """Whether a cell's value is what was typed: a text that spells a number or a truth is one."""
    if isinstance(value, QuotedString):
        value = value.text
    if isinstance(found, bool):
        return (str(value).lower() in ("true", "yes", "on", "y", "t", "1")) == found
    if isinstance(value, bool | int | float) and isinstance(found, str):
        return str(value) == found
    if isinstance(value, str | int) and isinstance(found, int | float):
        return found in (value, float(value))  # 2**53 + 1 is no float
    if isinstance(value, list):
        return [float(item.text if isinstance(item, QuotedString) else item) for item in value] == list(found)
    return bool(value == found)


def check_single(line: CommandLine, name: str, value: str) -> None:
    answer = line.one(f"{name}={value}")
    if isinstance(answer, str):
        assert is_one_line(answer), answer
        elsewhere = value == "???" or "one a constrained layer" in answer or f"{name} is a setting of " in answer
        assert elsewhere or "${" in value or names_it(name, value, answer), answer
    elif name in known_settings() or name in ("dataset", "method"):
        run = {field.name for field in dataclasses.fields(RunSettings)}
        if name not in run and "${" not in value:
            parsed = OverridesParser.create().parse_override(f"{name}={value}").value()
            assert means(parsed, held(name, answer)), held(name, answer)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), value=typed_values)
@example("penalty.layer_weights", "[0.0, 0, 0.0]")
@example("network.activation_source", "-0.0")
def test_any_value_of_any_setting_is_a_cell_or_one_line(line: CommandLine, name: str, value: str) -> None:
    check_single(line, name, value)


def test_the_nastiest_values_are_a_cell_or_one_line(line: CommandLine) -> None:
    for name, value in zip(cycle(["depth", "penalty.weight", "penalty.layer_weights", "method"]), NASTY, strict=False):
        check_single(line, name, value)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), values=st.lists(typed_values, min_size=2, max_size=3))
def test_any_sweep_of_any_setting_is_cells_or_one_line(line: CommandLine, name: str, values: list[str]) -> None:
    answer = line.sweep(f"{name}={','.join(values)}")
    assert is_one_line(answer) if isinstance(answer, str) else all(isinstance(cell, Cell) for cell in answer)


def test_the_nastiest_sweeps_are_cells_or_one_line(line: CommandLine) -> None:
    for name, value in zip(cycle(["depth", "penalty.weight", "method"]), SWEEPS, strict=False):
        answer = line.sweep(f"{name}={value}")
        if isinstance(answer, str):
            assert is_one_line(answer), answer
            assert last(name) in answer or value in answer


def check_typed_for_launcher(line: CommandLine, name: str, value: str) -> None:
    answer = line.cluster(f"{PREFIX}{name}={value}")
    if isinstance(answer, str):
        assert is_one_line(answer), answer
        if name not in launcher_settings():
            assert PREFIX + name in answer, answer
        else:
            assert value == "???" or "${" in value or names_it(PREFIX + name, value, answer), answer
    else:
        assert name in launcher_settings()
        if "${" not in value and name not in ("setup", "additional_parameters"):
            parsed = OverridesParser.create().parse_override(f"x={value}").value()
            assert means(parsed, held_by_launcher(answer, name)), answer


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([*launcher_settings()[:-2], "workers", "extra", "nothing", "minutes_per_tasks"]),
    value=typed_values,
)
@example("partition", "'a\nb'")
def test_any_value_of_any_setting_of_the_cluster_is_taken_or_one_line(line: CommandLine, name: str, value: str) -> None:
    check_typed_for_launcher(line, name, value)


def test_the_nastiest_values_for_the_cluster_are_taken_or_one_line(line: CommandLine) -> None:
    names = ["minutes_per_task", "timeout_min", "wait", "partition", "additional_parameters", "setup"]
    for name, value in zip(cycle(names), NASTY, strict=False):
        check_typed_for_launcher(line, name, value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("range(1e400)", "finite"),
        ("range(nan,3)", "finite"),
        ("range(0.0,1,0)", "a step of 0"),
        ("range(0,1,1e-300)", f"more than {MOST_VALUES}"),
        (f"range({MOST_VALUES + 1})", f"more than {MOST_VALUES}"),
        (f"shuffle(range(0,{MOST_VALUES + 1}.5))", f"more than {MOST_VALUES}"),
    ],
)
def test_a_range_without_end_is_refused(line: CommandLine, value: str, why: str) -> None:
    answer = line.sweep(f"penalty.weight={value}")
    assert isinstance(answer, str)
    assert f"penalty.weight={value} " in answer and why in answer


def test_the_longest_range_is_made(line: CommandLine) -> None:
    assert len(expand_jobs(line.loader, None, [f"seed=range({MOST_VALUES})"])) == MOST_VALUES
    assert len(expand_jobs(line.loader, None, ["penalty.weight=range(0,0.3,0.1)"])) == 3
    assert math.prod(len(job) for job in expand_jobs(line.loader, None, ["seed=range(5,0,-2)"])) == 1


@pytest.mark.parametrize("name", [*GROUPS, "hydra/launcher", "variant/of"])
@pytest.mark.parametrize("value", ["null", "3", "0.5", "true", "[relu]", "range(3)", "'\0'", "'\ud800'", "x" * 300])
def test_a_group_takes_a_name(name: str, value: str) -> None:
    with pytest.raises(SettingError) as caught:
        check_override(f"{name}={value}")
    assert is_one_line(str(caught.value))
    assert str(caught.value).startswith(f"{name.lstrip('+')}=")
    assert names_it(name, value, str(caught.value))


@pytest.mark.parametrize("typed", ["~method", "~dataset", "method=glob(*)", "method=relu,sep_up", "+experiment=quick"])
def test_what_hydra_takes_for_a_group_passes(typed: str) -> None:
    check_override(typed)
