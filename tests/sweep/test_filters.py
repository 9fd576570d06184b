"""Filters of cells: what they keep, against Python's own answer, and what is said of those that cannot be."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumpstart_exp.__main__ import tidied_arguments
from jumpstart_exp.cell import Cell
from jumpstart_exp.config.errors import check_override
from jumpstart_exp.config.filters import Filter, kept
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.dropout import DropoutSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec
from jumpstart_exp.specs.rai import RaiSpec

GRID = list(itertools.product((1, 10, 50), (2, 4), ("relu", "sep_up"), (0, 1)))


def cell(depth: int = 2, width: int = 3, method: str = "relu", seed: int = 0, **values: object) -> Cell:
    penalty = PenaltySpec(kind="UP" if method == "sep_up" else "none", weight=1e-3)
    return Cell(depth=depth, width=width, method=method, seed=seed, **{"penalty": penalty, **values})


CELLS = [cell(*at) for at in GRID]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("depth*width<=100", lambda d, w, m, s: d * w <= 100),
        ("depth*width<=100 and method!='relu' or seed==1", lambda d, w, m, s: (d * w <= 100 and m != "relu") or s == 1),
        ("not (depth>1 and width==4)", lambda d, w, m, s: not (d > 1 and w == 4)),
        ("1 < depth <= 50", lambda d, w, m, s: 1 < d <= 50),
        ("width in [2, 3] and depth not in (1,)", lambda d, w, m, s: w in [2, 3] and d not in (1,)),
        ('"sep" in method', lambda d, w, m, s: "sep" in m),
        ("method in ['sep_up', 'sep_u']", lambda d, w, m, s: m == "sep_up"),
        ("penalty.weight>0", lambda d, w, m, s: m == "sep_up"),
        ("penalty.weight*1000==1 or width>2", lambda d, w, m, s: m == "sep_up" or w > 2),
        ("penalty.kind=='none'", lambda d, w, m, s: m == "relu"),
        ("penalty.balance==null", lambda d, w, m, s: m == "relu"),
        ("null==penalty.balance or penalty.balance<1", lambda d, w, m, s: True),
        ("depth%3==1 and depth//10>=0 and -width<-3", lambda d, w, m, s: d % 3 == 1 and w > 3),
        ("depth/width - 1e0 > +4.5", lambda d, w, m, s: d / w - 1 > 4.5),
        ("width**2==4", lambda d, w, m, s: w == 2),
        ("dataset=='moons' and optimizer.lr==0.01 and task_loss == true", lambda d, w, m, s: True),
        ("optimizer.batch_size==null", lambda d, w, m, s: True),
        ("dropout.rate==0 and seed<1", lambda d, w, m, s: s == 0),
        ("depth>1\n  and width>2", lambda d, w, m, s: d > 1 and w > 2),
    ],
)
def test_what_a_filter_keeps(where: str, expected: Callable[..., bool]) -> None:
    assert kept(CELLS, where) == [expected(*at) for at in GRID]


def test_without_a_filter_all_are_kept() -> None:
    assert kept(CELLS, None) == [True] * len(CELLS)


def test_what_only_other_datasets_have_is_null() -> None:
    image = cell(dataset=Mnist(), optimizer=OptimizerSpec(batch_size=64))
    assert kept([image, cell()], "dataset.augment!=null") == [True, False]
    assert kept([image, cell()], "optimizer.batch_size==64") == [True, False]
    assert kept([cell(dropout=DropoutSpec(rate=0.5)), cell()], "dropout.rate>0.1") == [True, False]
    relaxed = [cell(rai=RaiSpec(weight=1.0, period=period)) for period in (0, 5)]
    assert kept([cell(), *relaxed], "rai.weight==0") == [True, False, False]
    assert kept([cell(), *relaxed], "rai.weight>0 and rai.period==0") == [False, True, False]


numbers = st.sampled_from(["depth", "width", "seed", "2", "0.5", "(depth+1)", "-3"])
comparisons = st.builds("{} {} {}".format, numbers, st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), numbers)
expressions = st.recursive(
    st.one_of(comparisons, st.sampled_from(["method=='relu'", "true", "depth in [1, 2]"])),
    lambda inner: st.one_of(
        st.builds("not ({})".format, inner),
        st.builds("({}) {} ({})".format, inner, st.sampled_from(["and", "or"]), inner),
    ),
    max_leaves=6,
)


@given(expressions, st.integers(1, 4), st.integers(1, 4), st.integers(0, 2), st.sampled_from(["relu", "sep_up"]))
def test_an_expression_means_what_it_means_in_python(text: str, depth: int, width: int, seed: int, method: str) -> None:
    values = {"depth": depth, "width": width, "seed": seed, "method": method, "true": True}
    assert Filter(text).keeps(values, "a cell") == eval(text, {"__builtins__": {}}, values)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("dept<3", "dept is not a setting of a cell; did you mean depth?"),
        ("weight<1", "weight is not a setting of a cell; did you mean penalty.weight?"),
        ("optimizer.rl<1", r"optimizer.rl is not a setting of a cell; did you mean optimizer.lr\?"),
        ("method==sep_up", "sep_up is not a setting of a cell; a text stands in quotes: 'sep_up'"),
        ("engine=='native'", "engine is not a setting of a cell, but of how cells are run"),
        ("(1).real>0", r"\(1\).real is not a setting"),
        ("depth.real>0", "depth.real is not a setting of a cell"),
        ("depth=3", "cannot be read: invalid syntax.*== compares"),
        ("depth<3 && width<3", "and for &&"),
        ("depth<", "cannot be read: invalid syntax"),
        ("depth–width>1", "EN DASH.* is no '-'"),
        ("", "an expression of 1 to 2000 letters"),
        (" ", "an expression of 1 to 2000 letters"),
        ("1" * 3000, "an expression of 1 to 2000 letters"),
        ("-" * 1500 + "1>0", "too deep"),
        ("(" * 300 + "depth>0" + ")" * 300, "too many nested parentheses"),
        ("\0", "null bytes"),
        ("__import__('os').system('true')", "is none of settings, numbers"),
        ("(lambda: 1)()", "is none of settings"),
        ("[x for x in (1, 2)]", "is none of settings"),
        ("f'{depth}'=='1'", "is none of settings"),
        ("1 if depth else 2", "is none of settings"),
        ("depth:=3", "is none of settings"),
        ("depth is 3", "'is' is none of"),
        ("depth==1j", "1j is none of"),
        ("depth", "it gives 2, which is neither true nor false: compare it"),
        ("depth,", "it gives .2., which is neither"),
        ("not depth", "depth=2 is neither true nor false"),
        ("depth and true", "depth=2 is neither true nor false"),
        ("depth=='2'", "depth=2 is a number and '2' is a text"),
        ("depth in ['2']", "is a number and .* is a text"),
        ("depth==true", "is a number and true=True is true or false"),
        ("depth<method", "depth=2 is a number and method='relu' is a text"),
        ("true<2", "true=True has no order"),
        ("depth in 3", "nothing is in 3: a list would do"),
        ("method*10**9==1", "method='relu' is no number"),
        ("9**9**9**9>1", "is no number that is finite"),
        ("depth/(width-3)>1", "depth / .width - 3. is no number that is finite"),
        ("(0-8)**0.5>1", "is no number that is finite"),
        ("penalty.balance<1", "penalty.balance is null there .* penalty.balance==null or"),
        ("penalty.balance+1<1", "penalty.balance is null there"),
        ("depth>1000", r"leaves nothing of one cell: depth is 2$"),
    ],
)
def test_a_filter_that_cannot_be_is_one_line(where: str, words: str) -> None:
    with pytest.raises(SettingError, match=words) as caught:
        kept([cell()], where)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("where=")


def test_one_that_leaves_nothing_says_of_what() -> None:
    with pytest.raises(SettingError, match=r"leaves none of 24 cells: depth is 1, 10, 50; method is relu, sep_up$"):
        kept(CELLS, "depth>50 or method=='sep_l'")
    many = [replace(cell(), depth=depth) for depth in range(1, 9)]
    with pytest.raises(SettingError, match=r"leaves none of 8 cells: depth is 1 to 8$"):
        kept(many, "depth>50")


@pytest.mark.parametrize(
    "where",
    [
        "depth*width<=1000",
        "'relu'!=method",
        "method in ['relu', \"x\"]",
        "method=='a\\\\'",
        "'a'=='a'",
        "method != 'ü'",
    ],
)
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_it_comes_through_the_command_line_as_it_is_typed(where: str, quote: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if quote and quote in where:
        return
    (argument,) = tidied_arguments([f"where={quote}{where}{quote}"])
    check_override(argument)
    assert OverridesParser.create().parse_override(argument).value() == where


def test_a_sweep_a_study_and_a_single_cell_take_one(answer, tmp_path):
    line = ["-m", "depth=1,10,100", "width=2,4", "method=relu,sep_up"]
    done = answer(*line, "where=depth*width<=40 and method!='relu'", "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "where keeps 4 of 12 cells" in done.stdout and " 4 (4 sep_up)" in done.stdout
    nothing = answer("-m", "depth=1,10,100", "where=depth>100")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (2, 1)
    assert "where='depth>100' leaves none of 3 cells: depth is 1, 10, 100" in nothing.stderr
    assert not (tmp_path / "results").exists()
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    study = "# @package _global_\nwhere: depth*width<=20\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
    (folder / "narrow.yaml").write_text(f"{study}      depth: 1,10,100\n      optimizer.lr: logrange(1e-3,1e-1,3)\n")
    own = ["--config-dir", "mine", "-m", "+experiment=narrow"]
    assert "where keeps 3 of 9 cells" in answer(*own, "dry_run=true").stdout
    assert "9 (9 sep_up)" in answer(*own, "where=null", "dry_run=true").stdout
    (folder / "narrow.yaml").write_text(f"{study.replace('width', 'wide')}      depth: 1,10,100\n")
    wrong = answer(*own)
    assert wrong.returncode == 2 and "narrow.yaml: where='depth*wide<=20' cannot be read: wide is" in wrong.stderr
    alone = answer("depth=5", "where=depth<5")
    assert alone.returncode == 2 and "leaves nothing of one cell: depth is 5" in alone.stderr
    assert answer("depth=5", "where=depth<=5", "dry_run=true").returncode == 0
