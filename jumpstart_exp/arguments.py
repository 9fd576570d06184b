"""Arguments of the plain commands, those without Hydra: words, `name=value`, and --help."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jumpstart_exp.folders import FOLDERS, named_folder
from jumpstart_exp.settings import SettingError, look_alike, nearest, unseen_letter
from jumpstart_exp.surroundings import check_surroundings


@dataclass(frozen=True)
class Arguments:
    """What was typed: values by name, and words in their order."""

    values: Mapping[str, str]
    words: Sequence[str]

    def folder(self, name: str) -> Path:
        """The folder of `results_dir` or `data_dir`.

        Raises:
            SettingError: it cannot be one.
        """
        return named_folder(name, self.values.get(name, FOLDERS[name]))


def read_arguments(
    typed: Sequence[str],
    names: Mapping[str, Sequence[str]],
    refusal: str,
    words: Sequence[str] = (),
    takes_folders: bool = False,
) -> Arguments | None:
    """The arguments of a command; None where help is asked for. Of a name that is given twice the last value holds.

    Args:
        typed: as the shell gives them; a value may stand in quotes.
        names: the values that each name may have; empty for any text.
        refusal: what is said of any other argument, behind it: "is not an argument: results_dir=FOLDER or --help".
        words: arguments that are no `name=value`.
        takes_folders: whether any other argument without a = is a word, too: the name of a folder.

    Raises:
        SettingError: the first argument that is not allowed, or the working directory is gone.
    """
    values: dict[str, str] = {}
    found: list[str] = []
    for argument in typed:
        name, _, value = argument.partition("=")
        if argument in ("-h", "--help"):
            return None
        if name not in FOLDERS and (unseen := unseen_letter(argument)):
            raise SettingError(f"{argument!r} is not allowed: {unseen}")
        if argument in words or (takes_folders and argument and "=" not in argument and argument[0] != "-"):
            found.append(argument)
        elif name not in names or not value:
            raise SettingError(f"{argument!r} {refusal}{nearest(name, names)}{look_alike(name)}")
        else:
            # 'a' and b=='c' begins and ends with one, too; a folder's name may have one within
            is_quoted = len(value) > 2 and value[0] == value[-1] in ("'", '"')
            is_quoted &= name in FOLDERS or value[0] not in value[1:-1]
            values[name] = value[1:-1] if is_quoted else value
    for name, choices in names.items():
        if choices and values.get(name, choices[0]) not in choices:
            raise SettingError(f"{name}={values[name]} is not allowed: one of {', '.join(choices)}")
    check_surroundings()
    return Arguments(values, found)
