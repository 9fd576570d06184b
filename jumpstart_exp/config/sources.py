"""The sources of users' own functions, as part of the cells that call them."""

from collections.abc import Sequence
from dataclasses import replace

from jumpstart_exp.cell import Cell
from jumpstart_exp.description import OWN_FUNCTIONS
from jumpstart_exp.settings import is_function_name, setting_error
from jumpstart_exp.user_functions import source_of


def with_sources(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with the hashes of their functions' sources as these are now: edited code is another cell.

    Raises:
        SettingError: a function cannot be found, or a cell asks for another source than it has.
    """
    known: dict[tuple[str, str], str] = {}
    return [_with_sources(cell, known) for cell in cells]


def _with_sources(cell: Cell, known: dict[tuple[str, str], str]) -> Cell:
    for field, of_source in OWN_FUNCTIONS.items():
        part, _, last = field.partition(".")
        spec, source_field = getattr(cell, part), of_source.partition(".")[2]
        name, said = getattr(spec, last), getattr(spec, source_field)
        if not is_function_name(name):
            continue
        if (field, name) not in known:
            known[field, name] = source_of(field, name)
        source = known[field, name]
        if said not in (None, source):
            raise setting_error(of_source, said, f"{source}, as {name} is now", "its module was changed since")
        if said is None:
            cell = replace(cell, **{part: replace(spec, **{source_field: source})})
    return cell
