"""Every figure and table of the papers that a store has, as docs/gallery.md: python scripts/gallery.py RESULTS_DIR.

Draws into docs/figures/gallery and writes docs/gallery.md: each figure with what the paper shows, what ours is of, and
the commands that made it. What the store lacks is listed with the commands, and how long they take on this machine.
"""

import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pandas as pd

from jumpstart_exp.config.studies import STUDIES, VARIANTS, study
from jumpstart_exp.report.figures.drawing import save_figure
from jumpstart_exp.report.figures.initialisation import initialisation_caption, initialisation_figure
from jumpstart_exp.report.files import write_whole
from jumpstart_exp.report.papers.drawn import paper_commands, write_paper_figure
from jumpstart_exp.report.papers.figures import (
    FIGURES,
    PaperError,
    PaperFigure,
    PaperSource,
    paper_line,
    paper_source,
)
from jumpstart_exp.report.statistics.initialisation import initialisations
from jumpstart_exp.report.statistics.success import train_shares
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.store import Store, StoreError

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "gallery.md"
PICTURES = ROOT / "docs" / "figures" / "gallery"
DPI = 150
LARGEST = 300_000
"""Bytes of a picture, above which it is drawn with fewer dots."""

TESTED = "<!-- test: with dry_run=true seed=0; fails: python -m jumpstart_exp -m +experiment= -->"
"""How the tests run a figure's commands: they have no results of the study."""

INTRODUCTION = """\
# Gallery

The papers' figures and tables, drawn of this project's own results by `scripts/gallery.py`. Once a study is trained,
`make figure FIG=NAME` draws one as PDF and PNG at the paper's column width, or writes a table as LaTeX and Markdown.
Accuracies are those of the best epoch, as published; in heatmaps black is chance and cream is 1.
"""


def main(arguments: list[str]) -> int:
    """Draw what the store has and write the page; returns the exit code."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    results = Path(arguments[0])
    try:
        table = Store(results).cells()
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if table.empty:
        print(f"error: {results} has no results", file=sys.stderr)
        return 1
    PICTURES.mkdir(parents=True, exist_ok=True)
    shown, lacking, written = [], [], set()
    for figure in FIGURES.values():
        try:
            entries = _entries(figure, results, table)
        except PaperError as error:
            print(f"left out: {error}")
            lacking.append(figure)
            continue
        shown += [entry for entry, _ in entries]
        written |= {picture for _, picture in entries}
        print(f"{figure.name}: drawn")
    for dataset in initialisations(table):
        with tempfile.TemporaryDirectory() as folder:
            png, _ = save_figure(partial(initialisation_figure, dataset), Path(folder), dataset.slug)
            write_whole(PICTURES / png.name, png.read_bytes())
        written |= {png.name}
        caption = initialisation_caption(dataset)
        shown.append(
            f"## {dataset.title} before training\n\n![{dataset.title} before training](figures/gallery/{png.name})\n\n"
            f"{caption}\n\n```\npython -m jumpstart_exp.report only=initialisation\n```\n"
        )
    for old in PICTURES.glob("*.png"):
        if old.name not in written:
            old.unlink()
    parts = [INTRODUCTION, *shown]
    if lacking:
        parts.append(_lacking(lacking))
    write_whole(PAGE, "\n".join(parts).encode())
    print(f"{PAGE.relative_to(ROOT)}: {len(shown)} shown, {len(lacking)} not stored")
    return 0


def _entries(figure: PaperFigure, results: Path, table: pd.DataFrame) -> list[tuple[str, str]]:
    """A figure's parts of the page, each with the name of its picture: what the store has, and the other variant.

    Raises:
        PaperError: the store lacks it.
    """
    if figure.is_inside or figure.is_computed:
        return [_entry(figure, results, table, None)]
    found = [paper_source(figure, table, variant) for variant in (None, *VARIANTS)]
    first = found[0]
    others = [one for one in found[1:] if one and first and not one.is_small and one.variant != first.variant]
    return [_entry(figure, results, table, source) for source in (first, *others)]


def _entry(figure: PaperFigure, results: Path, table: pd.DataFrame, source: PaperSource | None) -> tuple[str, str]:
    """A figure's part of the page, and the name of its picture; empty for a table."""
    variant = None if source is None else source.variant
    chosen = "" if variant in (None, "paper") else f", {variant}"
    heading = f"## {figure.name}{chosen}\n\n*{figure.paper}, {figure.place}:* {figure.caption}"
    with tempfile.TemporaryDirectory() as folder:
        if figure.is_table:
            _, markdown = write_paper_figure(figure.name, results, table, Path(folder), variant=variant)
            picture, content = "", markdown.read_text()
        else:
            dots = DPI
            while True:
                png, _ = write_paper_figure(figure.name, results, table, Path(folder), variant=variant, dpi=dots)
                if png.stat().st_size <= LARGEST:
                    break
                dots = dots * 4 // 5
            picture = png.name
            write_whole(PICTURES / picture, png.read_bytes())
            content = f"![{figure.paper}, {figure.place}](figures/gallery/{picture})\n"
    ours = ""
    if source is not None and not figure.is_table:
        ours = f"*Ours:* {paper_line(figure, source, 'best').split(', ours: ')[1]}. {_trained(figure, source)}\n\n"
    draw = f"make figure FIG={figure.name}" if not chosen else paper_commands(figure, variant)[-1]
    training = _training(figure, source)
    block = [*([TESTED] if training else []), "```", *training, draw, "```\n"]
    return f"{heading}\n\n{content}\n{ours}" + "\n".join(block), picture


def _training(figure: PaperFigure, source: PaperSource | None) -> list[str]:
    """The commands that trained what is drawn."""
    if source is None:
        return [*paper_commands(figure)[:-1]]
    seeds = sorted({int(seed) for seed in source.rows["seed"]})
    listed = ",".join(map(str, seeds))
    if len(seeds) > 3 and seeds == [*range(seeds[0], seeds[-1] + 1)]:
        listed = f"{seeds[0]},{seeds[1]},...,{seeds[-1]}"
    return [study(source.study).command(source.variant, listed)]


def _trained(figure: PaperFigure, source: PaperSource) -> str:
    """At how many networks of each method half of the seeds train."""
    titles, counts = dict(figure.methods), dict.fromkeys((label for label, _ in figure.methods), (0, 0))
    grids = figure_grids(source.rows)
    for grid in grids:
        shares = train_shares(grid, "best")
        for index, label in enumerate(grid.methods):
            half, there = int((shares.share[index] >= 0.5).sum()), int((shares.seeds[index] > 0).sum())
            counts[label] = counts[label][0] + half, counts[label][1] + there
    said = [f"{titles[label]} {half} of {there}" for label, (half, there) in counts.items() if there]
    threshold = f"{grids[0].threshold:.3g}"
    return f"Networks of which half of the seeds or more reach a training accuracy of {threshold}: {', '.join(said)}."


def _lacking(figures: list[PaperFigure]) -> str:
    lines = [
        "## Not stored\n",
        "What the store lacks, with the commands that make it, and how long the training takes on the machine that "
        "wrote this page:\n",
    ]
    times: dict[str, str] = {}
    for figure in figures:
        commands = paper_commands(figure)
        small = [
            f"python -m jumpstart_exp -m +experiment={each.name}"
            for each in STUDIES
            if each.small_of == figure.studies[0]
        ]
        for command in (*commands[: len(figure.studies)], *small):
            if command not in times:
                times[command] = _estimate(command)
        lines.append(f"* **{figure.name}**, {figure.paper}, {figure.place}: {figure.caption}\n")
        block = [TESTED, "```"]
        block += [f"{command}{f'   # {times[command]}' if times.get(command) else ''}" for command in commands[:-1]]
        block += [f"{command}   # in small: {times[command]}" for command in small]
        lines += [f"    {line}" for line in (*block, f"make figure FIG={figure.name}", "```")]
    return "\n".join(lines)


def _estimate(command: str) -> str:
    """How long a sweep into an empty store would take, by its dry run."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, *command.split()[1:], "dry_run=true", f"results_dir={folder}"]
        answer = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.search(r"estimated time\s*│\s*(.*?)\s*│", answer.stdout)
    if not found:
        return ""
    return "seconds" if re.search(r"\d m?s$", found[1]) and "min" not in found[1] else found[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
