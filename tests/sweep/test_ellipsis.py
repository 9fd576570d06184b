import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hypothesis import assume, example, given
from hypothesis import strategies as st

from jumpstart_exp.config.ellipsis import MOST_VALUES, expand_override, sweep_strings
from jumpstart_exp.settings import SettingError

PARSER = OverridesParser.create()

whole = st.integers(-1000, 1000)
decimals = st.decimals(-50, 50, places=3).map(lambda number: number + 0)
steps = st.one_of(st.integers(-60, 60), st.decimals(-3, 3, places=3)).filter(bool).map(Decimal)


def parse(text: str) -> Override:
    return PARSER.parse_override(text)


def expand(text: str) -> list[str]:
    return list(sweep_strings(parse(text)))


def numbers(text: str) -> list[Decimal]:
    return [Decimal(value) for value in sweep_strings(parse(text))]


def refusal(text: str) -> str:
    with pytest.raises(SettingError) as caught:
        sweep_strings(parse(text))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(text)
    return message


def typed(number: Decimal) -> str:
    return f"{number:f}"


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ("1,10,...,150", "1,10,20,30,40,50,60,70,80,90,100,110,120,130,140,150"),
        ("1,2,...,5,10,...,25", "1,2,3,4,5,10,15,20,25"),
        ("1,2,...,5", "1,2,3,4,5"),
        ("1,2,...,2", "1,2"),
        ("1,10,...,20", "1,10,20"),
        ("0,10,...,40", "0,10,20,30,40"),
        ("10,9,...,1", "10,9,8,7,6,5,4,3,2,1"),
        ("150,140,...,10", "150,140,130,120,110,100,90,80,70,60,50,40,30,20,10"),
        ("2,1,...,-2", "2,1,0,-1,-2"),
        ("-5,-4,...,0", "-5,-4,-3,-2,-1,0"),
        ("0.1,0.2,...,0.5", "0.1,0.2,0.3,0.4,0.5"),
        ("0.5,0.4,...,0.0", "0.5,0.4,0.3,0.2,0.1,0.0"),
        ("1e-4,3e-4,...,1.1e-3", "0.0001,0.0003,0.0005,0.0007,0.0009,0.0011"),
        ("0.3,1,...,3", "0.3,1.0,2.0,3.0"),
        ("1,1.5,...,2.5", "1.0,1.5,2.0,2.5"),
        ("7,3,1,2,...,5,9", "7,3,1,2,3,4,5,9"),
        (" 1 , 10 , ... , 30 ", "1,10,20,30"),
        ("1_000,3_000,...,7_000", "1000,3000,5000,7000"),
        ("relu,1,2,...,5", "relu,1,2,3,4,5"),
        ("inf,1,2,...,5", "inf,1.0,2.0,3.0,4.0,5.0"),
        ("choice(1,2,...,5)", "1,2,3,4,5"),
        ("tag(depths,choice(1,2,...,5))", "1,2,3,4,5"),
    ],
)
def test_an_ellipsis_goes_on_in_even_steps(sweep: str, expected: str) -> None:
    assert ",".join(expand(f"depth={sweep}")) == expected


def test_the_published_moons_grid_can_be_typed_in_one_line() -> None:
    depths = sweep_strings(parse("depth=1,2,...,5,10,...,50,60,...,150"))
    assert [int(depth) for depth in depths] == [*range(1, 6), *range(10, 55, 5), *range(60, 151, 10)]
    widths = expand("width=1,2,...,5,10,...,25")
    assert len(depths) * len(widths) == 216


def test_learning_rates_are_exact() -> None:
    rates = sweep_strings(parse("lr=1e-4,2e-4,...,1e-3"))
    assert [float(rate) for rate in rates] == [1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 6e-4, 7e-4, 8e-4, 9e-4, 1e-3]


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ("1,2,4,...,64", "1,2,4,8,16,32,64"),
        ("64,32,...,1", "64,32,16,8,4,2,1"),
        ("1e-4,1e-3,...,1", "0.0001,0.001,0.01,0.1,1.0"),
        ("1e-6,1e-5,1e-4,...,1e-1", "1e-06,1e-05,0.0001,0.001,0.01,0.1"),
        ("0.1,0.01,...,1e-4", "0.1,0.01,0.001,0.0001"),
        ("1,10,100,...,10000", "1,10,100,1000,10000"),
        ("8,12,18,...,27", "8,12,18,27"),
        ("-1,-2,-4,...,-16", "-1,-2,-4,-8,-16"),
        ("1,2,...,5,10,20,...,80", "1,2,3,4,5,10,20,40,80"),
    ],
)
def test_an_ellipsis_goes_on_in_powers(sweep: str, expected: str) -> None:
    assert ",".join(expand(f"width={sweep}")) == expected


def test_three_numbers_of_one_factor_have_no_other_reading() -> None:
    message = refusal("width=1,2,4,...,50")
    assert "no powers end on 50; an end of 32 (2,4,8,16,32) or 64 (2,4,8,16,32,64) would do" in message


@pytest.mark.parametrize(
    ("sweep", "readings"),
    [
        ("1,10,...,100", [[*range(1, 101, 9)], [1, *range(10, 101, 10)], [1, 10, 100]]),
        ("1,3,...,9", [[1, 3, 5, 7, 9], [1, 3, 6, 9], [1, 3, 9]]),
        ("3,5,...,15", [[3, 5, 7, 9, 11, 13, 15], [3, 5, 10, 15]]),
        ("10,20,3,5,...,15", [[3, 5, 7, 9, 11, 13, 15], [3, 5, 10, 15]]),
    ],
)
def test_two_readings_that_end_there_are_an_error_that_tells_how_to_write_each(
    sweep: str, readings: list[list[int]]
) -> None:
    ways = re.findall(r"write (\S+) for", refusal(f"depth={sweep}"))
    assert [[int(number) for number in numbers(f"depth={way}")] for way in ways] == readings


@pytest.mark.parametrize("sweep", ["1,2,...,64", "2,4,...,64", "5,10,...,50", "10,20,...,100"])
def test_counting_is_counting_whatever_else_would_fit(sweep: str) -> None:
    first, second, *_, end = (int(part) for part in sweep.replace("...,", "").split(","))
    assert numbers(f"depth={sweep}") == [*range(first, end + 1, second - first)]


@given(first=st.one_of(whole, decimals).map(Decimal), step=steps, count=st.integers(1, 300))
@example(first=Decimal("0.1"), step=Decimal("0.1"), count=4)
def test_steps_end_exactly_on_the_end(first: Decimal, step: Decimal, count: int) -> None:
    expected = [first + index * step for index in range(count + 3)]
    assert numbers(f"x={','.join(map(typed, expected[:3]))},...,{typed(expected[-1])}") == expected


@given(start=whole.filter(bool), factor=st.sampled_from([2, 3, 5, 10]), count=st.integers(1, 12), falls=st.booleans())
def test_powers_end_exactly_on_the_end(start: int, factor: int, count: int, falls: bool) -> None:
    expected = [start * factor**index for index in range(count + 3)]
    if falls:
        expected.reverse()
    assert numbers(f"x={','.join(map(str, expected[:3]))},...,{expected[-1]}") == expected


@given(first=whole, step=whole.filter(bool), count=st.integers(1, 100))
def test_whole_numbers_stay_whole(first: int, step: int, count: int) -> None:
    expected = [str(first + index * step) for index in range(count + 3)]
    assert list(sweep_strings(parse(f"x={','.join(expected[:3])},...,{expected[-1]}"))) == expected


@given(first=decimals, step=steps, count=st.integers(1, 50))
def test_decimals_are_written_shortest(first: Decimal, step: Decimal, count: int) -> None:
    end, begun = first + (count + 2) * step, ",".join(typed(first + index * step) for index in range(3))
    # A trailing ".0" makes a decimal of every value.
    values = sweep_strings(parse(f"x={begun},...,{typed(end)},0.0"))
    assert all(value == repr(float(value)) for value in values)


def readings(first: int, second: int, end: int) -> list[list[int]]:
    """Every list that the ellipsis could be, in the order steps, multiples, powers, found by trying."""
    step, sign = second - first, 1 if second > first else -1
    found = [[first, *range(second, end + sign, step)]]
    if 0 < second > first or 0 > second < first:
        found.append([first, *range(second, end + sign, second)])
    if first * second > 0:
        powers = [Fraction(first), Fraction(second)]
        while powers[-1] != end and (abs(powers[-1]) < abs(end)) == (abs(second) > abs(first)) and len(powers) < 50:
            powers.append(powers[-1] * second / first)
        found.append([int(power) for power in powers] if powers[-1] == end else [])
    fitting = [one for one in found if len(one) > 1 and one[-1] == end]
    return [one for place, one in enumerate(fitting) if one not in fitting[:place]]


@given(first=st.integers(-30, 30), second=st.integers(-30, 30), end=st.integers(-600, 600))
@example(first=1, second=10, end=150)
@example(first=1, second=10, end=1000)
@example(first=2, second=4, end=64)
@example(first=1, second=2, end=2)
def test_the_one_reading_that_ends_there_is_taken(first: int, second: int, end: int) -> None:
    assume(first != second)
    sweep, found = f"depth={first},{second},...,{end}", readings(first, second, end)
    counts = found and found[0] == [first, *range(second, end + (1 if second > first else -1), second - first)]
    if len(found) == 1 or (counts and first % (second - first) == 0):
        assert numbers(sweep) == found[0]
    else:
        assert ("write" in refusal(sweep)) == bool(found)


@given(first=st.integers(-50, 50), step=st.integers(-40, 40).filter(bool), miss=st.integers(1, 500))
@example(first=1, step=9, miss=139)
@example(first=1, step=9, miss=2)
@example(first=50, step=-30, miss=1)  # 50,20,8 are powers, but who types 50,20 hardly means them
def test_an_end_that_is_missed_names_the_nearest_that_are_not(first: int, step: int, miss: int) -> None:
    second = first + step
    direction = 1 if step > 0 else -1
    end = second + direction * miss

    def accepted(candidate: int) -> bool:
        return bool(readings(first, second, candidate))

    def offered(candidate: int) -> bool:
        """By steps or multiples."""
        found = readings(first, second, candidate)
        return any(len(one) < 3 or one[2] in (2 * one[1] - one[0], 2 * one[1]) for one in found)

    assume(not accepted(end))
    below = next(number for number in range(end, end - 1000, -1) if offered(number))
    above = next(number for number in range(end, end + 1000) if offered(number))
    message = refusal(f"depth={first},{second},...,{end}")
    assert re.search(rf"an end of {below} \(.*\) or {above} \(.*\) would do", message)
    for named in (below, above):
        assert any(one[-1] == named for one in readings(first, second, named))


def reaches(first: Decimal, second: Decimal, end: Decimal) -> tuple[bool, bool, bool]:
    """Whether steps, multiples and powers end there."""
    powers = Fraction(first) * Fraction(second) > 0
    ratio, number = Fraction(second) / Fraction(first) if powers else Fraction(0), Fraction(second)
    while powers and number != end and abs(number) < abs(end) and ratio > 1:
        number *= ratio
    multiples = second > first and second != 0 and end % second == 0
    return (end - second) % (second - first) == 0, multiples, powers and number == end


@given(first=decimals, step=st.decimals("0.002", 3, places=3), miss=st.integers(1, 400), fraction=st.integers(1, 9))
def test_a_missed_decimal_end_names_ends_that_are_accepted(
    first: Decimal, step: Decimal, miss: int, fraction: int
) -> None:
    second = first + step
    end = second + (miss + Decimal(fraction) / 10) * step
    assume(not sum(reaches(first, second, end)))
    message = refusal(f"lr={typed(first)},{typed(second)},...,{typed(end)}")
    ends = re.search(r"an end of (\S+) \(.*\) or (\S+) \(.*\) would do", message)
    assert ends is not None
    below, above = map(Decimal, ends.groups())
    assert second + miss * step <= below < end < above <= second + (miss + 1) * step
    for named in (below, above):
        assert any(reaches(first, second, named))


def test_the_error_names_what_was_typed_and_the_lists_of_both_ends() -> None:
    message = refusal("depth=1,10,...,149")
    assert "145 (1,10,19,28,…,145) or 150 (1,10,20,30,…,150)" in message


runs = st.tuples(st.integers(-20, 20), st.integers(1, 9), st.integers(1, 9), st.booleans())


@given(st.lists(runs, min_size=1, max_size=4))
def test_a_chain_is_its_parts_one_after_the_other(parts: list[tuple[int, int, int, bool]]) -> None:
    pieces, expected = [], []
    for first, step, count, falling in parts:
        signed = -step if falling else step
        values = [first + index * signed for index in range(count + 2)]
        pieces.append(",".join(map(str, values if count == 1 else [*values[:3], "...", values[-1]])))
        expected += values
    assert numbers("x=" + ",".join(pieces)) == expected


def test_an_ellipsis_right_after_another_run_takes_its_last_two_values() -> None:
    assert expand("x=1,3,...,7,...,11") == ["1", "3", "5", "7", "9", "11"]


@pytest.mark.parametrize(
    ("sweep", "why"),
    [
        ("2,2,...,4", "no step"),
        ("2,2,...,2", "no step"),
        ("1,...,5", "fewer than two"),
        ("...,5", "fewer than two"),
        ("1,2,...", "nothing after"),
        ("1,2,...,...,5", "two ellipses in a row"),
        ("1,2,...,0", "wrong side of 2; an end of 2 or more would do"),
        ("1,10,...,5", "wrong side of 10"),
        ("10,9,...,11", "wrong side of 9; an end of 9 or less would do"),
        ("relu,...,sep_up", "'relu' beside the ellipsis is not a number"),
        ("relu,relu_bn,...,sep_up", "'relu' beside the ellipsis is not a number"),
        ("1,2,...,x", "'x' beside the ellipsis is not a number"),
        ("1,'2',...,5", "'2' beside the ellipsis is not a number"),
        ("[1,2],...,[1,5]", "[1,2] beside the ellipsis is not a number"),
        ("1,true,...,5", "not a number"),
        ("1,2,...,true", "not a number"),
        ("null,1,...,5", "null beside the ellipsis is not a number"),
        ("nan,1,...,5", "not finite"),
        ("1,2,...,inf", "not finite"),
        ("1,2,...,1e400", "not finite"),
        (f"1,2,...,{10**400}", "too large"),
        (f"1,2,...,5,0.5,{10**400}", "too large"),
        (f"1,2,...,{MOST_VALUES + 1}", f"more than {MOST_VALUES}"),
        (f"7,1,2,...,{MOST_VALUES}", f"more than {MOST_VALUES}"),
        ("1,3,...,1000000", f"more than {MOST_VALUES}"),
        ("0,1e-300,...,1e300", f"more than {MOST_VALUES}"),
        ("1e-300,1e300,...,1.5e300", "no steps of 1e+300 and no multiples of 1e+300 and no powers end on 1.5e+300"),
        ("str(1,2,...,5)", "'1' beside the ellipsis is not a number"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(sweep: str, why: str) -> None:
    assert why in refusal(f"depth={sweep}")


def test_the_longest_list_is_still_made() -> None:
    # An odd end has no second reading in multiples of 2.
    assert len(expand(f"x=0,1,...,{MOST_VALUES - 1}")) == MOST_VALUES


@pytest.mark.parametrize(
    "text",
    [
        "depth=range(1,5)",
        "depth=range(0,1,0.25)",
        "depth=1,2,5",
        "lr=1,0.5",
        "name='...',other",
        'name=a,"...",b',
        "name=x...y,..",
        "depth=int(1,2,3)",
        "name=str(1,2)",
        "depth=sort(3,1,2)",
        "layers=[1,2],[3,...]",
        "layers={a:1,b:...},{a:2}",
        "flag=true,false,null",
        "+name='it\\'s','a,b'",
    ],
)
def test_other_sweeps_stay_as_hydra_has_them(text: str) -> None:
    override = parse(text)
    expected = list(parse(text).sweep_string_iterator())
    assert expand_override(override) is override
    assert list(sweep_strings(override)) == expected


@pytest.mark.parametrize("text", ["depth=...", "depth=5", "layers=[1,2,...,5]", "layers={a:...}", "~depth"])
def test_single_values_are_left_alone(text: str) -> None:
    override = parse(text)
    assert expand_override(override) is override


def test_expanding_keeps_everything_else_of_the_override() -> None:
    override = parse("+depth@net=tag(depths,choice('a,b',1,2,...,4))")
    expanded = expand_override(override)
    assert expanded.get_key_element() == "+depth@net"
    assert expanded.value_type == override.value_type
    assert expanded.value().tags == {"depths"}
    assert list(expanded.sweep_string_iterator()) == ["a\\,b", "1", "2", "3", "4"]
    assert "..." in override.value().list


def test_quoted_values_beside_a_run_stay_quoted() -> None:
    assert expand("x='...','a,b',1,2,...,5") == ["'...'", "'a,b'", "1", "2", "3", "4", "5"]


def test_a_shuffled_sweep_is_shuffled_after_it_is_expanded() -> None:
    orders = {tuple(expand("x=shuffle(1,2,...,9)")) for _ in range(20)}
    assert all(sorted(order) == [str(number) for number in range(1, 10)] for order in orders)
    assert len(orders) > 1


def test_multiples_fall_below_zero_as_they_rise_above_it() -> None:
    assert numbers("x=-1,-10,...,-150") == [-1, *range(-10, -151, -10)]
    assert numbers("x=-1,10,...,150") == [-1, *range(10, 151, 10)]
