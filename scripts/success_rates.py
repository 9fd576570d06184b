"""Train the reference engine at 10 × 4 and 30 × 4 for 50 seeds: python scripts/success_rates.py [--seeds N].

Writes the table that tests/engines/test_success_rates.py compares the other engines with. In float32 training is
chaotic, so engines cannot be compared network by network: their success rates over seeds can. 800 epochs are enough
for the penalty to make a difference and short enough to wait for: about ten minutes on one core.
"""

import argparse
import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import load
from jumpstart_exp.engines import Engine
from jumpstart_exp.engines.eager.engine import EagerEngine
from jumpstart_exp.result import Result
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

TABLE = Path(__file__).parents[1] / "tests/engines/eager_success.csv"
EPOCHS = 800
SHAPES = ((10, 4), (30, 4))
KINDS = {"relu": "none", "sep_up": "UP"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One network's training: accuracies are fractions in [0, 1]; the last one is empty if it diverged."""

    depth: int
    width: int
    method: str
    epochs: int
    seed: int
    train_acc_best: float | None
    train_acc_last: float | None


def cells(seeds: Sequence[int]) -> list[Cell]:
    """Both shapes with and without the penalty, as the papers train them but for the number of epochs."""
    return [
        Cell(
            depth=depth,
            width=width,
            penalty=PenaltySpec(kind=kind),
            optimizer=OptimizerSpec(epochs=EPOCHS),
            seed=seed,
            method=method,
        )
        for seed in seeds
        for depth, width in SHAPES
        for method, kind in KINDS.items()
    ]


def success_rows(engine: Engine, seeds: Sequence[int]) -> list[Row]:
    """What became of the cells, in their order."""
    wanted, found = cells(seeds), {}

    def keep(result: Result) -> None:
        assert result.status != "failed", result.error
        found[result.cell] = result

    data = load(wanted[0].dataset, Path("no files needed"))
    engine.train(wanted, data, on_result=keep, on_progress=lambda cell, epochs: None)
    return [
        Row(
            cell.depth,
            cell.width,
            cell.method,
            EPOCHS,
            cell.seed,
            found[cell].train_acc.best,
            found[cell].train_acc.last,
        )
        for cell in wanted
    ]


def main() -> None:
    """Train, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50, help="how many, from 0 (50)")
    parser.add_argument("--to", type=Path, default=TABLE, help=f"the file to write ({TABLE})")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for seed in range(arguments.seeds):
        rows += success_rows(EagerEngine(), [seed])
        print(f"\r{seed + 1} of {arguments.seeds} seeds", end="", flush=True)
    print()
    rows.sort(key=lambda row: (row.depth, row.method, row.seed))
    with arguments.to.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(field.name for field in dataclasses.fields(Row))
        table.writerows(
            [round(value, 6) if isinstance(value, float) else value for value in dataclasses.astuple(row)]
            for row in rows
        )


if __name__ == "__main__":
    main()
