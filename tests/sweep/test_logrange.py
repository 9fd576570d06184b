"""Logarithmic ranges: which values they have, where they may stand, and what is said of wrong ones."""

import math
from itertools import pairwise

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from jumpstart_exp.__main__ import tidied_arguments
from jumpstart_exp.config.expansion import expand_jobs
from jumpstart_exp.config.logrange import expand_logranges
from jumpstart_exp.settings import SettingError


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("optimizer.lr=logrange(1e-5,1e-1,5)", "1e-05,0.0001,0.001,0.01,0.1"),
        ("optimizer.lr=logrange(3e-5,0.3,5)", "3e-05,0.0003,0.003,0.03,0.3"),
        ("optimizer.lr=logrange(1e-1,1e-5,5)", "0.1,0.01,0.001,0.0001,1e-05"),
        ("optimizer.lr=logrange(1,100,3)", "1.0,10.0,100.0"),
        ("optimizer.lr=logrange(1e-300,1e300,3)", "1e-300,1.0,1e+300"),
        ("optimizer.lr=logrange(start=1e-4,stop=1,count=3)", "0.0001,0.01,1.0"),
        ("width=logrange(1,64,7)", "1,2,4,8,16,32,64"),
        ("depth=logrange(1,150,8)", "1,2,4,9,18,36,73,150"),
        ("depth=logrange(1,3,9)", "1,2,3"),
        ("optimizer.batch_size=logrange(16,1024,4)", "16,64,256,1024"),
        ("optimizer.lr=1e-6,logrange(1e-5,1e-1,5),1", "1e-06,1e-05,0.0001,0.001,0.01,0.1,1"),
        ("optimizer.lr=choice(logrange(1e-3,1e-1,3))", "0.001,0.01,0.1"),
        ("optimizer.lr=choice(5,logrange(1e-3,1e-1,3))", "5,0.001,0.01,0.1"),
        ("optimizer.lr=sort(logrange(1e-3,1e-1,3),reverse=true)", "0.1,0.01,0.001"),
        ("optimizer.lr=float(logrange(1,100,3))", "1.0,10.0,100.0"),
        ("optimizer.batch_size=null,logrange(16,64,3)", "null,16,32,64"),
    ],
)
def test_the_values_are_those_that_one_would_type(typed, values):
    name = typed.partition("=")[0]
    assert expand_logranges(typed) == f"{name}={values}"
    assert tidied_arguments([typed]) == [f"{name}={values}"]


@given(st.floats(1e-12, 1e12), st.floats(1e-12, 1e12), st.integers(2, 40))
def test_each_value_is_the_same_multiple_of_the_one_before(first, last, count):
    if first == last:
        return
    numbers = [float(value) for value in expand_logranges(f"x=logrange({first},{last},{count})")[2:].split(",")]
    assert (numbers[0], numbers[-1], len(numbers)) == (first, last, count)
    steps = [math.log(after) - math.log(before) for before, after in pairwise(numbers)]
    assert steps == pytest.approx([(math.log(last) - math.log(first)) / (count - 1)] * len(steps), rel=1e-6, abs=1e-12)


def test_a_shuffled_one_has_the_same_values_in_some_order():
    found = expand_logranges("optimizer.lr=shuffle(logrange(1e-3,1e-1,3))").partition("=")[2]
    assert sorted(found.split(",")) == ["0.001", "0.01", "0.1"]


@pytest.mark.parametrize(
    "typed",
    ["depth=1,2", "optimizer.lr='logrange(1,2,3)'", "optimizer.lr=range(1,3)", "results_dir='logrange(a)'", "+x=y(1)"],
)
def test_all_else_and_what_stands_in_quotes_stays(typed):
    assert expand_logranges(typed) == typed


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("logrange(0,1,5)", "its first value is 0, and it must be above 0"),
        ("logrange(1,-1,5)", "its last value is -1, and it must be above 0"),
        ("logrange(inf,1,5)", "its first value is inf"),
        ("logrange(1,nan,5)", "its last value is nan"),
        ("logrange(true,2,3)", "its first value is True"),
        ("logrange(1,1,3)", "its first and last value are both 1"),
        ("logrange(1,2,1)", "its number of values is 1, and it must be 2 to 100000"),
        ("logrange(1,2,200000)", "its number of values is 200000"),
        ("logrange(1,2)", r"takes the first value, the last and how many there are, as in logrange\(1e-5,1e-1,5\)"),
        ("logrange(1,2,3,4)", "takes the first value"),
        ("logrange(1,2,2.5)", "takes the first value"),
        ("logrange(a,2,3)", "takes the first value"),
        ("[logrange(1,2,3)]", "stands in no list in one"),
        ("[1,2],[logrange(1,2,3)]", "stands in no list in one"),
        ("logrange(1,2,3", "no viable alternative"),
        ("logrange(1,2,60000),logrange(1,2,60000)", "more than 100000 values"),
    ],
)
def test_wrong_arguments_are_one_line_that_says_what_was_typed(typed, words):
    with pytest.raises(SettingError, match=words) as caught:
        expand_logranges(f"optimizer.lr={typed}")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"optimizer.lr={typed[:20]}")


def test_a_studys_own_grid_and_an_ellipsis_beside_it():
    jobs = expand_jobs(None, {"optimizer.lr": "logrange(1e-3,1e-1,3)"}, ["depth=logrange(1,4,3),...,32"])
    assert [job[0] for job in jobs][::6] == ["optimizer.lr=0.001", "optimizer.lr=0.01", "optimizer.lr=0.1"]
    assert [job[1] for job in jobs][:6] == [f"depth={2**power}" for power in range(6)]
    parsed = OverridesParser.create().parse_override(jobs[0][0])
    assert parsed.value() == 0.001


def test_a_command_line_with_one_is_a_sweep(answer):
    done = answer("-m", "optimizer.lr=logrange(1e-4,1e-2,3)", "width=logrange(1,8,4)", "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert " 12 (12 sep_up)" in done.stdout
    alone = answer("optimizer.lr=logrange(1e-4,1e-2,3)")
    assert alone.returncode == 2 and "has several values: to train them all add -m" in alone.stderr
    wrong = answer("-m", "optimizer.lr=logrange(1e-4,3)")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1) and "logrange takes the first value" in wrong.stderr
