"""Passes: in which order a sweep is trained so that its whole picture is there early, and becomes finer."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from jumpstart_exp.cell import Cell
from jumpstart_exp.data import DatasetSpec

_STRIDES = {4: 12, 2: 4}
"""Every how many depths a coarse picture has, the coarsest first, and the fewest depths of which it is one."""

_NUMBERS = {4: "fourth", 2: "second"}


@dataclass(frozen=True)
class Pass:
    """Cells that are trained before those of the next pass, and what the picture shows when they are done."""

    shows: str
    cells: tuple[Cell, ...]


def passes_of(cells: Sequence[Cell]) -> list[Pass]:
    """The cells of a sweep in passes: the first seed at every fourth depth, at every second, at all; then other seeds.

    Of fewer than 12 depths every second comes first, of fewer than 4 all do. A pass of seeds has as many as all before
    it, so that there are few passes of however many seeds. Seeds and depths are counted for each dataset by itself.

    Args:
        cells: distinct cells, those of the sweep that are stored among them.

    Returns:
        the passes, none empty, in the order in which they are trained; the cells of each in the order given.
    """
    seeds: dict[DatasetSpec, set[int]] = defaultdict(set)
    depths: dict[DatasetSpec, set[int]] = defaultdict(set)
    for cell in cells:
        seeds[cell.dataset].add(cell.seed)
        depths[cell.dataset].add(cell.depth)
    place = {dataset: {seed: number for number, seed in enumerate(sorted(found))} for dataset, found in seeds.items()}
    stride = {dataset: _strides(sorted(found)) for dataset, found in depths.items()}
    most_seeds = max(map(len, seeds.values()), default=0)
    passes: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells:
        number = place[cell.dataset][cell.seed]
        coarse = stride[cell.dataset].get(cell.depth, 0) if number == 0 else 0
        passes[-coarse or number.bit_length()].append(cell)  # 0: the first seed; 1: seed 1; 2: 2 and 3; 3: 4 to 7; …
    return [Pass(_shown(number, most_seeds), tuple(passes[number])) for number in sorted(passes)]


def _strides(depths: Sequence[int]) -> dict[int, int]:
    """The depths of coarse pictures, each with the stride of the coarsest that has it."""
    found: dict[int, int] = {}
    for stride, fewest in _STRIDES.items():
        if len(depths) >= fewest:
            found = {**dict.fromkeys(depths[::stride], stride), **found}
    return found


def _shown(number: int, seeds: int) -> str:
    """What is there after a pass, in words."""
    if number < 0:
        return f"1 seed, every {_NUMBERS[-number]} depth"
    count = min(seeds, 1 << number)
    return f"{count} seed{'s' * (count != 1)}"
