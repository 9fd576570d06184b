"""The comparison with the published numbers as Markdown, LaTeX and CSV: writing only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jumpstart_exp.config.studies import VARIANTS
from jumpstart_exp.report.captions import lost_told
from jumpstart_exp.report.papers.comparison import GridComparison, MethodComparison, PlaceComparison
from jumpstart_exp.report.papers.comparison_figures import METRIC_TITLES, caption, seeds_in_words
from jumpstart_exp.report.papers.layouts import TITLES, LayoutComparison, interval_words
from jumpstart_exp.report.papers.mnist_table import TableComparison
from jumpstart_exp.report.statistics.seedwise import Interval
from jumpstart_exp.report.table.names import dataset_title, method_title
from jumpstart_exp.report.tables.markup import (
    csv_text,
    in_latex,
    in_markdown,
    in_markdown_code,
    markdown_table,
    write_texts,
)

_DIGITS = 9  # behind the point, in CSV: beyond them processors may differ
_QUANTITIES = {
    "best_accuracy": "best overall accuracy",
    "networks_that_train": "networks that train",
    "best_for_the_pair": "best for the depth-width pair",
}
_MEASURES = {"distance": "mean absolute difference", "agreement": "share on the same side of the threshold"}
_LONG = 40  # rows from which on a LaTeX table breaks over pages


@dataclass(frozen=True)
class WithCommand:
    """A cell's text, and the command that follows it: code in Markdown."""

    text: str
    command: str


@dataclass(frozen=True)
class ComparisonTable:
    """Texts for Markdown and LaTeX, numbers for CSV, heads first.

    `columns` has a letter a column, "l" for text and "r" for numbers; `widths` are LaTeX's, in centimetres, for columns
    whose lines break, None for lines that do not.
    """

    caption: str
    heads: tuple[str, ...]
    rows: Sequence[Sequence[str | WithCommand]]
    numbers: list[list[object]]
    columns: str
    widths: Sequence[float] | None = None


def write_places(
    comparison: GridComparison, places: Sequence[PlaceComparison], methods: Sequence[MethodComparison], folder: Path
) -> list[Path]:
    """Write a grid's comparison method by method as STUDY_VARIANT_published, and number by number as …_places.csv.

    Raises:
        OSError: the folder cannot be written.
    """
    name = f"{comparison.study}_{comparison.variant}_published"
    titles = dict(zip(comparison.methods, comparison.method_titles, strict=True))
    text = (
        f"{_title(comparison)}, {seeds_in_words([comparison])}: ours (mean over seeds) against the published values "
        "(one seed). Inside: places whose published value lies between our lowest and highest seed, of those with two "
        "seeds or more; were it one more seed of ours, at least the expected number would, of each "
        "place (n − 1)/(n + 1) with n seeds. "
        f"{_left_out(comparison)} {caption(comparison)}"
    ).strip()
    heads = ("method", "metric", "places", "mean absolute difference", "mean difference", "inside", "expected inside")
    rows = [
        [
            titles[own.method],
            METRIC_TITLES[own.metric],
            str(own.places),
            f"{own.distance:.3f}",
            f"{own.shift:+.3f}",
            f"{own.inside} of {own.judged}",
            f"{own.expected:.1f}",
        ]
        for own in methods
    ]
    numbers: list[list[object]] = [["method", "metric", "places", "distance", "shift", "inside", "judged", "expected"]]
    numbers += [
        [own.method, own.metric, own.places, own.distance, own.shift, own.inside, own.judged, own.expected]
        for own in methods
    ]
    paths = write_table(ComparisonTable(text, heads, rows, numbers, "ll" + "r" * (len(heads) - 2)), folder, name)
    return paths + write_texts(
        folder, f"{name}_places", {"csv": csv_text([*map(_rounded, row)] for row in _place_rows(places))}
    )


def write_small_table(comparison: GridComparison, places: Sequence[PlaceComparison], folder: Path) -> list[Path]:
    """Write a published table of few networks (SepCons, table 2) beside ours as STUDY_VARIANT_published.

    Raises:
        OSError: the folder cannot be written.
    """
    titles = dict(zip(comparison.methods, comparison.method_titles, strict=True))
    text = (
        f"{_title(comparison)}, {seeds_in_words([comparison])}: ours against the published values (one seed). In "
        "brackets the 95 % interval; range from our lowest to our highest seed; reached: the share of seeds that come "
        "up to the published value, with its Wilson interval (95 %). The published losses were taken at the best "
        "accuracy; the store's best loss is the smallest, so losses are not compared. "
        f"{_left_out(comparison)}"
    )
    heads = ("method", "metric", "depth×width", "published", "ours", "range", "reached")
    rows = [
        [
            titles[own.place.method],
            METRIC_TITLES[own.place.metric],
            f"{own.place.depth}×{own.place.width}",
            f"{own.published:.4f}",
            interval_words(Interval(own.mean, own.low, own.high, own.seeds)),
            f"{own.least:.3f} to {own.most:.3f}",
            f"{own.reached} of {own.seeds} [{own.reached_low:.2f}, {own.reached_high:.2f}]",
        ]
        for own in places
    ]
    table = ComparisonTable(text, heads, rows, _place_rows(places), "ll" + "r" * (len(heads) - 2))
    return write_table(table, folder, f"{comparison.study}_{comparison.variant}_published")


def write_layouts(layouts: Sequence[LayoutComparison], folder: Path) -> list[Path]:
    """Write which layout of the MOONS network is nearer to the published figure as moons_layouts.md, .tex and .csv.

    Raises:
        OSError: the folder cannot be written.
    """
    lost = "; ".join(f"{TITLES[variant]}: {words}" for variant, words in layouts[0].lost.items())
    text = (
        "Which layout of the MOONS network reproduces the published figure? Training accuracy at the best epoch, every "
        "seed of ours against the published one; in brackets the 95 % interval over seeds; the difference is paired by "
        f"seed and place. {lost}: left out of the mean absolute difference, counted as not trained. All methods: "
        f"{layouts[0].verdict}"
    )
    heads = (
        "methods",
        "measure",
        *(TITLES[variant] for variant in VARIANTS),
        "difference",
        "nearer",
        "places",
        "seeds",
    )
    rows: list[list[str]] = []
    names = [
        "methods",
        "measure",
        *(f"{variant}{end}" for variant in VARIANTS for end in ("", "_low", "_high", "_between_seeds")),
    ]
    numbers: list[list[object]] = []
    numbers.append([*names, "difference", "difference_low", "difference_high", "nearer", "places", "seeds", "verdict"])
    for own in layouts:
        label = "all" if own is layouts[0] and len(own.methods) > 1 else method_title(own.methods[0], None, None)
        for measure in own.measures:
            each = [measure.of.get(variant) for variant in VARIANTS]
            rows.append(
                [
                    label,
                    _MEASURES[measure.name],
                    *("–" if of is None else interval_words(of) for of in each),
                    "–" if measure.difference is None else interval_words(measure.difference),
                    "undecided" if measure.nearer is None else TITLES[measure.nearer],
                    str(own.places),
                    str(own.seeds or "–"),
                ]
            )
            line: list[object] = [" ".join(own.methods), measure.name]
            for variant, of in zip(VARIANTS, each, strict=True):
                between = own.between_seeds.get(variant, float("nan"))
                line += [*_ends(of), "" if between != between else between]
            numbers.append(
                [*line, *_ends(measure.difference), measure.nearer or "", own.places, own.seeds, own.verdict]
            )
    return write_table(
        ComparisonTable(text, heads, rows, numbers, f"ll{'r' * len(VARIANTS)}rlrr"), folder, "moons_layouts"
    )


def write_mnist(table: Sequence[TableComparison], variant: str, folder: Path) -> list[Path]:
    """Write CPAIOR's table 1 beside ours as mnist_table1_VARIANT_published.md, .tex and .csv.

    Raises:
        OSError: the folder cannot be written.
    """
    seeds = next(line.ours.seeds for line in table if line.ours is not None)
    text = (
        f"MNIST, CPAIOR's table 1 beside ours (variant={variant}), one number for each of the {seeds} seeds that have "
        "the whole table: their mean, in brackets its 95 % interval, and the range from the lowest to the highest seed."
    )
    heads = ("quantity", "method", "metric", "published", "ours", "range")
    rows = [
        [
            _QUANTITIES[own.quantity],
            method_title(own.method, None, None),
            METRIC_TITLES[own.metric],
            f"{own.published:g}",
            "–" if own.ours is None else interval_words(own.ours),
            "–" if own.least is None or own.most is None else f"{own.least:.4g} to {own.most:.4g}",
        ]
        for own in table
    ]
    numbers: list[list[object]] = [
        ["quantity", "method", "metric", "published", "ours", "low", "high", "seeds", "least", "most"],
        *(
            [
                own.quantity,
                own.method,
                own.metric,
                own.published,
                *_ends(own.ours),
                "" if own.ours is None else own.ours.seeds,
                blank(own.least),
                blank(own.most),
            ]
            for own in table
        ),
    ]
    return write_table(
        ComparisonTable(text, heads, rows, numbers, "lllrrr"), folder, f"mnist_table1_{variant}_published"
    )


def write_table(table: ComparisonTable, folder: Path, name: str) -> list[Path]:
    """Write a table as NAME.md, .tex and .csv.

    Raises:
        OSError: the folder cannot be written.
    """
    body = [[*map(_cell_in_markdown, row)] for row in table.rows]
    texts = {
        "md": f"{in_markdown(table.caption)}\n\n{markdown_table(table.heads, body, table.columns)}",
        "tex": _latex(table),
        "csv": csv_text([*map(_rounded, row)] for row in table.numbers),
    }
    return write_texts(folder, name, texts)


def _cell_in_markdown(cell: str | WithCommand) -> str:
    if isinstance(cell, str):
        return in_markdown(cell)
    return f"{in_markdown(cell.text)}; {in_markdown_code(cell.command)}"


def _cell_in_latex(cell: str | WithCommand) -> str:
    return in_latex(cell if isinstance(cell, str) else f"{cell.text}; {cell.command}")


def blank(value: float | None) -> object:
    """A number of a CSV file; nothing for None."""
    return "" if value is None else value


def _place_rows(places: Sequence[PlaceComparison]) -> list[list[object]]:
    names = ["method", "metric", "depth", "width", "published", "mean", "low", "high", "least", "most", "seeds"]
    rows: list[list[object]] = [[*names, "difference", "is_inside", "reached", "reached_low", "reached_high"]]
    for own in places:
        where = own.place
        rows.append(
            [
                where.method, where.metric, where.depth, where.width, own.published, own.mean, blank(own.low),
                blank(own.high), own.least, own.most, own.seeds, own.difference,
                "" if own.is_inside is None else own.is_inside, own.reached, own.reached_low, own.reached_high,
            ]
        )  # fmt: skip
    return rows


def _title(comparison: GridComparison) -> str:
    layout = TITLES[comparison.variant] if comparison.study == "moons" else f"variant={comparison.variant}"
    return f"{dataset_title(comparison.grid.dataset)}, {layout}, best epoch"


def _left_out(comparison: GridComparison) -> str:
    lost = lost_told(comparison.diverged, comparison.failed, comparison.present)
    return f"{lost}: left out of means, ranges and counts."


def _ends(interval: Interval | None) -> list[object]:
    return [""] * 3 if interval is None else [interval.value, blank(interval.low), blank(interval.high)]


def _rounded(value: object) -> object:
    return round(value, _DIGITS) if isinstance(value, float) else value


def _latex(table: ComparisonTable) -> str:
    head = " & ".join(map(in_latex, table.heads)) + r" \\"
    body = [" & ".join(map(_cell_in_latex, row)) + r" \\" for row in table.rows]
    columns = table.columns if table.widths is None else "".join(f"p{{{width}cm}}" for width in table.widths)
    text = rf"\caption{{{in_latex(table.caption)}}}"
    if len(body) >= _LONG:
        lines = [
            *(r"% needs \usepackage{longtable}", rf"\begin{{longtable}}{{{columns}}}", text + r" \\"),
            *(r"\hline", head, r"\hline", r"\endhead", *body, r"\hline", r"\end{longtable}"),
        ]
    else:
        lines = [
            *(r"\begin{table}", r"\centering", text, rf"\begin{{tabular}}{{{columns}}}"),
            *(r"\hline", head, r"\hline", *body, r"\hline", r"\end{tabular}", r"\end{table}"),
        ]
    return "\n".join(lines) + "\n"
