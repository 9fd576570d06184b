"""What the penalty costs in time and memory (CPAIOR, section 4): statistics only."""

from dataclasses import dataclass
from statistics import fmean

import numpy as np

from jumpstart_exp.report.table.grid import FigureGrid

BASELINE = "relu"
"""The label of the method without penalty."""


@dataclass(frozen=True)
class PairCost:
    """A depth-width pair's mean cost over the seeds trained both ways by one engine on one device.

    `seconds` and `memory` (bytes at the peak) are without and with the penalty; memory is None where it is unknown.
    """

    method: str
    trained_on: str
    depth: int
    width: int
    seeds: int
    seconds: tuple[float, float]
    memory: tuple[float, float] | None

    @property
    def time_ratio(self) -> float:
        """Seconds with the penalty over those without."""
        return self.seconds[1] / self.seconds[0]

    @property
    def memory_ratio(self) -> float | None:
        """Memory with the penalty over that without; None where it is unknown."""
        return None if self.memory is None else self.memory[1] / self.memory[0]


def pair_costs(grid: FigureGrid) -> list[PairCost]:
    """The cost of every depth-width pair of every penalised method, by method, engine and device, depth and width.

    A seed counts where it was trained without and with the penalty by one engine on one device, both to the end;
    all cells of a figure have the same epochs.
    """
    if BASELINE not in grid.methods or BASELINE in grid.penalised:
        return []
    base = grid.methods.index(BASELINE)
    found = []
    for label in grid.penalised:
        both = (base, grid.methods.index(label))
        for trainer in sorted({str(name) for name in grid.trained_on[base].flat} - {""}):
            matched = np.all((grid.trained_on[both, :] == trainer) & (grid.seconds[both, :] > 0), axis=0)
            for depth, width in np.argwhere(matched.any(axis=-1)):
                seeds = matched[depth, width]
                seconds, memory = (values[both, depth, width][:, seeds] for values in (grid.seconds, grid.memory))
                found.append(
                    PairCost(
                        label,
                        trainer,
                        grid.depths[depth],
                        grid.widths[width],
                        int(seeds.sum()),
                        (fmean(seconds[0]), fmean(seconds[1])),
                        (fmean(memory[0]), fmean(memory[1])) if np.all(memory > 0) else None,
                    )
                )
    return found
