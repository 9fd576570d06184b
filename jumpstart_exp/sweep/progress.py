"""What a sweep shows: the progress bar, and at the end what became of its cells."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from jumpstart_exp.cell import Cell
from jumpstart_exp.console import redraws
from jumpstart_exp.result import ACTIVITY, COLUMNS, DEAD_AT_SOME_LAYER, DORMANT_TAU, SCORES, Result
from jumpstart_exp.settings import legible
from jumpstart_exp.sweep.time_left import TimeLeft

if TYPE_CHECKING:
    from jumpstart_exp.sweep.fleets import Phase

_PLAIN_EVERY = 10.0
"""Seconds between lines where no bar can be drawn."""

_SURE_AFTER = 1.5
"""Seconds of work after which a time left is shown."""

_WIDE = 115
"""Columns of a terminal that have room for which network is the best."""

_ESTIMATE_EVERY = 0.25
"""Seconds between estimates of the time left."""


class SweepProgress:
    """Cells done of cells to do, time left, and the best cell so far; a line now and then where no bar can be drawn.

    The time left follows the estimated cost of what is done, cells in training included, not their number; each
    phase has its own pace, because the estimates of engines may be off by different factors.
    """

    def __init__(self, phases: "Sequence[Phase]", console: Console) -> None:
        self.later = [phase.estimate_seconds() for phase in phases]
        self.pace = TimeLeft([], 1)
        self.share_done: Callable[[Cell, float], float] = lambda cell, epochs: epochs / cell.optimizer.epochs
        self.seconds_per_cost: float | None = None
        self.ends: float | None = None
        self.next_estimate = 0.0
        self.later_cost = [sum(phase.cost.values()) for phase in phases]
        self.whole_cost = sum(self.later_cost) or 1.0
        self.done, self.total = 0, sum(len(fleet) for phase in phases for fleet in phase.fleets)
        self.best: Result | None = None
        self.last_line = time.monotonic()
        self.console = console
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[done]}", table_column=Column(no_wrap=True)),
            _TimeLeft(self),
            TextColumn("{task.fields[best]}", table_column=Column(no_wrap=True)),
            console=console,
            disable=not redraws(console),
        )
        self.task = self.bar.add_task("training", total=1.0, done=f"0/{self.total} cells", best="")
        self.notebook: _NotebookBar | None = None

    def __enter__(self) -> "SweepProgress":
        """Show the bar."""
        self.bar.start()
        if self.console.is_jupyter:
            self.notebook = _NotebookBar(self.bar)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it stands."""
        self.bar.stop()
        if self.notebook is not None:
            self.notebook.redraw()

    def begin(self, phase: "Phase") -> None:
        """This phase is the next."""
        self.later.pop(0)
        self.later_cost.pop(0)
        self.share_done = phase.setup.engine.share_done
        self.pace = TimeLeft([{cell.key: phase.cost[cell.key] for cell in unit} for unit in phase.units], phase.at_once)

    def training(self, cell: Cell, epochs: float) -> None:
        """A cell has done this many epochs, a part of one included."""
        self.pace.note(cell.key, self.share_done(cell, epochs), time.monotonic())

    def finished(self, result: Result) -> None:
        """A cell is done, though not stored yet."""
        fraction = 1.0 if result.status == "done" else self.share_done(result.cell, result.epochs_run)
        self.pace.finish(result.cell.key, fraction, time.monotonic())

    def stored(self, results: Iterable[Result]) -> None:
        """These results are durable."""
        for result in results:
            self.done += 1
            score, so_far = result.train_acc.best, -math.inf if self.best is None else self.best.train_acc.best
            if score is not None and (so_far is None or score > so_far):
                self.best = result
        best = ""
        if self.best is not None:
            best = f"best {self.best.train_acc.best:.3f}"
            if self.console.width >= _WIDE:
                best = self.best_told()
        self.bar.update(self.task, done=f"{self.done}/{self.total} cells", best=best)
        if self.done == self.total:  # no tick follows
            self.bar.update(self.task, completed=1.0)

    def best_told(self) -> str:
        """The best of the stored results in words; empty where there is none."""
        if self.best is None:
            return ""
        score = SCORES[self.best.cell.dataset.task]
        return f"best training {score} {self.best.train_acc.best:.3f} ({escape(self.best.cell.title())})"

    def tick(self) -> None:
        """Time has passed: estimate anew what is left, and where no bar can be drawn say so now and then."""
        now = time.monotonic()
        if now >= self.next_estimate:
            self.next_estimate = now + _ESTIMATE_EVERY
            left = self.seconds_left()
            self.ends = None if left is None else now + left
            # the largest cells come first: their number would seem to stand still
            self.bar.update(self.task, completed=1 - (self.pace.total_left + sum(self.later_cost)) / self.whole_cost)
            if self.notebook is not None:
                self.notebook.redraw()
        if self.bar.disable and self.notebook is None and now - self.last_line >= _PLAIN_EVERY:
            self.last_line = now
            best = f", {self.best_told()}" if self.best else ""
            self.console.print(f"{self.done}/{self.total} cells, {self.time_left()}{best}", highlight=False)

    def seconds_left(self) -> float | None:
        """The estimated seconds until all is trained; None while there is too little to go by."""
        now, began = time.monotonic(), self.pace.first_sign
        if began is not None and self.pace.last_sign - began >= _SURE_AFTER:
            self.seconds_per_cost = self.pace.seconds_per_cost() or self.seconds_per_cost
        if self.seconds_per_cost is None:
            return None
        # estimates are in seconds: what this machine makes of one engine's is the best guess for the next
        return self.pace.seconds_left(self.seconds_per_cost, now) + sum(self.later) * self.seconds_per_cost

    @property
    def left(self) -> float | None:
        """The seconds left as they were estimated last, less what has passed since; None: not known."""
        return None if self.ends is None else max(0.0, self.ends - time.monotonic())

    def time_left(self) -> str:
        """The estimated time left, in words."""
        return "time left: …" if self.ends is None else f"{duration(self.ends - time.monotonic())} left"


class _NotebookBar:
    """The bar as an output of a notebook's cell, drawn anew in its place; no widget is needed."""

    def __init__(self, bar: Progress) -> None:
        from IPython.display import display  # a notebook has it

        self.bar = bar
        self.output: Any = display(bar, display_id=True)  # type: ignore[no-untyped-call]

    def redraw(self) -> None:
        self.output.update(self.bar)


@contextmanager
def epoch_progress(cell: Cell, console: Console) -> Iterator[Callable[[Cell, float], None]]:
    """A bar over the epochs of one cell, or lines now and then; yields the function that takes (cell, epochs done)."""
    bar = Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not redraws(console),
    )
    task = bar.add_task("training", total=cell.optimizer.epochs)
    last_line = time.monotonic()

    def show(_: Cell, epochs: float) -> None:
        nonlocal last_line
        bar.update(task, completed=epochs)
        if bar.disable and time.monotonic() - last_line >= _PLAIN_EVERY:
            last_line = time.monotonic()
            left = bar.tasks[task].time_remaining
            words = "" if left is None else f", {duration(left)} left"
            console.print(f"{epochs:.0f}/{cell.optimizer.epochs} epochs{words}", highlight=False)

    with bar:
        yield show


class _TimeLeft(ProgressColumn):
    def __init__(self, progress: SweepProgress) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self.progress = progress

    def render(self, task: Task) -> Text:
        return Text(self.progress.time_left(), style="progress.remaining")


def duration(seconds: float) -> str:
    """A time in words: 15 ms, 3.2 s, 42 s, 3 min 20 s, 2 h 05 min, 3 d 4 h."""
    whole = max(0, round(seconds))
    if 0 < seconds < 0.095:
        return f"{max(1, round(1000 * seconds))} ms"
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its method, its status, and its best training score, None or NaN where it has none.

    `threshold` is the score from which on a network of its dataset trains, `task` the dataset's.
    """

    method: str
    status: str
    best: float | None
    threshold: float
    task: str

    @property
    def trains(self) -> bool:
        """Whether it reached the threshold."""
        return self.status == "done" and self.best is not None and self.best >= self.threshold - 1e-9


def _threshold_words(outcomes: Sequence[Outcome]) -> str:
    values: dict[str, set[float]] = {}
    for outcome in outcomes:
        values.setdefault(SCORES[outcome.task], set()).add(outcome.threshold)
    told = (f"{score} {' or '.join(f'{value:.4g}' for value in sorted(values[score]))}" for score in sorted(values))
    return f"training {', '.join(told)} or more"


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """What became of the trained cells, a row a method."""
    table = Table(title="trained now", title_justify="left")
    table.add_column("method")
    for column in ("cells", "done", "diverged", "failed", f"train ({_threshold_words(outcomes)})"):
        table.add_column(column, justify="right")
    for method in sorted({outcome.method for outcome in outcomes}):
        own = [outcome for outcome in outcomes if outcome.method == method]
        count = Counter(outcome.status for outcome in own)
        numbers = (len(own), count["done"], count["diverged"], count["failed"], sum(one.trains for one in own))
        table.add_row(escape(legible(method)), *map(str, numbers))
    return table


_OF_LAYERS = "mean over layers"
_MEASURED = {
    "penalty": "penalty",
    "dead_units": f"dead units, {_OF_LAYERS}",
    "linear_units": f"linear units, {_OF_LAYERS}",
    "dead_points": f"dead points, {_OF_LAYERS}",
    "linear_points": f"linear points, {_OF_LAYERS}",
    DEAD_AT_SOME_LAYER: "points dead at some layer",
    "dormant_units": f"dormant units (τ = {DORMANT_TAU:g}), {_OF_LAYERS}",
    "firing_rate": f"firing rate, {_OF_LAYERS}",
}
"""What is measured before and after a training; all but the penalty are fractions."""


def result_table(cell: Cell, row: Mapping[str, object]) -> Table:
    """One cell's stored result, earlier before later: metrics at their best and last epoch, penalty and census."""
    table = Table(title=f"{cell.dataset.name}: {escape(cell.title())}", title_justify="left")
    for column in ("", "best", "at epoch", "last epoch"):
        table.add_column(column, justify="left" if not column else "right")
    score = SCORES[cell.dataset.task]
    for metric, column in COLUMNS[cell.dataset.task].items():
        name = metric.replace("train_", "training ").replace("val_", "validation ").replace("acc", score)
        table.add_row(name, *(_number(row[f"{column}_{moment}"]) for moment in ("best", "best_epoch", "last")))
    table.add_section()
    table.add_row("", "[bold]before[/]", "", "[bold]after[/]", style="dim")
    for quantity, label in _MEASURED.items():
        before, after = row.get(f"{quantity}_start"), row.get(f"{quantity}_last")
        if quantity not in ACTIVITY or before is not None:  # rows from before they were counted
            table.add_row(label, _number(before), "", _number(after))
    diverged = f" in epoch {_number(row['diverged_epoch'])}" if row["status"] == "diverged" else ""
    seconds = row["seconds"]
    assert isinstance(seconds, float)
    table.caption = (
        f"{row['status']}{diverged} · {_number(row['n_params'])} parameters · {_number(row['epochs_run'])} epochs "
        f"in {duration(seconds)} · engine {_plain(row['engine'])}"
    )
    return table


def _plain(text: object) -> str:
    """A stored text, without markup or anything else that a terminal would act on."""
    return escape(legible(str(text)))


def _number(value: object) -> str:
    if not isinstance(value, int | float) or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{value:d}" if isinstance(value, int) else f"{value:.0f}" if value == int(value) > 1 else f"{value:.4f}"
