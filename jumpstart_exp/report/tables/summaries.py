"""The report's tables as Markdown, LaTeX and CSV: writing only."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from jumpstart_exp.report.registry import Job, of_grid
from jumpstart_exp.report.statistics.cost import PairCost, Ratio, overall, pair_costs
from jumpstart_exp.report.statistics.summary import SUMMARISED, BestNetwork, Summary, summarise
from jumpstart_exp.report.table.grid import MOMENTS, FigureGrid
from jumpstart_exp.report.tables.markup import Rows, csv_text, in_latex, in_markdown, markdown_table, write_texts
from jumpstart_exp.settings import legible

LEAST_METHODS = 2
"""Methods from which on there is something to compare."""

_COLUMNS = {"train_acc": "training", "val_acc": "validation"}


def write_summaries(grid: FigureGrid, folder: Path) -> list[Path]:
    """Write the summary (CPAIOR, table 1) at best and at last epoch as SLUG_MOMENT.md, .tex and .csv.

    Raises:
        OSError: the folder cannot be written.
    """
    paths = []
    for moment in MOMENTS:
        summary = summarise(grid, moment)
        caption, rows = summary_caption(grid, summary, moment), _summary_rows(summary)
        texts = {
            "md": _summary_markdown(grid, caption, rows),
            "tex": _summary_latex(grid, caption, rows),
            "csv": _summary_csv(grid, summary),
        }
        paths += write_texts(folder, f"{grid.slug}_{moment}", texts)
    return paths


def write_costs(grid: FigureGrid, folder: Path) -> list[Path]:
    """Write what the penalty costs as SLUG_cost.md and .csv; nothing where no pair can be compared.

    Raises:
        OSError: the folder cannot be written.
    """
    costs = pair_costs(grid)
    if not costs:
        return []
    return write_texts(folder, f"{grid.slug}_cost", {"md": _cost_markdown(grid, costs), "csv": _cost_csv(costs)})


def summary_caption(grid: FigureGrid, summary: Summary, moment: str) -> str:
    """What the summary shows and by which rules."""
    left_out = [f"{summary.left_out[metric]} ({word})" for metric, word in _COLUMNS.items()]
    same = len({*summary.left_out.values()}) == 1
    count = str(summary.left_out["train_acc"]) if same else " and ".join(left_out)
    return (
        f"{grid.title}, {moment} epoch. Best overall accuracy: over all single networks. A network trains if its "
        f"training accuracy at this epoch is {_number(summary.threshold)} or more (chance is {_number(grid.chance)}); "
        "one that is missing, diverged or failed does not. Best "
        "for the depth-width pair: the highest mean over the seeds for which every method has an accuracy; a tie is "
        f"nobody's. Pairs left out because some method has no accuracy there: {count}."
    )


def _summary_rows(summary: Summary) -> Rows:
    """Each row's name and its cells, two a method."""

    def row(name: str, cells: Iterable[object]) -> list[str]:
        return [name, *map(str, cells)]

    each = [(method, metric) for method in summary.methods for metric in SUMMARISED]
    return [
        row("best overall accuracy", (_accuracy(method.best[metric]) for method, metric in each)),
        row("of depth×width (seed)", (_network(method.best[metric]) for method, metric in each)),
        row("networks that train", (f"{method.trained} of {method.networks}" for method, _ in each)),
        row("best for the depth-width pair", (f"{m.wins[metric]} of {summary.compared[metric]}" for m, metric in each)),
        *(
            [row("better than ReLU at the pair", (_beats(method.beats_baseline, metric) for method, metric in each))]
            if len(summary.methods) > LEAST_METHODS and any(method.beats_baseline for method in summary.methods)
            else []
        ),
        row("ties", (f"{summary.ties[metric]} of {summary.compared[metric]}" for _, metric in each)),
        row("seeds", (method.seeds for method, _ in each)),
        row("diverged", (method.diverged for method, _ in each)),
        row("failed", (method.failed for method, _ in each)),
    ]


def _beats(found: Mapping[str, tuple[int, int]] | None, metric: str) -> str:
    return "" if found is None else "{} of {}".format(*found[metric])


def _part_of(found: Mapping[str, tuple[int, int]] | None, metric: str, index: int) -> object:
    return "" if found is None else found[metric][index]


def _summary_markdown(grid: FigureGrid, caption: str, rows: Rows) -> str:
    heads = [f"{in_markdown(title)} {word}" for title in grid.method_titles for word in _COLUMNS.values()]
    return f"{in_markdown(caption)}\n\n{markdown_table(['', *heads], rows)}"


def _summary_latex(grid: FigureGrid, caption: str, rows: Rows) -> str:
    titles = [rf"\multicolumn{{{len(_COLUMNS)}}}{{c}}{{{in_latex(title)}}}" for title in grid.method_titles]
    words = [word for _ in grid.methods for word in _COLUMNS.values()]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{in_latex(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(words)}}}",
        r"\hline",
        " & ".join(["", *titles]) + r" \\",
        " & ".join(["", *words]) + r" \\",
        r"\hline",
        *(" & ".join(map(in_latex, row)) + r" \\" for row in rows),
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _summary_csv(grid: FigureGrid, summary: Summary) -> str:
    each = [(method, metric) for method in summary.methods for metric in SUMMARISED]
    best = [method.best[metric] for method, metric in each]
    rows = [
        ["", *(f"{label} {word}" for label in grid.methods for word in _COLUMNS.values())],
        *(
            [f"best_{name}", *(getattr(one, name, "") for one in best)]
            for name in ("accuracy", "depth", "width", "seed")
        ),
        ["trained", *(method.trained for method, _ in each)],
        ["networks", *(method.networks for method, _ in each)],
        ["wins", *(method.wins[metric] for method, metric in each)],
        *(
            [f"{name}_baseline", *(_part_of(method.beats_baseline, metric, index) for method, metric in each)]
            for index, name in enumerate(("better_than", "compared_with"))
        ),
        *([name, *(getattr(summary, name)[metric] for _, metric in each)] for name in ("ties", "compared", "left_out")),
        *([name, *(getattr(method, name) for method, _ in each)] for name in ("seeds", "diverged", "failed")),
        ["threshold", *(summary.threshold for _ in each)],
    ]
    return csv_text(rows)


def _cost_markdown(grid: FigureGrid, costs: Sequence[PairCost]) -> str:
    titles = dict(zip(grid.methods, map(in_markdown, grid.method_titles), strict=True))
    caption = (
        f"{grid.title}: what the penalty costs against plain ReLU. Means over the seeds that one engine trained on one "
        "device with and without the penalty, to the end and for the same epochs. Times of cells that were trained "
        "beside each other on one machine are as noisy as the machine. Memory is what a training took at its peak "
        "beyond what its process or device had in use before."
    )
    if any(cost.trained_on.startswith(("native,", "stacked,")) for cost in costs):
        caption += (
            " The engines native and stacked train many cells at once in one process: their memory is that "
            "process's whole size."
        )
    if any(cost.trained_on.startswith("stacked,") for cost in costs):
        caption += " The engine stacked divides a fleet's time by estimated cost: its ratios are partly estimates."
    heads = ["method", "engine, device", "depth×width", "seeds", "s without", "s with", "time ratio"]
    heads += ["MB without", "MB with", "memory ratio"]
    rows = []
    for cost in costs:
        row = [
            titles[cost.method],
            in_markdown(legible(cost.trained_on)),
            f"{cost.depth}×{cost.width}",
            str(cost.seeds),
        ]
        row += [*map(_number, cost.seconds), f"{cost.time_ratio:.2f}"]
        if cost.memory is None or cost.memory_ratio is None:
            row += ["–"] * 3
        else:
            row += [*(f"{size / 1e6:.1f}" for size in cost.memory), f"{cost.memory_ratio:.2f}"]
        rows.append(row)
    lines = []
    for method, trained_on in dict.fromkeys((cost.method, cost.trained_on) for cost in costs):
        own = [cost for cost in costs if (cost.method, cost.trained_on) == (method, trained_on)]
        time, memory = overall([cost.time_ratio for cost in own]), overall([cost.memory_ratio for cost in own])
        where = in_markdown(legible(trained_on))
        lines.append(f"- {titles[method]} ({where}): time {_in_words(time)}; memory {_in_words(memory)}")
    return (
        f"{in_markdown(caption)}\n\n"
        + "\n".join(lines)
        + "\n\n"
        + markdown_table(heads, rows, f"lll{'r' * (len(heads) - 3)}")
    )


def _in_words(ratio: Ratio | None) -> str:
    if ratio is None:
        return "unknown"
    pairs = f"{ratio.pairs} pair{'s' * (ratio.pairs != 1)}"
    return f"× {ratio.median:.2f} (median), × {ratio.geometric_mean:.2f} (geometric mean) over {pairs}"


def _cost_csv(costs: Sequence[PairCost]) -> str:
    names = ["method", "engine", "device", "depth", "width", "seeds", "seconds_without", "seconds_with", "time_ratio"]
    rows: list[list[object]] = [[*names, "memory_bytes_without", "memory_bytes_with", "memory_ratio"]]
    for cost in costs:
        engine, device = cost.trained_on.split(", ", 1)
        memory = cost.memory or ("", "")
        row = [cost.method, engine, device, cost.depth, cost.width, cost.seeds, *cost.seconds, cost.time_ratio]
        rows.append([*row, *memory, "" if cost.memory_ratio is None else cost.memory_ratio])
    return csv_text(rows)


def _accuracy(best: BestNetwork | None) -> str:
    return "–" if best is None else f"{best.accuracy:.6g}"


def _network(best: BestNetwork | None) -> str:
    return "–" if best is None else f"{best.depth}×{best.width} ({best.seed})"


def _number(value: float) -> str:
    return f"{value:.4g}"


@of_grid("tables", rank=20)
def _summaries(grid: FigureGrid) -> Iterator[Job]:
    if len(grid.methods) >= LEAST_METHODS:
        yield Job("tables", partial(write_summaries, grid))
        if pair_costs(grid):
            yield Job("tables", partial(write_costs, grid))
