"""What is compared: each contender takes training steps of a network of a shape and says how long one took.

All times are processor time of this process, every thread of it counted: core-seconds, even on a busy machine.
"""

import os
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from plain_torch import PENALTIES, Training, Way, fastest_way
from vmap_torch import Ensemble

from benchmark.grid import EPOCHS, GRID, POINTS, Shape
from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import load
from jumpstart_exp.engines import ENGINES, Engine
from jumpstart_exp.result import Result
from jumpstart_exp.specs.optimizer import OptimizerSpec
from jumpstart_exp.specs.penalty import PenaltySpec

_SHORT_AGAIN = 5
METHOD = "sep_up"
ENSEMBLES = (72, 512)
CURVE_EVERY = max(1, round(EPOCHS / 100))
"""Epochs between the rows of a curve in a published study."""


class BenchmarkError(Exception):
    """Something could not be timed; the message says what."""


class Contender(Protocol):
    """A way to train networks of one shape."""

    name: str

    def sample(self, shape: Shape, seconds: float) -> float:
        """Seconds per network and step, from a measurement of about that many seconds (or the least possible)."""

    def about(self) -> str:
        """What was timed, in words."""


class Plain:
    """The plain loop, one network at a time."""

    def __init__(self, name: str, way: Way) -> None:
        self.name, self.way = name, way
        self._trainings: dict[Shape, Training] = {}
        self._took: dict[Shape, float] = {}

    def sample(self, shape: Shape, seconds: float) -> float:
        """Steps go on where the last sample of the shape stopped."""
        if shape not in self._trainings:
            self._trainings[shape] = Training(*shape, METHOD, self.way)
            self._took[shape] = self._trainings[shape].run(2) / 2
        steps = max(1, round(seconds / self._took[shape]))
        self._took[shape] = self._trainings[shape].run(steps) / steps
        return self._took[shape]

    def about(self) -> str:
        """How torch was asked."""
        return f"nn.Module, autograd; {self.way}"


class Vmap:
    """An ensemble of equal networks under torch.func.vmap; of several sizes the fastest for each shape."""

    name = "vmap"

    def __init__(self, adam: str, step_seconds: float) -> None:
        self.adam = adam
        self.penalty: dict[Shape, str] = {}
        self._sizes = _Sizes(step_seconds)

    def sample(self, shape: Shape, seconds: float) -> float:
        """A fresh ensemble each time (kept ones would fill the memory), one step to warm up."""

        def measure(networks: int) -> float:
            if shape not in self.penalty:  # which of the two is faster depends on the shape
                few = {name: Ensemble(*shape, METHOD, 72, Way(name, self.adam)) for name in PENALTIES}
                for ensemble in few.values():
                    ensemble.run(1)
                self.penalty[shape] = min(few, key=lambda name: few[name].run(2))
            ensemble = Ensemble(*shape, METHOD, networks, Way(self.penalty[shape], self.adam))
            first = ensemble.run(1)
            steps = max(1, round(seconds / first))
            return ensemble.run(steps) / steps / networks

        return self._sizes.fastest(shape, measure)

    def about(self) -> str:
        """How torch was asked, and the ensembles' sizes."""
        return (
            f"torch.func, {self._sizes.words()} equal networks at once; {self.adam} Adam, "
            "each shape's penalty in the faster way"
        )


class Trained:
    """An engine through its public `train()`: two trainings of different length, and what the longer one adds.

    So start-up (initial weights, first census) is left out: it is paid once a cell, not once a step.

    Args:
        name: the contender's name.
        engine: the engine, on one thread.
        stride: epochs that a training's length is a multiple of: as many as lie between two rows of the curve,
            so that rows weigh as in a published training, or 1 where an engine is too slow for that.
        least_strides: what the longer training adds at least: the first epochs are not like the later ones.
        step_seconds: with it, many equal networks train at once, as many as fit a step of that length; None for one.
        words: what is timed, in words.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        *,
        stride: int,
        least_strides: int = 1,
        step_seconds: float | None = None,
        words: str,
    ) -> None:
        self.name, self.engine, self.words = name, engine, words
        self.stride, self.least_strides = stride, least_strides
        self._sizes = None if step_seconds is None else _Sizes(step_seconds)
        self._strides: dict[str, int] = {}

    def sample(self, shape: Shape, seconds: float) -> float:
        """The longer training adds at least half of `seconds`, or is as long as the published one."""

        def measure(networks: int) -> float:
            key = f"{networks} of {shape}"
            return self._measure(
                key, lambda epochs: [cell_of(shape, epochs, seed) for seed in range(networks)], seconds
            )

        return measure(1) if self._sizes is None else self._sizes.fastest(shape, measure)

    def about(self) -> str:
        """What was timed, and how many networks at once."""
        return self.words if self._sizes is None else f"{self.words}, {self._sizes.words()} equal networks at once"

    def _measure(self, key: str, cells_for: Callable[[int], list[Cell]], seconds: float) -> float:
        def train(strides: int) -> tuple[float, int]:
            return train_seconds(self.engine, cells_for(strides * self.stride))

        base_seconds, base_steps = train(1)
        seconds = max(seconds, base_seconds)  # start-up varies: what is added must not drown in it
        most = EPOCHS // self.stride - 1
        strides = min(self._strides.get(key, self.least_strides), most)
        while True:
            all_seconds, all_steps = train(1 + strides)
            added = all_seconds - base_seconds
            if added >= seconds / 2 or strides == most:
                break
            strides = min(most, strides * max(2, min(16, round(seconds / max(added, 1e-9)))))
        for _ in range(_SHORT_AGAIN):
            if added > 0:
                break
            added = all_seconds - train(1)[0]  # a short one can be slow by chance
        if added <= 0 or all_steps <= base_steps:
            raise BenchmarkError(f"{self.name}, {key}: {all_steps} steps took no longer than {base_steps}")
        self._strides[key] = max(self.least_strides, min(round(strides * seconds / added), most))
        return added / (all_steps - base_steps)


class TrainedInFleets(Trained):
    """An engine that trains many networks at once: the grid is timed in the fleets that a sweep would form."""

    def sample_grid(self, seconds: float) -> float:
        """Seconds per step of all networks of the grid; each fleet is measured for about `seconds`."""
        total = 0.0
        for number, fleet in enumerate(self.fleets()):
            per_network = self._measure(
                f"fleet {number}", lambda epochs, fleet=fleet: [cell_of(shape, epochs) for shape in fleet], seconds
            )
            total += per_network * len(fleet)
        return total

    def fleets(self) -> list[list[Shape]]:
        """The grid by what the engine trains in one call, largest networks first, at most as many as fit."""
        groups: dict[Hashable, list[Shape]] = {}
        for shape in sorted(GRID, key=lambda shape: -self.engine.estimate_seconds(cell_of(shape, EPOCHS))):
            groups.setdefault(self.engine.fleet_group(cell_of(shape, EPOCHS)), []).append(shape)
        fleets = []
        for group in groups.values():
            while group:
                limit = self.engine.fleet_limit([cell_of(shape, EPOCHS) for shape in group], "cpu")
                fleets.append(group[:limit])
                group = group[limit:]
        return fleets

    def about(self) -> str:
        """What was timed, and how many networks at once."""
        return f"{super().about()}; the grid in {len(self.fleets())} fleets of mixed sizes"


class _Sizes:
    """The fastest number of networks at once, found for each shape when it is first timed.

    Args:
        step_seconds: larger ensembles are tried while a step is expected to take no longer.
    """

    def __init__(self, step_seconds: float) -> None:
        self.step_seconds = step_seconds
        self.chosen: dict[Shape, int] = {}

    def fastest(self, shape: Shape, measure: Callable[[int], float]) -> float:
        if shape in self.chosen:
            return measure(self.chosen[shape])
        took: dict[int, float] = {}
        for networks in ENSEMBLES:
            too_slow = took and networks * min(took.values()) > self.step_seconds
            if too_slow or (took and not _fits(shape, networks)):
                break
            took[networks] = measure(networks)
        self.chosen[shape] = min(took, key=lambda networks: took[networks])
        return took[self.chosen[shape]]

    def words(self) -> str:
        return " or ".join(map(str, sorted(set(self.chosen.values()) or ENSEMBLES)))


def _fits(shape: Shape, networks: int) -> bool:
    """Whether activations, gradients and what autograd keeps (about 8 numbers each) fit half of the memory."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return True
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return networks * shape.depth * shape.width * POINTS * 8 * 4 < memory / 2


def cell_of(shape: Shape, epochs: int, seed: int = 0) -> Cell:
    """The published cell of this shape: MOONS, Sep-UP, Adam 0.01, full batch."""
    return Cell(
        depth=shape.depth,
        width=shape.width,
        penalty=PenaltySpec(kind="UP"),
        optimizer=OptimizerSpec(epochs=epochs),
        seed=seed,
        method=METHOD,
    )


def train_seconds(
    engine: Engine, cells: Sequence[Cell], on_cell: Callable[[], None] = lambda: None
) -> tuple[float, int]:
    """Processor seconds that a call of `train()` takes, and the steps of all its cells.

    A cell that diverged took fewer steps than it was to take.

    Raises:
        BenchmarkError: a cell failed.
    """
    results: list[Result] = []

    def note(result: Result) -> None:
        results.append(result)
        on_cell()

    data = load(cells[0].dataset, Path("data"))
    start = time.process_time()
    engine.train(cells, data, on_result=note, on_progress=lambda cell, epochs: None)
    seconds = time.process_time() - start
    for result in results:
        if result.status == "failed":
            raise BenchmarkError(f"{engine.name} failed on {result.cell.title()}: {result.error}")
    return seconds, sum(result.epochs_run for result in results)


def contenders(
    *, vmap_step_seconds: float, stacked_step_seconds: float, native_epochs: int
) -> tuple[list[Contender], dict[str, str]]:
    """Everything that can run here, the slowest first, and why each of the others cannot.

    Args:
        vmap_step_seconds: the longest step of an ensemble.
        stacked_step_seconds: the longest step of equal networks in `stacked`.
        native_epochs: the fewest epochs that `native` is timed for.
    """
    loop = fastest_way(50, 4, METHOD, penalties=("layer by layer",))
    tuned = fastest_way(50, 4, METHOD)
    found: list[Contender] = [Plain("plain", loop), Plain("plain_tuned", tuned), Vmap(tuned.adam, vmap_step_seconds)]
    missing = {}
    for name in ("stacked", "native"):
        reason = "not built here" if name not in ENGINES else ENGINES[name].refuses(cell_of(Shape(10, 3), EPOCHS))
        if reason is not None:
            missing[name] = reason
        elif name == "stacked":
            engine = ENGINES[name](device="cpu", curve_every=EPOCHS, threads=1)
            words = "train() on the CPU, validated every epoch (the curve's rows left out)"
            found.append(
                TrainedInFleets(name, engine, stride=1, least_strides=8, step_seconds=stacked_step_seconds, words=words)
            )
        else:
            found += native_contenders(ENGINES[name], native_epochs)
    return found, missing


def native_contenders(engine: Callable[..., Engine], epochs: int) -> list[Contender]:
    """The engine with the product's defaults, and bare: nothing measured but the training itself."""
    defaults = engine(device="cpu", curve_every=CURVE_EVERY, threads=1)
    bare = engine(device="cpu", curve_every=CURVE_EVERY, threads=1, evaluate=False)
    words = {
        "native_defaults": f"train(), evaluated every epoch, a curve's row every {CURVE_EVERY} epochs",
        "native": "train(), evaluation off",
    }
    return [
        Trained(name, made, stride=CURVE_EVERY, least_strides=epochs // CURVE_EVERY, words=words[name])
        for name, made in (("native_defaults", defaults), ("native", bare))
    ]


def matmul_rate(size: int = 1024) -> float:
    """Floating-point operations a second of one float32 matrix product, the best of three."""
    left, right = torch.rand(size, size), torch.rand(size, size)
    out = torch.empty(size, size)
    took = []
    for _ in range(3):
        start = time.process_time()
        torch.mm(left, right, out=out)
        took.append(time.process_time() - start)
    return 2 * size**3 / min(took)
