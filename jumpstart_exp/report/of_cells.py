"""`python -m jumpstart_exp.report.of_cells RESULTS_DIR DATA_DIR`: the heatmaps of the cells whose keys it reads.

What a sweep with `redraw=true` has drawn while it trains. The keys come pass by pass as JSON on the standard input:
`cells` of the passes that are done, and `left_out` of the others, of which a picture would show fragments. What is said
is the first file of each figure, a line each.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

from jumpstart_exp.report.registry import Stored
from jumpstart_exp.report.table.grid import GridError, figure_grids
from jumpstart_exp.report.table.studies import named_by_study
from jumpstart_exp.report.table.sweeps import sweeps
from jumpstart_exp.report.unchanged import Drawn
from jumpstart_exp.store import Store, StoreError


def write_heatmaps(results: Path, data: Path, keys: set[str], left_out: set[str]) -> list[Path]:
    """Draw every figure that has files of its own and shows one of these cells, if it changed; the first file of each.

    Raises:
        GridError: the store's table cannot be drawn.
        OSError: the folder cannot be written.
        StoreError: the store cannot be read.
    """
    from jumpstart_exp.report.figures.heatmaps import heatmap_jobs  # matplotlib

    store = Store(results)
    table = store.cells()
    table = table[[key not in left_out for key in table["key"]]].reset_index(drop=True)
    grids = figure_grids(table)
    stored = Stored(
        results, data, store, table, named_by_study(grids, table), sweeps(grids, table, each=False), None, False
    )
    rows = np.array([row for row, key in enumerate(table["key"]) if key in keys])
    drawn, paths = Drawn(results, data), []
    for job in [job for grid in stored.alone if np.isin(grid.rows, rows).any() for job in heatmap_jobs(grid)]:
        fingerprint = drawn.fingerprint(job)
        found = drawn.unchanged(fingerprint)
        if found is None:
            found = job.write(results / job.folder)
            drawn.note(fingerprint, found)
        paths.append(found[0])
    drawn.write()
    return paths


def main() -> int:
    """Draw; exit code 1 with the reason in a line where it cannot be."""
    results, data = map(Path, sys.argv[1:3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report tells of what is left out
        try:
            asked = json.load(sys.stdin)
            keys, left_out = ({key for each in asked[name] for key in each} for name in ("cells", "left_out"))
            drawn = write_heatmaps(results, data, keys, left_out)
        except (GridError, OSError, StoreError) as error:
            print(" ".join(str(error).split()))
            return 1
    for path in drawn:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
