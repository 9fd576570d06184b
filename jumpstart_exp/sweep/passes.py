"""Passes: in which order a sweep is trained so that its whole picture is there early, and becomes finer."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from jumpstart_exp.cell import Cell
from jumpstart_exp.data import DatasetSpec

_FEWEST_DEPTHS = 4
"""Depths from which on every second one is a picture."""


@dataclass(frozen=True)
class Pass:
    """Cells that are trained before those of the next pass, and what the picture shows when they are done."""

    shows: str
    cells: tuple[Cell, ...]


def passes_of(cells: Sequence[Cell]) -> list[Pass]:
    """The cells of a sweep in passes: the first seed at every second depth, its other depths, then the other seeds.

    A pass of seeds has as many as all before it, so that there are few passes of however many seeds. Seeds and
    depths are counted for each dataset by itself.

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
    coarse = {dataset: {*sorted(found)[::2]} for dataset, found in depths.items() if len(found) >= _FEWEST_DEPTHS}
    most_seeds = max(map(len, seeds.values()), default=0)
    passes: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells:
        number = place[cell.dataset][cell.seed]
        is_coarse = number == 0 and cell.depth in coarse.get(cell.dataset, ())
        passes[0 if is_coarse else 1 + number.bit_length()].append(cell)  # 1: the first seed; 2: seed 1; 3: 2 and 3; …
    return [Pass(_shown(number, most_seeds), tuple(passes[number])) for number in sorted(passes)]


def _shown(number: int, seeds: int) -> str:
    """What is there after a pass, in words."""
    if number == 0:
        return "1 seed, every second depth"
    count = min(seeds, 1 << (number - 1))
    return f"{count} seed{'s' * (count != 1)}"
