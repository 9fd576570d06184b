"""How much the benchmark times: every contender's networks, how long, how often."""

from collections.abc import Mapping

from benchmark.grid import DEPTHS, NETWORKS, WIDTHS, Shape, interpolate, subgrid


class Plan:
    """What is timed, in full or quickly.

    Args:
        quick: within a minute: fewer networks, fewer still on a busy machine, and no further round once one more
            would take too long.
        rounds: how often everything is timed, at most; None for 3.
    """

    def __init__(self, quick: bool, rounds: int | None = None) -> None:
        self.quick = quick
        self.rounds = rounds or 3
        self.seconds = 40.0 if quick else float("inf")
        self.hurry_after = 15.0 if quick else float("inf")
        self.depths = (1, 150) if quick else (1, 10, 50, 150)
        self.widths = (1, 5, 25) if quick else WIDTHS
        self.native_depths = DEPTHS
        self.overhead_cells = 2_000 if quick else 20_000
        self.limits = {
            "vmap_step_seconds": 1.0 if quick else 4.0,
            "stacked_step_seconds": 0.0 if quick else 4.0,
            "native_epochs": 100 if quick else 500,
        }
        """What `contenders()` takes."""

    def hurry(self, elapsed: float) -> None:
        """Time `native` on fewer networks, too, where the preparations took longer than on an idle machine."""
        if elapsed > self.hurry_after:
            self.native_depths = (1, 10, 50, 150)

    def shapes(self, name: str) -> tuple[Shape, ...]:
        """The networks that a contender is timed on one by one."""
        if name.startswith("native"):
            return subgrid(self.native_depths, WIDTHS)
        if name == "stacked":
            return NETWORKS
        return tuple(sorted({*NETWORKS, *subgrid(self.depths, self.widths)}))

    def seconds_of(self, name: str) -> float:
        """About how long one measurement takes; `native` has many networks, and short steps."""
        if name.startswith("native"):
            return 0.006 if self.quick else 0.05
        return 0.06 if self.quick else 0.3

    def filled(self, name: str, timed: Mapping[Shape, float]) -> dict[Shape, float]:
        """A cost for every network of the grid."""
        if name.startswith("native"):
            return interpolate(timed, self.native_depths, WIDTHS)
        return interpolate(timed, self.depths, self.widths)
