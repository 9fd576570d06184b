import itertools
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jumpstart_exp.cell import Cell
from jumpstart_exp.config import composition as compose
from jumpstart_exp.config.composition import compose_cells, compose_one
from jumpstart_exp.config.contents import with_contents
from jumpstart_exp.config.errors import explain
from jumpstart_exp.config.expansion import expand_jobs
from jumpstart_exp.config.filters import kept
from jumpstart_exp.config.schema import conf_dir, plain_config, register_schema, split_config
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.data.strip import Strip
from jumpstart_exp.settings import SettingError

METHODS = ("relu", "relu_bn", "sep_l", "sep_p", "sep_u", "sep_up", "zero_init")
STUDIES = sorted(path.stem for path in Path(conf_dir(), "experiment").glob("*.yaml"))
ON_IMAGES = re.compile("mnist|cifar")
"""Those `test_image_sweeps` looks at, every one."""
CPAIOR_DEPTHS = [1, 2, 3, 4, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150]
WIDTHS = [1, 2, 3, 4, 5, 10, 15, 20, 25]

# Each study's published grid: methods, depths, widths.
GRIDS: dict[str, tuple[Sequence[str], Sequence[int], Sequence[int]]] = {
    "cpaior_moons": (("relu", "sep_up"), CPAIOR_DEPTHS, WIDTHS),
    "iclr_moons": (
        ("relu", "relu_bn", "sep_u", "sep_p", "sep_up", "zero_init"),
        [1, *range(10, 121, 10)],
        WIDTHS,
    ),
    # SepCons, figure 1: 2 ≤ depth ≤ 150, 2 ≤ width ≤ 25
    "sepcons_moons": (
        ("relu", "relu_bn", "sep_l", "sep_p", "sep_u", "sep_up"),
        [2, *range(10, 151, 10)],
        [2, 3, 4, 5, 10, 15, 20, 25],
    ),
    "table2_50x4": (("relu", "relu_bn", "sep_l", "sep_p", "sep_u", "sep_up"), [50], [4]),
    "constraints_only_50x4": (("sep_l", "sep_up"), [50], [4]),
    "dynamics_50x4": (("sep_up",), [50], [4]),
}
EPOCHS = {"table2_50x4": 1000, "constraints_only_50x4": 1000, "dynamics_50x4": 17000}

Master = Callable[..., tuple[Any, DictConfig]]


@contextmanager
def hydra_over(folder: str) -> Iterator[Master]:
    """Composes a sweep's own configuration from what is typed, as Hydra does before it calls the sweeper."""
    register_schema()
    with initialize_config_dir(folder, version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None

        @cache
        def master(*typed: str) -> tuple[Any, DictConfig]:
            config = hydra.compose_config("config", list(typed), RunMode.MULTIRUN, with_log_configuration=False)
            return hydra.config_loader, config

        yield master


@pytest.fixture(scope="module")
def hydra() -> Iterator[Master]:
    with hydra_over(conf_dir()) as master:
        yield master


@pytest.fixture
def own_conf(tmp_path: Path) -> Callable[..., str]:
    """A user's configuration folder: its files by name."""

    def write(**files: str) -> str:
        for name, content in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return f"hydra.searchpath=[file://{tmp_path}]"

    return write


def sweep_of(master: Master, *typed: str, sampled: bool = True) -> tuple[list[list[str]], list[Cell]]:
    """The jobs and the cells of a sweep as it is typed; all of them by the fast way where no sample is taken."""
    loader, config = master(*typed)
    arguments = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    assert isinstance(arguments, list)
    jobs = expand_jobs(loader, config.hydra.sweeper.params, arguments)
    return jobs, compose_cells(loader, config, jobs, sampled=sampled)


def kept_of(master: Master, cells: Sequence[Cell], *typed: str) -> list[Cell]:
    """What the study's filter leaves of its grid."""
    _, config = master(*typed)
    return [cell for cell, is_kept in zip(cells, kept(cells, config.where), strict=True) if is_kept]


def alone(master: Master, job: Sequence[str], *shared: str) -> Cell:
    """The cell that the job's overrides give when they are typed for one cell, without -m."""
    loader, _ = master(*shared)
    config = loader.load_configuration("config", [*shared, *job], RunMode.RUN)
    return Cell.from_config(split_config(plain_config(config))[0], config.hydra.runtime.choices["method"])


def refusal(compose_anything: Callable[[], Any]) -> str:
    """The one line with which the command line answers what cannot be composed."""
    with pytest.raises((SettingError, HydraException, OmegaConfBaseException)) as caught:
        compose_anything()
    error: Any = caught.value
    message = str(error) if isinstance(error, SettingError) else explain(error)
    assert "\n" not in message
    return message


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[str, ...]]]:
    """How often Hydra is asked to compose which overrides."""
    asked: Counter[tuple[str, ...]] = Counter()
    load = ConfigLoaderImpl.load_sweep_config

    def counting(self: ConfigLoaderImpl, master: DictConfig, overrides: list[str]) -> DictConfig:
        asked[tuple(overrides)] += 1
        return load(self, master, overrides)

    with monkeypatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "load_sweep_config", counting)
        yield asked


# Fast composition is Hydra's


@pytest.mark.parametrize(
    "typed",
    [
        ["depth=1,3", "width=2", "seed=0,1"],
        ["method=relu,relu_bn,zero_init"],
        ["method=relu,sep_up", "variant=paper,code", "depth=2,3"],
        ["network=mlp,conv2x1", "width=2,3", "method=sep_p"],
        ["optimizer=adam,adam_keras", "optimizer.lr=1e-3,1"],
        ["penalty.weight=0,1,1e-4", "penalty.balance=1", "method=sep_up,relu"],
        ["penalty.aggregate=sum,l2", "penalty.ties=single,random", "variant=code"],
        ["optimizer.batch_size=null,10", "optimizer.epochs=20", "dataset.n_train=null,50"],
        ["task_loss=true,false", "precision=float64"],
        ["depth=3", "penalty.layer_weights=[1,2,3],[1,1,1],null"],
        ["+experiment=table2_50x4", "variant=code", "optimizer.lr=0.1,0.2"],
        ["method=sep_up", "seed=range(0,3)"],
        ["penalty.weight=0.1", "method=sep_u,sep_p", "depth='3'"],
        ["dropout.rate=0,0.5", "network.init=zero"],
        ["results_dir=2024", "depth=1,2"],
        ["data_dir=true", "results_dir=1e3", "depth=1,2"],
        ["results_dir='a folder, with = and \\' in it'", "seed=1,2"],
    ],
    ids=" ".join,
)
def test_every_job_is_composed_as_hydra_does(hydra: Master, typed: list[str]) -> None:
    jobs, cells = sweep_of(hydra, *typed, sampled=False)
    assert len(jobs) == len(cells) > 0
    for job, cell in zip(jobs, cells, strict=True):
        by_hydra = alone(hydra, job)
        assert cell == by_hydra
        assert cell.key == by_hydra.key
        assert cell.method == by_hydra.method


def outcome(composed: Callable[[], Cell]) -> tuple[Cell, str] | str:
    """The cell with its key, or why there is none."""
    try:
        cell = composed()
    except SettingError as error:
        return str(error)
    return cell, cell.key


# no shrinking: Hydra takes its time
@settings(max_examples=6, phases=[Phase.generate])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "method": st.sampled_from(METHODS),
            "variant": st.sampled_from(["paper", "code"]),
            "network": st.sampled_from(["mlp", "conv2x1"]),
            "optimizer": st.sampled_from(["adam", "adam_keras"]),
            "depth": st.integers(1, 10**5),
            "width": st.integers(1, 10**6),
            "seed": st.integers(0, 2**32 - 1),
            "optimizer.lr": st.one_of(st.floats(1e-12, 1e6), st.integers(1, 10)),
            "penalty.weight": st.one_of(st.floats(0, 1e6), st.integers(0, 10)),
            "penalty.balance": st.one_of(st.floats(0, 1), st.integers(0, 1)),
            "penalty.ties": st.sampled_from(["shared", "single", "random"]),
            "+experiment": st.sampled_from(STUDIES),
        },
    ),
    st.randoms(use_true_random=False),
)
def test_any_job_is_composed_as_hydra_does(hydra: Master, chosen: dict[str, Any], order: Any) -> None:
    job = [f"{name}={value!r}" if isinstance(value, float) else f"{name}={value}" for name, value in chosen.items()]
    order.shuffle(job)
    loader, config = hydra()
    found = outcome(lambda: compose_cells(loader, config, [job], sampled=False)[0])
    assert found == outcome(lambda: alone(hydra, job))


def test_hydra_is_asked_once_per_set_of_choices_not_once_a_cell(
    hydra: Master, own_conf: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = ("method=relu,sep_up", "variant=paper,code", "depth=range(1,21)", "width=1,2,3")
    with counted(monkeypatch) as asked:
        jobs, _ = sweep_of(hydra, *typed)
    assert len(jobs) == 240 and max(asked.values()) == 1
    firsts, spread, lasts = ({tuple(jobs[i]) for i in at} for at in ((0, 60, 120, 180), (120, 239), (59, 119, 179)))
    assert set(asked) == firsts | spread, "the first of each set of choices, and three over the whole sweep"
    path = own_conf(method__mine="depth: 3\n")
    with counted(monkeypatch) as asked:
        sweep_of(hydra, path, *typed)
    assert set(asked) == firsts | spread | lasts, "the last of each, too"


@pytest.mark.parametrize(
    ("typed", "loads"),
    [
        (["depth=1,2,3"], 3),
        (["method=relu,sep_up,sep_p,sep_u"], 4),
        (["method=relu,sep_up", "depth=1,2"], 3),
        (["depth=1,2,3,4,5"], 3),  # a sample, whose first is what all share
    ],
)
def test_no_job_is_composed_by_hydra_twice(
    hydra: Master, monkeypatch: pytest.MonkeyPatch, typed: list[str], loads: int
) -> None:
    with counted(monkeypatch) as asked:
        jobs, cells = sweep_of(hydra, *typed)
    assert asked.total() == loads and max(asked.values()) == 1
    assert (len(jobs) == loads) == ({tuple(job) for job in jobs} == set(asked))
    assert cells == sweep_of(hydra, *typed, sampled=False)[1]


def test_no_jobs_are_no_cells(hydra: Master) -> None:
    loader, config = hydra()
    assert compose_cells(loader, config, []) == []


def test_a_fast_way_that_differs_is_given_up_with_a_warning(
    hydra: Master, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fast = compose._Composer.fast

    def differing(self: Any, job: Sequence[str], index: int) -> Cell:
        return replace(fast(self, job, index), depth=77)

    monkeypatch.setattr(compose._Composer, "fast", differing)
    with counted(monkeypatch) as asked, caplog.at_level(logging.WARNING):
        jobs, cells = sweep_of(hydra, "depth=1,2,3,4", "method=sep_up,relu")
    assert {tuple(job) for job in jobs} <= set(asked)
    assert [(cell.depth, cell.method) for cell in cells] == [
        (depth, method) for depth in (1, 2, 3, 4) for method in ("sep_up", "relu")
    ]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "every job with Hydra" in record.getMessage()
    assert " ".join(jobs[0]) in record.getMessage()


def test_a_sweep_that_agrees_warns_of_nothing(hydra: Master, caplog: pytest.LogCaptureFixture) -> None:
    sweep_of(hydra, "depth=1,2,3", "penalty.weight=1,2")  # more than Hydra composes alone
    assert caplog.records == []


# A user's own methods


def test_a_new_method_is_a_yaml_file_and_nothing_else(hydra: Master, own_conf: Callable[..., str]) -> None:
    path = own_conf(method__mine="# @package _global_\npenalty: {kind: P, weight: 0.25, aggregate: mean}\n")
    jobs, cells = sweep_of(hydra, path, "method=relu,mine", "depth=2,3", sampled=False)
    assert [(cell.method, cell.depth, cell.penalty_weight) for cell in cells] == [
        ("relu", 2, 0.0),
        ("relu", 3, 0.0),
        ("mine", 2, 0.25),
        ("mine", 3, 0.25),
    ]
    assert cells[2] == alone(hydra, jobs[2], path)


def test_a_method_that_sets_what_does_not_exist_is_refused(hydra: Master, own_conf: Callable[..., str]) -> None:
    path = own_conf(method__mine="# @package _global_\npenalty: {kind: P, wieght: 0.25}\n")
    assert "wieght" in refusal(lambda: sweep_of(hydra, path, "method=relu,mine"))


def test_interpolations_follow_swept_values(hydra: Master, own_conf: Callable[..., str]) -> None:
    path = own_conf(method__tied="# @package _global_\npenalty: {kind: UP, weight: '${optimizer.lr}'}\n")
    jobs, cells = sweep_of(hydra, path, "method=tied,sep_up", "optimizer.lr=0.5,0.25,1", "seed=0,1", sampled=False)
    assert len(jobs) == 12
    assert [cell.penalty.weight for cell in cells] == [
        *itertools.chain.from_iterable([lr] * 2 for lr in (0.5, 0.25, 1.0)),
        *[1e-4] * 6,
    ]
    for index in (0, 3, 4, 7):  # every rate, either seed and method
        by_hydra = alone(hydra, jobs[index], path)
        assert (cells[index], cells[index].key) == (by_hydra, by_hydra.key)


def test_an_interpolation_over_depth_and_width(hydra: Master, own_conf: Callable[..., str]) -> None:
    path = own_conf(method__grown="# @package _global_\npenalty: {kind: U}\noptimizer: {epochs: '${depth}${width}'}\n")
    _, cells = sweep_of(hydra, path, "method=grown", "depth=1,2", "width=3,4", sampled=False)
    assert [cell.optimizer.epochs for cell in cells] == [13, 14, 23, 24]


def test_an_interpolation_that_is_typed(hydra: Master) -> None:
    typed = ["penalty.weight=${optimizer.lr}", "optimizer.lr=0.5,0.25,0.125,0.0625"]
    jobs, cells = sweep_of(hydra, *typed, sampled=False)
    assert [cell.penalty.weight for cell in cells] == [0.5, 0.25, 0.125, 0.0625]
    assert [alone(hydra, job).key for job in jobs] == [cell.key for cell in cells]


@pytest.mark.parametrize(
    "typed", ["${oc.env:JUMPSTART_INDEX}", "'${oc.env:JUMPSTART_INDEX}'", "${oc.env:NO_SUCH_VARIABLE,7}"]
)
def test_a_number_out_of_the_environment_is_one(hydra: Master, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.setenv("JUMPSTART_INDEX", "7")
    names = ("seed", "width", "optimizer.epochs", "dataset.n_train")
    jobs, cells = sweep_of(hydra, *(f"{name}={typed}" for name in names), "depth=2,3", sampled=False)
    same = sweep_of(hydra, *(f"{name}=7" for name in names), "depth=2,3", sampled=False)[1]
    assert cells == same == [alone(hydra, job) for job in jobs]


def test_an_interpolating_method_refuses_what_does_not_exist(hydra: Master, own_conf: Callable[..., str]) -> None:
    path = own_conf(method__tied="# @package _global_\npenalty: {kind: UP, weight: '${optimizer.lr}'}\n")
    loader, config = hydra(path)
    assert "dpeth" in refusal(lambda: compose_cells(loader, config, [["method=tied", "dpeth=3"]]))


# What is refused


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (["dpeth=3"], "dpeth is not a setting; did you mean depth?"),
        (["optimizer.lrr=3"], "optimizer.lrr is not a setting; did you mean lr?"),
        (["lr=3"], "lr is not a setting; did you mean optimizer.lr?"),
        (["penalty.wieght=0.1"], "penalty.wieght is not a setting; did you mean weight?"),
        (["depth.x=3"], "depth.x is not a setting"),
        (["depth=0"], "depth=0 is not allowed: it must be an integer from 1 to 100000 (hidden layers)"),
        (["depth=ten"], "depth='ten' is not allowed: it must be an integer from 1 to 100000 (hidden layers)"),
        (["penalty.aggregate=meen"], "did you mean mean?"),
        (["penalty=3"], "penalty='3' is not allowed: it must be a group of settings"),
    ],
)
def test_unknown_names_and_bad_values_are_refused_in_one_line(hydra: Master, job: list[str], message: str) -> None:
    loader, config = hydra()
    assert message in refusal(lambda: compose_cells(loader, config, [job]))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("method=sep_upp", "method='sep_upp' is not allowed: it must be one of asymmetric, balanced_above, "),
        ("method=sep_upp", "; did you mean sep_up?"),
        (
            "network=conv1x2",
            "network='conv1x2' is not allowed: it must be one of cnn, conv2x1, default, mlp; did you mean conv2x1?",
        ),
        (
            "dataset=moon",
            "dataset='moon' is not allowed: it must be one of "
            "cifar10, cifar100, csv, mnist, moons, moons_noisy, npz, sklearn, spirals, strip; did you mean moons?",
        ),
        ("+experiment=cpaior_moon", "did you mean cpaior_moons?"),
    ],
)
def test_unknown_options_are_refused_with_what_there_is(hydra: Master, typed: str, message: str) -> None:
    loader, config = hydra()
    assert message in refusal(lambda: compose_cells(loader, config, [[typed]]))


def test_an_unknown_variant_is_refused(hydra: Master) -> None:
    loader, config = hydra()
    message = refusal(lambda: compose_cells(loader, config, [["variant=cod"]]))
    assert message.startswith("variant='cod' is not allowed: it must be ")


def test_one_bad_job_among_many_is_refused_before_anything_runs(hydra: Master) -> None:
    loader, config = hydra()
    jobs = [[f"depth={depth}", f"penalty.balance={balance}"] for depth in range(1, 50) for balance in (0.5, 1)]
    jobs[41][1] = "penalty.balance=1.5"
    with pytest.raises(SettingError, match=r"penalty\.balance=1\.5 is not allowed: it must be a number from 0 to 1"):
        compose_cells(loader, config, jobs)


# The jobs of a sweep


def jobs_of(master: Master, *typed: str, params: dict[str, Any] | None = None) -> list[list[str]]:
    loader, _ = master()
    return expand_jobs(loader, params, list(typed))


def test_jobs_are_the_product_of_all_values(hydra: Master) -> None:
    jobs = jobs_of(hydra, "depth=1,2", "method=relu,sep_up", "width=3")
    assert jobs == [
        ["depth=1", "method=relu", "width=3"],
        ["depth=1", "method=sep_up", "width=3"],
        ["depth=2", "method=relu", "width=3"],
        ["depth=2", "method=sep_up", "width=3"],
    ]


def test_ellipses_in_jobs(hydra: Master) -> None:
    assert [job[0] for job in jobs_of(hydra, "depth=1,10,...,40")] == [
        "depth=1",
        "depth=10",
        "depth=20",
        "depth=30",
        "depth=40",
    ]


def test_an_ellipsis_of_two_readings_is_an_error(hydra: Master) -> None:
    with pytest.raises(SettingError, match=r"^depth=1,3,\.\.\.,9 cannot be expanded: write 1,3,5,7,\.\.\.,9 for"):
        jobs_of(hydra, "depth=1,3,...,9")


def test_the_command_line_wins_over_a_study(hydra: Master) -> None:
    params = {"method": "relu,sep_up", "depth": "1,2,3", "width": "4"}
    jobs = jobs_of(hydra, "depth=7", "width=1,2", "seed=5", params=params)
    assert {tuple(sorted(job)) for job in jobs} == {
        ("depth=7", f"method={method}", "seed=5", f"width={width}") for method in ("relu", "sep_up") for width in (1, 2)
    }
    assert len(jobs) == 4


def test_the_later_of_two_values_of_one_setting_wins(hydra: Master) -> None:
    assert jobs_of(hydra, "depth=1,2", "depth=3") == [["depth=3"]]


def test_no_swept_value_is_one_job(hydra: Master) -> None:
    assert jobs_of(hydra) == [[]]
    assert jobs_of(hydra, "depth=3") == [["depth=3"]]


@pytest.mark.parametrize("typed", ["depth=range(3,3)", "depth=choice()"])
def test_an_empty_sweep_is_refused(hydra: Master, typed: str) -> None:
    with pytest.raises((SettingError, HydraException)) as caught:
        jobs_of(hydra, typed, "width=1,2")
    assert typed in str(caught.value)
    if typed == "depth=range(3,3)":
        assert str(caught.value) == "the sweep is empty: depth=range(3,3) has no values"


def test_an_interval_is_no_list_of_values(hydra: Master) -> None:
    with pytest.raises(SettingError, match=r"^optimizer\.lr=interval\(0,1\) is not allowed: a sweep must be a list or"):
        jobs_of(hydra, "optimizer.lr=interval(0,1)")


@pytest.mark.parametrize(
    "typed",
    [
        "engine=eager,auto",
        "device=cpu,cuda",
        "results_dir=a,b",
        "data_dir=a,b",
        "curve_every=1,2",
        "retry=none,failed",
        "dry_run=true,false",
    ],
)
def test_what_cannot_change_a_result_cannot_be_swept(hydra: Master, typed: str) -> None:
    name = typed.partition("=")[0]
    with pytest.raises(SettingError, match=f"^{name} cannot be swept: it is the same for the whole sweep$"):
        jobs_of(hydra, "depth=1,2", typed)


# The published studies


SAME = ("rai_grid", "rai_settings_deep")
ATLAS_ON_MOONS = ("atlas_moons", "atlas_rates", "atlas_quick")
OF_NO_PAPER = [*{study for study in STUDIES if study.startswith("atlas_")} - {*ATLAS_ON_MOONS}, "sequel_tables"]
"""Of datasets that have no variant `code`."""


@pytest.mark.parametrize(
    ("study", "variant"),
    [
        (study, variant)
        for study in STUDIES
        for variant in ("paper", "code")
        # what these sweep the methods and the study say themselves, whatever the variant
        if study not in GRIDS
        and not ON_IMAGES.search(study)
        and (variant, study) not in itertools.product(["code"], (*SAME, *ATLAS_ON_MOONS, *OF_NO_PAPER))
    ],
)
def test_a_study_of_our_own_has_no_cell_twice(hydra: Master, study: str, variant: str, tmp_path: Path) -> None:
    typed = (f"+experiment={study}", f"variant={variant}", "seed=0")
    _, cells = sweep_of(hydra, *typed, sampled=False)
    cells = with_contents(kept_of(hydra, cells, *typed), tmp_path)
    if study in ("rai_settings", "rai_settings_deep"):  # a weight of 0 is the same training whatever else is swept
        cells = [cell for cell in cells if cell.rai_weight]
    if study.startswith("atlas_"):  # without room for a skip, rezero, residual and fixup are he
        skips = ("rezero", "residual", "fixup", "sep_up_rezero", "sep_up_residual")
        cells = [cell for cell in cells if cell.method not in skips or cell.depth > 2]
    assert len(cells) == len({cell.key for cell in cells}) > 0


@pytest.mark.parametrize("variant", ["paper", "code"])
@pytest.mark.parametrize("study", sorted(GRIDS))
def test_a_study_is_its_published_grid(
    hydra: Master, study: str, variant: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    methods, depths, widths = GRIDS[study]
    with counted(monkeypatch) as asked:
        _, cells = sweep_of(hydra, f"+experiment={study}", f"variant={variant}", sampled=False)
    assert asked.total() == len(methods), "each method composed once"
    expected = set(itertools.product(methods, depths, widths))
    assert {(cell.method, cell.depth, cell.width) for cell in cells} == expected
    assert len(cells) == len({cell.key for cell in cells}) == len(expected)
    assert capsys.readouterr().err == ""

    code, of_50x4 = variant == "code", study.endswith("50x4")
    for cell in cells:
        assert cell.network.layout == ("conv2x1" if code and not of_50x4 else "mlp")
        assert (cell.optimizer.eps, cell.optimizer.eps_rule) == ((1e-7, "keras") if code else (1e-8, "torch"))
        assert (cell.optimizer.lr, cell.optimizer.epochs) == (0.01, EPOCHS.get(study, 5000))
        assert cell.batch_size == 85
        assert cell.dataset.sizes() == (85, 15)
        assert cell.task_loss == (study != "constraints_only_50x4")
        assert cell.seed == 0
        assert (cell.network.norm == "batch") == (cell.method == "relu_bn")
        drawn = "glorot_uniform_2x1" if code and of_50x4 else "glorot_uniform"
        assert cell.network.init == ("zero" if cell.method == "zero_init" else drawn)
        assert cell.dropout.rate == (0.9 if cell.method == "zero_init" else 0)
        assert cell.dropout.anneal_epochs == 1000
        assert cell.optimizer.shuffle == (not code), "Keras's runs did not shuffle"
        penalty = cell.penalty
        if cell.penalty_weight:
            assert cell.penalty_weight == 1e-4
            assert (penalty.aggregate, penalty.ties) == (("sum_sq", "shared") if code else ("sum", "single"))
            assert penalty.balance == (0.51 if cell.method == "zero_init" else 0.5)
            assert (penalty.margin_above, penalty.margin_below) == (1.0, -1.0)
            if code:
                assert penalty.scope == "position"
        kinds = {"sep_u": "U", "sep_p": "P", "sep_up": "UP", "sep_l": "L", "zero_init": "UP"}
        assert penalty.kind == kinds.get(cell.method, "none")


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_the_trainings_on_the_strip_are_as_the_paper_describes_them(hydra: Master, variant: str) -> None:
    """Geometry, section 5: gradient descent with all points, step 0.01, of the first layer alone but in figure 15."""
    cells = {
        number: sweep_of(hydra, f"+experiment=geometry_{number}", f"variant={variant}", "seed=0,3", sampled=False)[1]
        for number in (13, 14, 15, 16)
    }
    for number, own in cells.items():
        for cell in own:
            assert (cell.optimizer.name, cell.optimizer.lr, cell.optimizer.momentum) == ("sgd", 0.01, 0)
            assert cell.batch_size == cell.dataset.sizes()[0] and cell.precision == "float64"
            assert cell.optimizer.trained_layers == (None if number == 15 else (1,))
            assert (cell.depth, cell.width) == (2 if number == 15 else 1, 1)
            assert isinstance(cell.dataset, Strip) and cell.dataset.random_state == cell.seed, "seeds draw points"
            is_long = number > 14
            assert (cell.dataset.half_length, cell.network.init_at) == ((30, 25) if is_long else (3, 2))
            assert (cell.dataset.gap == 0) == is_long
            assert cell.network.init_norm == 1 or not is_long
    sizes = [cell.dataset.sizes()[0] for cell in cells[13] if cell.seed == 3]
    assert sizes == [25, 50, 200, 800, 3200] and {cell.network.init_norm for cell in cells[13]} == {25}
    assert [cell.network.init_norm for cell in cells[14] if cell.seed == 0] == [1, 2, 5, 10, 25, 50, 100]
    assert {cell.dataset.sizes()[0] for cell in cells[14]} == {3200}
    shared = {cell.key for cell in cells[13]} & {cell.key for cell in cells[14]}
    assert len(shared) == 2, "3,200 points and norm 25 are trained once"
    rows = {cell.method: (cell.optimizer.row_penalty, cell.optimizer.row_limit) for cell in cells[16]}
    assert rows == {
        "hyperplane": (0, None),
        "hyperplane_penalty_3e-3": (0.003, None),
        "hyperplane_penalty_1e-2": (0.01, None),
        "hyperplane_limit_1.5": (0, 1.5),
        "hyperplane_limit_3": (0, 3),
    }
    assert {cell.optimizer.row_layers for cell in cells[16]} == {(1,)}


RELAXED = ("activation", "pre_activation")
NOISY: dict[str, Any] = {"noise": 0.1, "random_state": 42, "n_samples": 100, "n_fresh_val": 1000}
"""The RAI proposal's data."""


@pytest.mark.parametrize("variant", ["paper", "code"])
@pytest.mark.parametrize("dataset", ["moons_noisy", "moons"])
@pytest.mark.parametrize("study", ["rai_shallow", "rai_deep"])
def test_the_proposals_networks_are_trained_as_usual_and_relaxed_but_else_alike(
    hydra: Master, study: str, dataset: str, variant: str
) -> None:
    typed = [] if dataset == "moons_noisy" else [f"dataset={dataset}"]
    _, cells = sweep_of(hydra, f"+experiment={study}", f"variant={variant}", *typed, sampled=False)
    units, code = ("relu" if study == "rai_shallow" else "logistic"), variant == "code"
    plain, relaxed = ("relu", "rai") if study == "rai_shallow" else ("logistic", "rai_logistic")
    assert [(cell.method, cell.seed) for cell in cells] == list(itertools.product((plain, relaxed), range(10)))
    assert {cell.widths for cell in cells} == {(42, 100, 100, 42) if study == "rai_shallow" else (100,) * 100}
    for cell in cells:
        assert (cell.network.activation, cell.network.layout) == (units, "mlp")
        assert cell.network.init == ("kaiming_uniform" if code else "glorot_uniform")
        assert (cell.optimizer.name, cell.optimizer.lr) == (("rprop", 0.1) if code else ("adam", 0.01))
        assert cell.optimizer.epochs == 10_000 and cell.batch_size == cell.dataset.sizes()[0]
        assert cell.dataset == (Moons(**NOISY) if dataset == "moons_noisy" else Moons())
        rai = cell.rai
        assert rai.weight == (cell.method == relaxed)
        assert rai.relax == ("pre_activation" if code else "activation")
        assert (rai.include_output, rai.reduce, rai.loss) == (code, "mean" if code else "sum", "squared")
        assert (rai.start, rai.schedule, rai.period, rai.rate) == ("forward", "constant", 0, 1)
        assert cell.relaxed_layers == (tuple(range(cell.depth)) if cell.method == relaxed else ())
    others = {"method": None, "seed": None}
    for one, other in zip(cells[:10], cells[10:], strict=True):
        told = {name: value for name, value in one.description().items() if not name.startswith("rai.")} | others
        assert told == {n: v for n, v in other.description().items() if not n.startswith("rai.")} | others


_Tried = tuple[str, bool, int, tuple[str, float, float], tuple[str, float], int]
"""What is relaxed, whether the outputs are, every which layer, optimizer with z's rate, the weight, the period."""


def tried(cells: Iterable[Cell]) -> dict[tuple[str, int, int], Counter[_Tried]]:
    """How often each of RAI's settings is trained, by network."""
    found: dict[tuple[str, int, int], Counter[_Tried]] = {}
    for cell in cells:
        told, rai = cell.description(), cell.rai
        assert told["rai.final_weight"] == (100.0 if told["rai.schedule"] == "geometric" else None)
        optimizer = (cell.optimizer.name, cell.optimizer.lr, rai.rate)
        weight = (told["rai.schedule"], rai.weight)
        network = (cell.method, cell.depth, cell.width)
        own = found.setdefault(network, Counter())
        own[rai.relax, rai.include_output, rai.every, optimizer, weight, rai.period] += 1
    return found


def with_ordinary(hydra: Master, *typed: str) -> tuple[list[Cell], list[Cell]]:
    """A study's cells with relaxed layers; and the others, which are ordinary training, each once."""
    _, cells = sweep_of(hydra, *typed, sampled=False)
    cells = kept_of(hydra, cells, *typed)
    ordinary = {cell.key: cell for cell in cells if not cell.rai_weight}
    return [cell for cell in cells if cell.rai_weight], [*ordinary.values()]


def test_rais_settings_are_crossed_on_thin_networks_beside_ordinary_training(hydra: Master) -> None:
    relaxed, ordinary = with_ordinary(hydra, "+experiment=rai_settings", "seed=3")
    trained = [("adam", 0.01, rate) for rate in (1.0, 10.0, 100.0)] + [("rprop", 0.1, 1.0)]
    weights = [("constant", weight) for weight in (0.1, 1.0, 10.0, 100.0)] + [("geometric", 0.1)]
    relax, every, periods = ("activation", "pre_activation"), (1,), (0, 100)
    crossed = Counter(itertools.product(relax, (False, True), every, trained, weights, periods))
    assert tried(relaxed) == {("rai", depth, 4): crossed for depth in (10, 30, 50)}
    assert {cell.dataset for cell in relaxed + ordinary} == {Moons(**NOISY)}
    found = {(cell.depth, cell.optimizer.name, cell.optimizer.lr) for cell in ordinary}
    assert len(ordinary) == 6
    assert found == {*itertools.product((10, 30, 50), ("adam",), (0.01,)), *((d, "rprop", 0.1) for d in (10, 30, 50))}


def test_rais_settings_differ_from_the_authors_one_at_a_time_on_the_deep_network(hydra: Master) -> None:
    relaxed, ordinary = with_ordinary(hydra, "+experiment=rai_settings_deep", "seed=3")
    author: _Tried = ("pre_activation", True, 1, ("rprop", 0.1, 1.0), ("constant", 1.0), 0)
    others: list[list[Any]] = [
        ["activation"],
        [False],
        [2, 10],
        [("adam", 0.01, rate) for rate in (1.0, 10.0, 100.0)],
        [("constant", weight) for weight in (0.1, 10.0, 100.0)] + [("geometric", 0.1)],
        [100],
    ]
    one_at_a_time = [(*author[:at], other, *author[at + 1 :]) for at, values in enumerate(others) for other in values]
    assert tried(relaxed) == {("rai_logistic", 100, 100): Counter([author, *one_at_a_time])}
    assert {(cell.optimizer.name, cell.optimizer.lr) for cell in ordinary} == {("adam", 0.01), ("rprop", 0.1)}
    assert {cell.rai.reduce for cell in relaxed} == {"mean"} and {cell.network.activation for cell in relaxed} == {
        "logistic"
    }
    assert {cell.dataset for cell in relaxed + ordinary} == {Moons(**NOISY | {"n_fresh_val": 100})}


def test_rai_and_the_others_have_the_same_grid_and_optimizers(hydra: Master) -> None:
    typed = ("+experiment=rai_grid", "seed=0,1")
    _, cells = sweep_of(hydra, *typed, sampled=False)
    places: dict[str, list[Any]] = {}
    for cell in kept_of(hydra, cells, *typed):
        assert cell.optimizer.lr == {"adam": 0.01, "rprop": 0.1}[cell.optimizer.name]
        assert cell.network.activation == ("logistic" if cell.method.endswith("logistic") else "relu")
        assert cell.dataset == Moons()
        place = (cell.depth, cell.width, cell.seed, cell.optimizer.name)
        places.setdefault(cell.method.removesuffix("_logistic"), []).append((place, cell.network.activation))
    grid = itertools.product([1, 10, 20, 30, 50, 100], [2, 4, 10, 25], [0, 1], ["adam", "rprop"])
    expected = Counter(itertools.product(grid, ["relu", "logistic"]))
    assert expected == Counter(places["relu"] + places["logistic"])
    assert all(Counter(places[method]) == expected for method in ("sep_up", "zero_init", "rai_best"))
    assert {(depth, width) for (depth, width, *_), _ in expected} < set(itertools.product(CPAIOR_DEPTHS, WIDTHS))


def test_the_authors_relaxation_takes_an_mlp_on_moons(hydra: Master) -> None:
    cell = sweep_of(hydra, "method=rai", "variant=code", "network=mlp")[1][0]
    assert (cell.rai.relax, cell.rai.include_output, cell.rai.reduce) == ("pre_activation", True, "mean")
    refused = refusal(lambda: sweep_of(hydra, "method=rai", "variant=code"))
    assert "network.layout='conv2x1'" in refused and "must be mlp with rai.weight=1" in refused
    assert "dataset=moons_noisy variant=code" in refused, "which is what was meant"
    alike = [sweep_of(hydra, "method=relu", "variant=code", f"rai.relax={relax}")[1][0] for relax in RELAXED]
    assert len({cell.key for cell in alike}) == 1


def test_the_sizes_of_the_published_grids() -> None:
    sizes = {study: len(list(itertools.product(*axes))) for study, axes in GRIDS.items()}
    assert sizes["cpaior_moons"] == 24 * 9 * 2 == 432
    assert sizes["iclr_moons"] == 13 * 9 * 6
    assert sizes["sepcons_moons"] == 16 * 8 * 6
    assert sizes["table2_50x4"] == 6


def test_a_studys_grid_can_be_replaced_from_the_command_line(hydra: Master) -> None:
    _, cells = sweep_of(
        hydra, "+experiment=cpaior_moons", "depth=2,3", "width=4", "seed=0,1", "optimizer.epochs=10", sampled=False
    )
    assert {(cell.method, cell.depth, cell.width, cell.seed) for cell in cells} == set(
        itertools.product(("relu", "sep_up"), (2, 3), (4,), (0, 1))
    )
    assert {cell.optimizer.epochs for cell in cells} == {10}


def test_the_variants_of_a_study_are_different_cells(hydra: Master) -> None:
    _, cells = sweep_of(
        hydra, "+experiment=cpaior_moons", "variant=paper,code", "depth=1,2", "width=1,2", sampled=False
    )
    assert len({cell.key for cell in cells}) == len(cells) == 16


def test_one_set_of_overrides_is_composed_as_hydra_does(hydra: Master) -> None:
    typed = ["dataset=cifar10", "variant=code", "method=sep_up", "depth=20", "width=8", "penalty.layer_weights=null"]
    assert compose_one(typed) == alone(hydra, typed)
    with pytest.raises(SettingError, match="depth=0"):
        compose_one(["depth=0"])
    with pytest.raises(HydraException):
        compose_one(["depht=3"])


# Values by another setting's


BY_METHOD = {
    "method": "relu,sep_up,he",
    "depth": "1,2",
    "optimizer.lr": {"method": {"he": "0.1,0.2", "others": "0.01"}},
    "width": {"method": {"relu": "1,2,...,3", "others": "5"}},
}


def test_values_by_another_settings_are_those_of_each_job(hydra: Master) -> None:
    jobs = {tuple(job) for job in jobs_of(hydra, params=BY_METHOD)}
    expected = {
        (f"method={method}", f"depth={depth}", f"optimizer.lr={rate}", f"width={width}")
        for method, rates, widths in [("relu", [0.01], [1, 2, 3]), ("sep_up", [0.01], [5]), ("he", [0.1, 0.2], [5])]
        for depth in (1, 2)
        for rate in rates
        for width in widths
    }
    assert jobs == expected


def test_what_is_typed_wins_over_values_by_another_setting(hydra: Master) -> None:
    jobs = jobs_of(hydra, "method=he", "width=7,8", params=BY_METHOD)
    expected = itertools.product(
        ["method=he"], ["depth=1", "depth=2"], ["optimizer.lr=0.1", "optimizer.lr=0.2"], ["width=7", "width=8"]
    )
    assert sorted(map(tuple, jobs)) == sorted(expected)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"width": {"method": {"relu": "1"}}}, "params.width is by method, which is none of the grid's"),
        ({"method": "relu", "width": {}}, "params.width is not allowed: values by another setting are"),
        ({"method": "relu", "width": {"method": "1"}}, "params.width is not allowed: values by another setting are"),
        (
            {"method": "relu", "width": {"method": {"rleu": "1"}}},
            "width.method.rleu is not allowed: one of relu, others",
        ),
        (
            {"method": "relu,he", "width": {"method": {"he": "1"}}},
            "width.method has nothing for method=relu, nor others",
        ),
        ({"method": "relu", "width": {"method": {"relu": "5,...,9"}}}, "fewer than two values before the ellipsis"),
    ],
)
def test_values_by_another_setting_that_cannot_be_read(hydra: Master, params: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        jobs_of(hydra, params=params)


def test_a_method_that_is_typed_needs_a_value_of_what_goes_by_it(hydra: Master) -> None:
    by = {"method": "relu", "width": {"method": {"relu": "1"}}}
    with pytest.raises(SettingError, match="has nothing for method=he, nor others"):
        jobs_of(hydra, "method=he", params=by)
