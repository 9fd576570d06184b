"""What the tables of blocks share: activations, norms and initialisations are rows under the names of their choices."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from jumpstart_exp.settings import setting_error


class Block(Protocol):
    """A row of a table."""

    @property
    def native(self) -> bool:
        """Whether the C++ engine knows it, by the same name."""


BlockT = TypeVar("BlockT", bound=Block)


def block(table: Mapping[str, BlockT], field: str, name: str) -> BlockT:
    """The row of that name.

    Raises:
        SettingError: there is none.
    """
    if name not in table:
        raise setting_error(field, name, "one of " + ", ".join(table))
    return table[name]


def native_names(table: Mapping[str, Block]) -> tuple[str, ...]:
    """Names of the rows that the C++ engine knows."""
    return tuple(name for name, row in table.items() if row.native)
