"""Arguments of the plain commands, those without Hydra: words, `name=value`, and --help."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jumpstart_exp.settings import SettingError, nearest


@dataclass(frozen=True)
class Arguments:
    """What was typed: values by name, and words in their order."""

    values: Mapping[str, str]
    words: Sequence[str]


def read_arguments(
    typed: Sequence[str], names: Mapping[str, Sequence[str]], refusal: str, words: Sequence[str] = ()
) -> Arguments | None:
    """The arguments of a command; None where help is asked for. Of a name that is given twice the last value holds.

    Args:
        typed: as the shell gives them; a value may stand in quotes.
        names: the values that each name may have; empty for any text.
        refusal: what is said of any other argument, behind it: "is not an argument: results_dir=FOLDER or --help".
        words: arguments that are no `name=value`.

    Raises:
        SettingError: the first argument that is not allowed.
    """
    values: dict[str, str] = {}
    found: list[str] = []
    for argument in typed:
        name, _, value = argument.partition("=")
        if argument in ("-h", "--help"):
            return None
        if argument in words:
            found.append(argument)
        elif name not in names or not value:
            raise SettingError(f"{argument!r} {refusal}{nearest(name, names)}")
        else:
            values[name] = value[1:-1] if len(value) > 2 and value[0] == value[-1] in ("'", '"') else value
    for name, choices in names.items():
        if choices and values.get(name, choices[0]) not in choices:
            raise SettingError(f"{name}={values[name]} is not allowed: one of {', '.join(choices)}")
    return Arguments(values, found)
