"""Swept settings as tables: every value's networks that train, and every network's best value."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from jumpstart_exp.report.captions import threshold_of
from jumpstart_exp.report.figures.panel_grid import ALIKE, NONE_TRAINS
from jumpstart_exp.report.figures.sweeps import effects_caption, has_pairs, how_tested, values_caption
from jumpstart_exp.report.registry import Job, Stored, of_store
from jumpstart_exp.report.statistics import values as of_values
from jumpstart_exp.report.statistics.effects import setting_effects
from jumpstart_exp.report.statistics.values import compare_values
from jumpstart_exp.report.table.grid import MOMENTS
from jumpstart_exp.report.table.sweeps import Sweep, SweptMethod, has_effect
from jumpstart_exp.report.tables.table import Column, Table, interval, table_job

_WHY_NONE = {
    of_values.ALIKE: ALIKE,
    of_values.NONE_TRAINS: NONE_TRAINS,
    of_values.NOT_COMPARED: "the values share no seed",
}


_OF_A_VALUE = (
    Column("train", "{trained} of {networks}"),
    Column("share", interval("share", "", "{:.2f} ({:.2f} to {:.2f})")),
    Column("training", "{train_acc:.3f}"),
    Column("validation", "{val_acc:.3f}"),
    Column("best", lambda row: "best" if row.best else ""),
)


@of_store("sweeps", rank=6, title="swept settings in numbers")
def _sweeps(stored: Stored) -> Iterator[Job]:
    for sweep in stored.sweeps:
        yield table_job(sweep.slug, partial(values_table, sweep))
        if has_pairs(sweep):
            yield table_job(f"{sweep.slug}_best_values", partial(best_values_table, sweep))
        if len(sweep.names) > 1 and any(setting_effects(sweep, method, "best") for method in sweep.methods):
            yield table_job(f"{sweep.slug}_effects", partial(effects_table, sweep))


def values_table(sweep: Sweep) -> Table:
    """Every method's values: networks that train, accuracies, and whether they are told apart from the best one."""
    rows = []
    for at_epoch in MOMENTS:
        for method in sweep.methods:
            found = compare_values(method.grid, at_epoch)
            for number, words in enumerate(method.grid.methods):
                row: dict[str, Any] = {"method": method.label, "moment": at_epoch}
                row |= dict(zip(sweep.names, _settings(sweep, method, number), strict=True))
                row |= {"pairs": found.pairs, "trained": found.trained[number], "networks": found.networks[number]}
                for name in ("share", "low", "high", "train_acc", "val_acc"):
                    row[name] = getattr(found, name)[number]
                row |= {"best": int(found.best[number])}
                row |= {"share_p": found.share_p[number], "train_acc_p": found.train_acc_p[number]}
                row |= {"values_differ_p": np.nan if found.p is None else found.p}
                rows.append(row | {"title": method.title, "words": words})
    several = {compare_values(method.grid, "best").pairs > 1 for method in sweep.methods}
    ends = {frozenset({True}): "lowest and highest seed", frozenset({False}): "Wilson's 95 % interval"}
    told = ends.get(frozenset(several), "lowest and highest seed, of one pair Wilson's 95 % interval")
    spread = f", in brackets {told} of the share"
    caption = f"{sweep.title} over {', '.join(sweep.names)}. {values_caption(sweep, spread)} p: against the best value."
    columns = (
        Column("method", "{title}", "l"),
        Column("epoch", "{moment}", "l"),
        Column(", ".join(sweep.names), "{words}", "l"),
        *_OF_A_VALUE,
        Column("p of the share", "{share_p:.2g}"),
        Column("p of training", "{train_acc_p:.2g}"),
        Column("values differ, p", "{values_differ_p:.2g}"),
    )
    return Table(caption, pd.DataFrame(rows), columns, shown_only=("title", "words"))


def best_values_table(sweep: Sweep) -> Table:
    """Every depth × width's best value, how many seeds train with it, and whether the values differ there."""
    rows = []
    for at_epoch in MOMENTS:
        for method in (method for method in sweep.methods if len(method.values) > 1):
            grid, found = method.grid, compare_values(method.grid, at_epoch)
            trained, differ = grid.trained(at_epoch).sum(axis=-1), found.significant()
            for place in map(tuple, np.argwhere(grid.present.any(axis=(0, 3)))):
                best = int(found.best_at[place])
                row: dict[str, Any] = {"method": method.label, "moment": at_epoch}
                row |= {"depth": grid.depths[place[0]], "width": grid.widths[place[1]]}
                own = _settings(sweep, method, best) if best >= 0 else [""] * len(sweep.names)
                row |= dict(zip(sweep.names, own, strict=True))
                row |= {"none": _WHY_NONE.get(best, "")}
                row |= {"trained": int(trained[best][place]) if best >= 0 else ""}
                row |= {"seeds": int(grid.present[best][place].sum()) if best >= 0 else ""}
                row |= {"p_adjusted": found.p_at[place], "differ": int(differ[place])}
                rows.append(row | {"title": method.title, "words": grid.methods[best] if best >= 0 else row["none"]})
    first = sweep.methods[0].grid
    caption = (
        f"{sweep.title} over {', '.join(sweep.names)}: the best value at every depth × width: with which most seeds "
        f"train ({threshold_of(first)}), of equal shares the highest mean training {first.score}, over the seeds that "
        f"all values have. {how_tested(sweep)} p: corrected by Benjamini and Hochberg for a method's depth × width "
        "pairs."
    )
    columns = (
        Column("method", "{title}", "l"),
        Column("epoch", "{moment}", "l"),
        Column("depth×width", "{depth}×{width}"),
        Column(f"best {', '.join(sweep.names)}", "{words}", "l"),
        Column("train", "{trained} of {seeds}"),
        Column("values differ, p", "{p_adjusted:.2g}"),
    )
    return Table(caption, pd.DataFrame(rows, dtype=object), columns, shown_only=("title", "words"))


def effects_table(sweep: Sweep) -> Table:
    """Which of the swept settings decide: every setting's values over the same values of all others."""
    rows = []
    for at_epoch in MOMENTS:
        for method in sweep.methods:
            for effect in setting_effects(sweep, method, at_epoch):
                found = effect.found
                for number, words in enumerate(effect.words):
                    row: dict[str, Any] = {"method": method.label, "moment": at_epoch, "setting": effect.name}
                    row |= {"value": words, "combinations": effect.combinations}
                    row |= {"trained": found.trained[number], "networks": found.networks[number]}
                    by_seed = found.by_seed[number]
                    row |= {"share": found.share[number], "low": np.nanmin(by_seed), "high": np.nanmax(by_seed)}
                    row |= {"train_acc": found.train_acc[number], "val_acc": found.val_acc[number]}
                    row |= {"best": int(found.best[number]), "spread": effect.spread}
                    row |= {"values_differ_p": np.nan if found.p is None else found.p}
                    rows.append(row | {"title": method.title})
    return Table(
        effects_caption(sweep, "in brackets the lowest and the highest seed"),
        pd.DataFrame(rows),
        _EFFECT_COLUMNS,
        shown_only=("title",),
    )


_EFFECT_COLUMNS = (
    Column("method", "{title}", "l"),
    Column("epoch", "{moment}", "l"),
    Column("setting", "{setting}", "l"),
    Column("value", "{value}", "l"),
    Column("combinations", "{combinations}"),
    *_OF_A_VALUE,
    Column("highest − lowest share", "{spread:.2f}"),
    Column("values differ, p", "{values_differ_p:.2g}"),
)


def _settings(sweep: Sweep, method: SweptMethod, number: int) -> list[Any]:
    """What the value holds, as CSV has it: empty where a setting has no effect, null where that is its value."""
    own = zip(sweep.names, method.values[number], strict=True)
    return [("null" if value is None else value) if has_effect(name, value) else "" for name, value in own]
