"""What a sweep shows: the progress bar, and at the end what became of its cells."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from jumpstart_exp.cell import Cell
from jumpstart_exp.result import CENSUS, METRICS, Result

_PLAIN_EVERY = 10.0
"""Seconds between lines where the output is no terminal."""

_SURE_AFTER = 3.0
"""Seconds of work after which a time left is shown."""


class SweepProgress:
    """Cells done of cells to do, time left, and the best cell so far; a line now and then without a terminal.

    The time left follows the estimated cost of what is done, cells in training included, not their number.
    """

    def __init__(self, cells: Sequence[Cell], cost: dict[str, float], console: Console) -> None:
        self.cost, self.total_cost = cost, sum(cost[cell.key] for cell in cells)
        self.partial: dict[str, float] = {}
        self.done_cost = 0.0
        self.done, self.total = 0, len(cells)
        self.best: Result | None = None
        self.first_sign: tuple[float, float] | None = None
        self.last_line = time.monotonic()
        self.console = console
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("cells"),
            _TimeLeft(self),
            TextColumn("{task.fields[best]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=self.total, best="")

    def __enter__(self) -> "SweepProgress":
        """Show the bar."""
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it stands."""
        self.bar.stop()

    def training(self, cell: Cell, epochs: int) -> None:
        """A cell has done this many epochs."""
        self.partial[cell.key] = self.cost[cell.key] * epochs / cell.optimizer.epochs
        self._note_first_sign()

    def stored(self, results: Iterable[Result]) -> None:
        """These results are durable."""
        for result in results:
            self.done += 1
            self.done_cost += self.cost[result.cell.key]
            self.partial.pop(result.cell.key, None)
            accuracy = result.train_acc.best
            if accuracy is not None and (self.best is None or accuracy > (self.best.train_acc.best or 0)):
                self.best = result
        self._note_first_sign()
        best = ""
        if self.best is not None:
            best = f"best training accuracy {self.best.train_acc.best:.3f} ({self.best.cell.title()})"
        self.bar.update(self.task, completed=self.done, best=best)

    def tick(self) -> None:
        """Without a terminal: a line now and then."""
        if not self.console.is_terminal and time.monotonic() - self.last_line >= _PLAIN_EVERY:
            self.last_line = time.monotonic()
            best = (
                f", best training accuracy {self.best.train_acc.best:.3f} ({self.best.cell.title()})"
                if self.best
                else ""
            )
            self.console.print(f"{self.done}/{self.total} cells, {self.time_left()}{best}", highlight=False)

    def time_left(self) -> str:
        """The estimated time left, in words."""
        if self.first_sign is None:
            return "time left: …"
        since, before = self.first_sign
        elapsed, worked = time.monotonic() - since, self._worked() - before
        if worked <= 0 or elapsed < _SURE_AFTER:
            return "time left: …"
        return f"{duration((self.total_cost - self._worked()) * elapsed / worked)} left"

    def _worked(self) -> float:
        return self.done_cost + sum(self.partial.values())

    def _note_first_sign(self) -> None:
        """Time counts from the first sign of work: before it workers only start."""
        if self.first_sign is None:
            self.first_sign = (time.monotonic(), self._worked())


@contextmanager
def epoch_progress(cell: Cell, console: Console) -> Iterator[Callable[[Cell, int], None]]:
    """A bar over the epochs of one cell; yields the function that takes (cell, epochs done)."""
    bar = Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("training", total=cell.optimizer.epochs)
    with bar:
        yield lambda _, epochs: bar.update(task, completed=epochs)


class _TimeLeft(ProgressColumn):
    def __init__(self, progress: SweepProgress) -> None:
        super().__init__()
        self.progress = progress

    def render(self, task: Task) -> Text:
        return Text(self.progress.time_left(), style="progress.remaining")


def duration(seconds: float) -> str:
    """A time in words: 3.2 s, 42 s, 3 min 20 s, 2 h 05 min, 3 d 4 h."""
    whole = max(0, round(seconds))
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def outcome_table(results: Sequence[Result]) -> Table:
    """What became of the trained cells, a row a method."""
    table = Table(title="trained now", title_justify="left")
    table.add_column("method")
    for column in ("cells", "done", "diverged", "failed", "reach 0.95 training accuracy"):
        table.add_column(column, justify="right")
    for method in sorted({result.cell.method for result in results}):
        rows = [result for result in results if result.cell.method == method]
        count = Counter(row.status for row in rows)
        trained = sum((row.train_acc.best or 0) >= 0.95 for row in rows if row.status == "done")
        table.add_row(method, *map(str, (len(rows), count["done"], count["diverged"], count["failed"], trained)))
    return table


def result_table(cell: Cell, row: Mapping[str, object]) -> Table:
    """One cell's stored result: metrics, penalty and census, readable."""
    table = Table(title=f"{cell.dataset.name}: {cell.title()}", title_justify="left")
    for column in ("", "last epoch", "best", "at epoch"):
        table.add_column(column, justify="left" if not column else "right")
    for metric in METRICS:
        name = metric.replace("train_", "training ").replace("val_", "validation ").replace("acc", "accuracy")
        table.add_row(name, *(_number(row[f"{metric}_{moment}"]) for moment in ("last", "best", "best_epoch")))
    table.add_section()
    table.add_row("", "[bold]after[/]", "[bold]before[/]", "", style="dim")
    for quantity in ("penalty", *CENSUS):
        label = "penalty" if quantity == "penalty" else quantity.replace("_", " ") + " (fraction)"
        table.add_row(label, _number(row.get(f"{quantity}_last")), _number(row.get(f"{quantity}_start")), "")
    diverged = f" in epoch {_number(row['diverged_epoch'])}" if row["status"] == "diverged" else ""
    seconds = row["seconds"]
    assert isinstance(seconds, float)
    table.caption = (
        f"{row['status']}{diverged} · {_number(row['n_params'])} parameters · {_number(row['epochs_run'])} epochs "
        f"in {duration(seconds)} · engine {row['engine']}\nkey {row['key']}"
    )
    return table


def _number(value: object) -> str:
    if not isinstance(value, int | float) or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{value:d}" if isinstance(value, int) else f"{value:.0f}" if value == int(value) > 1 else f"{value:.4f}"
