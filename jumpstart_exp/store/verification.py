"""Verification: every part is read as a whole, and parts of before get the checksum that they lack.

A part is replaced by one of the same name and rows, written durably: readers have the one or the other. One that is
damaged, or has rows that no training can have written, is named and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jumpstart_exp.late import LateModule
from jumpstart_exp.store import Store, StoreError, with_part
from jumpstart_exp.store.compaction import alone
from jumpstart_exp.store.parts import GoneError, UnreadableError, open_part, part_names, write_durably
from jumpstart_exp.store.schema import cell_schema, curve_schema

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = LateModule("pyarrow")


@dataclass(frozen=True)
class Verification:
    """What was found of the parts of cells and curves.

    Attributes:
        parts: how many there are.
        added: parts that got a checksum.
        damaged: parts that are.
        left_out: rows of cells that no training can have written.
        curves_left_out: rows of curves that no training can have written.
        differing: keys with two different results of one engine and machine.
        doubtful: rows of other numerics whose settings do not give their key.
    """

    parts: int
    added: int
    damaged: int
    left_out: int
    curves_left_out: int
    differing: int
    doubtful: int


def verify(store: Store, on_progress: Callable[[int, int], None] = lambda done, total: None) -> Verification:
    """Read every part as a whole and add checksums where there are none; what is wrong is named in warnings.

    Args:
        store: the store; others may read and write it meanwhile.
        on_progress: is told how many of how many parts are done.

    Raises:
        StoreError: the store cannot be read or written, or a part is of a newer version.
        BusyError: a compaction or another verification is at work.
    """
    if not store.cells_dir.is_dir():
        raise StoreError(f"results_dir={str(store.results_dir)!r} has no store: there is no {store.cells_dir}")
    added = damaged = curves_left_out = doubtful = 0
    rows = [pa.schema([(name, pa.string()) for name in ("key", "status", "part")]).empty_table()]
    try:
        with alone(store.cells_dir):
            folders = ((store.cells_dir, cell_schema()), (store.curves_dir, curve_schema()))
            parts = [(folder / name, schema) for folder, schema in folders for name in sorted(part_names(folder))]
            for number, (path, schema) in enumerate(parts):
                on_progress(number, len(parts))
                try:
                    part = open_part(path, schema)
                    table = part.read_whole()
                    if is_cells := path.parent == store.cells_dir:
                        found = store.soundness(part)
                        is_right = found.is_complete
                        sound = part.read(["key", "status"]).filter(pa.array(found.is_sound))
                        rows.append(with_part(sound, path.name))
                        if found.doubtful:
                            doubtful += found.doubtful
                            store.warn_of_doubtful(path, found.doubtful)
                    else:
                        left_out = len(table) - len(store.believable_curves(path, part.read()))
                        is_right = not left_out
                        curves_left_out += left_out
                except GoneError:  # another machine's compaction, whose lock is not seen here
                    continue
                except UnreadableError as error:
                    damaged += 1
                    store.warn_unreadable(path, str(error))
                    continue
                if is_right and not part.has_checksum:
                    write_durably(table, path, is_sound=is_cells)
                    added += 1
    except OSError as error:
        reason = f"{error.strerror or error}; everything stored is there"
        raise StoreError(f"results_dir={str(store.results_dir)!r} cannot be verified: {reason}") from error
    store.warn_of_flaws()
    differing = store.warn_of_differing_results(pa.concat_tables(rows))
    return Verification(len(parts), added, damaged, store.left_out, curves_left_out, len(differing), doubtful)
