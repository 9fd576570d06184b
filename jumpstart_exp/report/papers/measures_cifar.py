"""What CPAIOR states about CIFAR-10 and CIFAR-100 (figures 3 and 4), measured on ours: statistics only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jumpstart_exp.report.papers.measures import Measure, StudyGrids, measure_of
from jumpstart_exp.report.statistics.intervals import Floats
from jumpstart_exp.report.statistics.seedwise import MOMENT, complete_seeds, over_seeds, wins_by_seed
from jumpstart_exp.report.statistics.success import trained


@dataclass(frozen=True, eq=False)
class CifarArrays:
    """CPAIOR's CIFAR studies over the seeds that have every cell.

    `accuracy` is of validation at the best epoch, `trained` whether the network trains: (rates, methods, depths,
    widths, seeds), the baseline first of the methods.
    """

    depths: tuple[int, ...]
    accuracy: Floats
    trained: NDArray[np.bool_]


def cifar_arrays(
    grids: StudyGrids, study: str, variant: str, methods: tuple[str, ...], pairs: int
) -> CifarArrays | None:
    """The study's cells at both learning rates, 0.001 first; None where no seed has them all."""
    both = [grids.grid(study, variant, rate) for rate in (0.001, 0.0001)]
    found = [grid for grid in both if grid is not None]
    if len(found) < len(both):
        return None
    seeds = [{grid.seeds[place] for place in complete_seeds(grid, methods, pairs)} for grid in found]
    common = sorted(set.intersection(*seeds))
    if not common:
        return None
    accuracy, succeeded = [], []
    for grid in found:
        at = np.ix_(
            [grid.methods.index(method) for method in methods],
            range(len(grid.depths)),
            range(len(grid.widths)),
            [grid.seeds.index(seed) for seed in common],
        )
        accuracy.append(grid.accuracy["val_acc_best"][at])
        succeeded.append(trained(grid, MOMENT)[at])
    return CifarArrays(found[0].depths, np.array(accuracy), np.array(succeeded))


def deepest_trained(arrays: CifarArrays, is_baseline: bool) -> Measure:
    """The greatest depth at which any network trains, of the baseline or of all settings of the penalty."""
    own = arrays.trained[:, :1] if is_baseline else arrays.trained[:, 1:]
    by_depth = own.any(axis=(0, 1, 3))
    depths = np.array(arrays.depths, dtype=np.float64)
    return measure_of(over_seeds(np.where(by_depth, depths[:, None], 0.0).max(axis=0)))


def best_accuracies(arrays: CifarArrays, is_baseline: bool) -> Measure:
    """The best validation accuracy of all networks of the baseline, or of all settings of the penalty."""
    return measure_of(over_seeds(_best(arrays, is_baseline)))


def best_gain(arrays: CifarArrays) -> Measure:
    """The best validation accuracy with the penalty minus the baseline's."""
    return measure_of(over_seeds(_best(arrays, False) - _best(arrays, True)))


def settings_won(arrays: CifarArrays, rates: int) -> Measure:
    """At how many depth-width pairs (times so many rates) the penalty beats the baseline, mean of its settings."""
    base, own = arrays.accuracy[:rates, :1], arrays.accuracy[:rates, 1:]
    won = [wins_by_seed(own[:, [i]], base) for i in range(own.shape[1])]
    return measure_of(over_seeds(np.mean(won, axis=0)))


def gain_at(arrays: CifarArrays, depth: int) -> Measure:
    """Mean validation accuracy at a depth with the penalty, over its settings, minus that of the baseline."""
    at = arrays.depths.index(depth)
    gain = arrays.accuracy[:, 1:, at] - arrays.accuracy[:, :1, at]
    return measure_of(over_seeds(np.nanmean(gain, axis=(0, 1, 2))))


def _best(arrays: CifarArrays, is_baseline: bool) -> Floats:
    """Each seed's best validation accuracy; 0 for none."""
    own = arrays.accuracy[:, :1] if is_baseline else arrays.accuracy[:, 1:]
    return np.asarray(np.nan_to_num(own).max(axis=(0, 1, 2, 3)))
