"""The benchmark's outcome as a table on the terminal and as a figure: drawing only."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

TITLES = {
    "plain": "plain torch, penalty layer by layer",
    "plain_tuned": "plain torch, its fastest way",
    "vmap": "torch.func.vmap, equal networks",
    "stacked": "engine on the CPU, in fleets",
    "native_defaults": "engine, everything measured",
    "native": "engine, nothing but training",
}
COLOURS = {"native": "#1b6ca8", "native_defaults": "#1b6ca8", "stacked": "#6aa6d0"}


def print_report(console: Console, report: Mapping[str, Any]) -> None:
    """Everything that was measured: the table, what was timed, the ratios, a sweep's overhead."""
    console.print(_table(report))
    for name, about in report["contenders"].items():
        console.print(f"  {name}: {about}")
    console.print("networks of the grid that were timed:")
    for line in timed_lines(report):
        console.print(f"  {line}")
    for name, reason in report["missing"].items():
        console.print(f"[yellow]left out:[/] {name}: {reason}")
    console.print()
    for line in ratio_lines(report):
        console.print(line)
    for line in overhead_lines(report["overhead"]):
        console.print(line)
    machine = report["machine"]
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_before']:.2f} before; "
        f"one thread each; {_rounds(report)}; {report['seconds']:.0f} s in all"
    )


def timed_lines(report: Mapping[str, Any]) -> list[str]:
    """Which networks were timed and how many interpolated: a line for the contenders that have the same."""
    names: dict[str, list[str]] = {}
    for name, words in report["timed_words"].items():
        others = len(report["interpolated"][name])
        filled = f", the other {others} interpolated linearly in depth, then in width" if others else ""
        names.setdefault(words + filled, []).append(name)
    return [f"{', '.join(sharing)}: {line}" for line, sharing in names.items()]


def ratio_lines(report: Mapping[str, Any]) -> list[str]:
    """What the bare engine gains over the grid, and how near the machine's peak it comes."""
    lines = [f"{ratio}: {value:.3g} ×" for ratio, value in report["ratios"].items()]
    peak = report["matmul"]["gflops"]["median"]
    for name in ("native", "native_defaults"):
        if name in report["grid"]:
            share = report["peak_fraction"]["grid"][name]
            lines.append(f"{name}: {share:.1%} of the {peak:.0f} GFLOP/s that a matrix product reaches")
    if {"native", "native_defaults"} <= report["grid"].keys():
        lines.append(f"native_defaults: {report['defaults_speed']:.1%} of the bare engine's speed")
    return lines


def overhead_lines(overhead: Mapping[str, Any]) -> list[str]:
    """A sweep's overhead and memory."""
    parts = ", ".join(f"{part.replace('_', ' ')} {overhead['per_1000'][part]:.2f}" for part in overhead["parts"])
    return [
        f"overhead of a sweep: {overhead['per_1000']['total']:.2f} ms a cell ({parts}); composed by Hydra "
        f"alone {overhead['per_1000']['hydra']:.0f} (measured with {overhead['cells']} cells)",
        f"peak memory of that sweep with {overhead['cells']} cells: {overhead['peak_bytes'] / 2**20:.0f} MiB",
    ]


def _table(report: Mapping[str, Any]) -> Table:
    peak = report["matmul"]["gflops"]
    table = Table(
        title="milliseconds per network and step of Sep-UP, one thread; grid: 216 networks × 5000 steps",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption=f"peak: float32 {report['matmul']['size']}³ matrix product, {peak['median']:.0f} GFLOP/s "
        f"({peak['low']:.0f}–{peak['high']:.0f}); operations counted: 6 × points × weights a step\n"
        "all times are processor time",
        caption_justify="left",
    )
    table.add_column("depth×width", no_wrap=True)
    for network in report["networks"]:
        depth, width = network.split("x")
        table.add_column(f"{depth}×{width}", justify="right", no_wrap=True)
    table.add_column("grid,\ncore-s", justify="right", no_wrap=True)
    table.add_column("×\nnative", justify="right", no_wrap=True)
    table.add_column("of\npeak", justify="right", no_wrap=True)
    for name, seconds in report["grid"].items():
        ratio = seconds / report["grid"]["native"] if "native" in report["grid"] else None
        table.add_row(
            name,
            *(_milliseconds(report["milliseconds"][name][network]["median"]) for network in report["networks"]),
            f"{seconds:,.0f}",
            "–" if ratio is None else f"{ratio:.3g}",
            f"{report['peak_fraction']['grid'][name]:.2%}",
            style="bold" if name == "native" else None,
        )
    return table


def _milliseconds(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def _rounds(report: Mapping[str, Any]) -> str:
    return "one round" if report["rounds"] == 1 else f"medians over {report['rounds']} rounds"


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Core-seconds over the published grid as bars on a log axis, with the ratio to `native` and what was timed.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.style.context("default"):
        _figure(report).savefig(path, dpi=150)


def _figure(report: Mapping[str, Any]) -> Figure:
    grid: Mapping[str, float] = report["grid"]
    names = list(grid)[::-1]
    notes = [part for line in timed_lines(report) for part in textwrap.wrap(f"timed: {line}", 135)]
    machine = report["machine"]
    notes.append(f"one thread of {machine['cpu']}, torch {machine['torch']}; {_rounds(report)}")
    figure = Figure(figsize=(8.5, 1.25 + 0.42 * len(names) + 0.15 * len(notes)), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    bars = ax.barh(
        [f"{name}\n{TITLES[name]}" for name in names],
        [grid[name] for name in names],
        color=[COLOURS.get(name, "0.6") for name in names],
        height=0.68,
    )
    native = grid.get("native")
    labels = [
        f" {grid[name]:,.0f} s"
        + ("" if native is None or name == "native" else f" · {grid[name] / native:.3g} × native")
        for name in names
    ]
    ax.bar_label(bars, labels, fontsize=9)
    ax.set_xscale("log")
    ax.set_xlim(min(grid.values()) / 3, max(grid.values()) * 8)
    ax.set_xlabel("core-seconds (log scale)", fontsize=9)
    ax.set_title("The published MOONS grid with Sep-UP: 216 networks × 5000 steps", fontsize=11, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="y", length=0, labelsize=9)
    figure.supxlabel("\n".join(notes), fontsize=6.5, x=0.01, ha="left", color="0.35")
    return figure
