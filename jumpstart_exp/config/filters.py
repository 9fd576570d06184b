"""Filters of cells: `where="depth*width<=1000 and method!='relu'"`, a small language that executes nothing.

A filter is an expression over a cell's settings under their override names: arithmetic (+ - * / // % **), comparisons
(== != < <= > >=, in chains too), `in` and `not in` of a list or a text, `and`, `or`, `not`, numbers, texts in quotes,
true, false, null. A setting that has no effect in a cell is null there; λ is 0 without a penalty, a dropout's rate
without dropout, the hidden losses' weight without relaxed layers, and their period where
z never begins anew. Null can be compared by == and != alone. What has no one answer (another kind of value, a division
by 0) is an error and not false.
"""

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jumpstart_exp.cell import Cell, cell_fields
from jumpstart_exp.config.run import RunSettings
from jumpstart_exp.settings import SettingError, field_types, legible, look_alike, nearest, shown

_LONGEST = 2000
"""Letters of a filter."""

_WORDS = {"true": True, "false": False, "null": None}

_SIGNS = {"&&": "and", "||": "or", "!": "not"}
"""What other languages have for words of this one."""

_OFF = {"penalty.weight": 0.0, "dropout.rate": 0.0, "rai.weight": 0.0, "rai.period": 0}
"""Strengths that are 0 where a description has null."""

_ALLOWED = (
    "settings, numbers, texts in quotes, lists, true, false, null, + - * / // % **, == != < <= > >=, in, and, or, not"
)

_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda base, power: float(base) ** float(power),  # of whole numbers it might never end
}
_ORDER: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUAL: dict[type[ast.AST], Callable[[Any, Any], bool]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
_MEMBER: dict[type[ast.AST], bool] = {ast.In: True, ast.NotIn: False}

_Values = Mapping[str, Any]
_Term = Callable[[_Values], Any]
"""A part of a filter: what it gives for a cell's settings."""


class _NoAnswerError(Exception):
    """A part of a filter has no value for a cell; the message says why."""


class Filter:
    """A filter as it was typed, read and checked.

    Args:
        text: the expression.

    Raises:
        SettingError: it cannot be read, or names what is no setting of a cell.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: tuple[str, ...] = ()
        self._term = self._read(_tree(text).body)

    def keeps(self, values: _Values, cell: str) -> bool:
        """Whether the filter is true of these settings.

        Args:
            values: a cell's settings by their names, as `filtered_settings` gives them.
            cell: the cell in a few words, for the error.

        Raises:
            SettingError: it has no answer for them.
        """
        try:
            answer = self._term(values)
            if not isinstance(answer, bool):
                raise _NoAnswerError(f"it gives {shown(answer)}, which is neither true nor false: compare it")
        except _NoAnswerError as error:
            raise SettingError(f"where={shown(self.text)} has no answer for {cell}: {error}") from None
        return answer

    def _read(self, node: ast.expr) -> _Term:
        """The term of a node of the syntax tree."""
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return lambda _: value
            case ast.Name() | ast.Attribute():
                return self._setting(_dotted(node))
            case ast.List() | ast.Tuple():
                items = [self._read(item) for item in node.elts]
                return lambda values: [item(values) for item in items]
            case ast.UnaryOp(op=ast.Not()):
                return self._negation(node)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                term, sign = self._read(node.operand), -1 if isinstance(node.op, ast.USub) else 1
                return lambda values: sign * _number(term(values), node.operand)
            case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
                return self._arithmetic(node)
            case ast.BoolOp():
                return self._junction(node)
            case ast.Compare():
                return self._comparison(node)
            case _:
                raise _unreadable(self.text, f"{legible(ast.unparse(node))} is none of {_ALLOWED}")

    def _setting(self, name: str) -> _Term:
        if name in _WORDS:
            return lambda _: _WORDS[name]
        if not _is_setting(name):
            raise _unreadable(self.text, _unknown(name))
        self.names = tuple(dict.fromkeys((*self.names, name)))
        return lambda values: values[name]

    def _negation(self, node: ast.UnaryOp) -> _Term:
        term = self._read(node.operand)
        return lambda values: not _truth(term(values), node.operand)

    def _junction(self, node: ast.BoolOp) -> _Term:
        terms = [(self._read(part), part) for part in node.values]
        every = all if isinstance(node.op, ast.And) else any
        return lambda values: every(_truth(term(values), part) for term, part in terms)

    def _arithmetic(self, node: ast.BinOp) -> _Term:
        left, right, act = self._read(node.left), self._read(node.right), _ARITHMETIC[type(node.op)]

        def term(values: _Values) -> Any:
            operands = _number(left(values), node.left), _number(right(values), node.right)
            try:
                found = act(*operands)
                if isinstance(found, complex) or not math.isfinite(found):
                    raise ArithmeticError
            except ArithmeticError:
                raise _NoAnswerError(f"{legible(ast.unparse(node))} is no number that is finite") from None
            return found

        return term

    def _comparison(self, node: ast.Compare) -> _Term:
        parts = [node.left, *node.comparators]
        terms = [self._read(part) for part in parts]
        checks = [_check(self.text, op, *parts[at : at + 2]) for at, op in enumerate(node.ops)]

        def term(values: _Values) -> bool:
            first = terms[0](values)
            for check, following in zip(checks, terms[1:], strict=True):
                second = following(values)
                if not check(first, second):
                    return False
                first = second
            return True

        return term


def filtered_settings(names: Sequence[str], description: _Values, method: str) -> dict[str, Any]:
    """A cell's settings as filters see them.

    Args:
        names: those that are asked for.
        description: the cell's fields under their override names, null where they have no effect.
        method: its label.
    """
    known = {**description, "method": method}
    return {name: _OFF.get(name) if known.get(name) is None else known[name] for name in names}


def kept(cells: Sequence[Cell], where: str | None) -> list[bool]:
    """Which cells a filter keeps; all without one.

    Raises:
        SettingError: it cannot be read, has no answer for a cell, or keeps none.
    """
    if where is None:
        return [True] * len(cells)
    chosen = Filter(where)
    seen: dict[str, dict[Any, None]] = {name: {} for name in chosen.names}
    found = []
    for cell in cells:
        values = filtered_settings(chosen.names, cell.description(), cell.method)
        for name, own in seen.items():
            own[values[name]] = None
        found.append(chosen.keeps(values, cell.title()))
    if not any(found):
        raise left_nothing(where, len(cells), seen)
    return found


def left_nothing(where: str, count: int, seen: Mapping[str, Any]) -> SettingError:
    """The error for a filter that keeps none of so many cells; `seen` has the values of each setting that it names."""
    words = [f"{name} is {_values_in_words([*values])}" for name, values in seen.items()]
    of = f"none of {count} cells" if count != 1 else "nothing of one cell"
    return SettingError(f"where={shown(where)} leaves {of}" + (f": {'; '.join(words)}" if words else ""))


def _values_in_words(values: Sequence[Any]) -> str:
    """The values that a setting has: "1 to 150", "relu, sep_up", "null, 0.5"."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    others = [_typed(value) for value in values if value not in numbers or isinstance(value, bool)]
    if len({*numbers}) > 3:
        return ", ".join([f"{_typed(min(numbers))} to {_typed(max(numbers))}", *others])
    return legible(", ".join([*map(_typed, sorted({*numbers})), *others]))


def _typed(value: Any) -> str:
    words = next((word for word, meant in _WORDS.items() if value is meant), None)
    return words or (f"{value:g}" if isinstance(value, float) else str(value))


def _tree(text: str) -> ast.Expression:
    if not text.strip() or len(text) > _LONGEST:
        raise _unreadable(text, f"an expression of 1 to {_LONGEST} letters is needed, as in depth*width<=1000")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python thinks of it as its own code
            tree = ast.parse(f"({text}\n)", mode="eval")
            ast.unparse(tree)  # deep ones fail here, and not later
    except SyntaxError as error:
        hint = "; == compares" if "==" in str(error.msg) or "cannot assign" in str(error.msg) else ""
        hint = hint or next((f"; {word} for {sign}" for sign, word in _SIGNS.items() if sign in text), "")
        raise _unreadable(text, f"{error.msg}{hint}{look_alike(text)}") from None
    except (ValueError, RecursionError, MemoryError):
        raise _unreadable(text, "it is too deep, or no text") from None
    return tree


def _unreadable(text: str, why: str) -> SettingError:
    return SettingError(f"where={shown(text)} cannot be read: {why}")


def _dotted(node: ast.expr) -> str:
    """penalty.weight of an attribute of a name; what is an attribute of something else is no name."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=inner, attr=last):
            return f"{_dotted(inner)}.{last}"
        case _:
            return f"({legible(ast.unparse(node))})"


def _is_setting(name: str) -> bool:
    return name == "method" or name in cell_fields()


def _unknown(name: str) -> str:
    known = ["method", *cell_fields()]
    same_end = [other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]]
    hint = f"; did you mean {same_end[0]}?" if same_end else nearest(name, known)
    if name in field_types(RunSettings):
        hint = ", but of how cells are run"
    elif not hint and "." not in name:
        hint = f"; a text stands in quotes: '{legible(name)}'"
    return f"{legible(name)} is not a setting of a cell{hint}"


def _check(text: str, op: ast.cmpop, first: ast.expr, second: ast.expr) -> Callable[[Any, Any], bool]:
    """A comparison of two values; the nodes are for messages."""
    if type(op) in _EQUAL:
        compare = _EQUAL[type(op)]

        def equal(one: Any, other: Any) -> bool:
            _check_alike(one, other, first, second)
            return compare(one, other)

        return equal
    if type(op) in _ORDER:
        order = _ORDER[type(op)]

        def ordered(one: Any, other: Any) -> bool:
            for value, node in ((one, first), (other, second)):
                if not (_is_number(value) or isinstance(value, str)):
                    raise _NoAnswerError(_null(node) if value is None else f"{_told(value, node)} has no order")
            _check_alike(one, other, first, second)
            return order(one, other)

        return ordered
    if type(op) in _MEMBER:
        wanted = _MEMBER[type(op)]

        def member(one: Any, other: Any) -> bool:
            if isinstance(other, str) and isinstance(one, str):
                return (one in other) is wanted
            if not isinstance(other, list | tuple):
                raise _NoAnswerError(f"nothing is in {_told(other, second)}: a list would do, as in width in [2, 4]")
            for item in other:
                _check_alike(one, item, first, second)
            return any(one == item for item in other) is wanted

        return member
    raise _unreadable(text, f"'is' is none of {_ALLOWED}")


def _check_alike(one: Any, other: Any, first: ast.expr, second: ast.expr) -> None:
    if one is not None and other is not None and _kind(one) != _kind(other):
        raise _NoAnswerError(f"{_told(one, first)} is {_kind(one)} and {_told(other, second)} is {_kind(other)}")


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
        case _:
            return "null"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any, node: ast.expr) -> Any:
    if not _is_number(value):
        raise _NoAnswerError(_null(node) if value is None else f"{_told(value, node)} is no number")
    return value


def _truth(value: Any, node: ast.expr) -> bool:
    if not isinstance(value, bool):
        raise _NoAnswerError(f"{_told(value, node)} is neither true nor false: compare it")
    return value


def _null(node: ast.expr) -> str:
    name = legible(ast.unparse(node))
    return f"{name} is null there (null, or without effect): say what holds then, as in {name}==null or …"


def _told(value: Any, node: ast.expr) -> str:
    typed, known = legible(ast.unparse(node)), shown(value)
    return typed if typed == known else f"{typed}={known}"
