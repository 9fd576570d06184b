"""What the papers state about MOONS (CPAIOR, section 4; ICLR, section 4 and appendix A; SepCons, section 4.1)."""

import dataclasses
from collections.abc import Callable
from functools import partial

from jumpstart_exp.report.papers.assertions import Assertion, Criterion, Measured, at_least, at_most, of_figure
from jumpstart_exp.report.papers.measures import Measure, StudyGrids, frontier_of, lowest_mean, times_deeper
from jumpstart_exp.report.papers.published import ROUNDING
from jumpstart_exp.report.table.grid import FigureGrid

_FRONTIER = "greatest depth up to which half of the seeds train, counted from the first that trains"
_CONSTRAINTS = ("sep_u", "sep_p", "sep_up", "sep_l")


def _frontier(
    name: str,
    paper: str,
    study: str,
    quoted: tuple[str, ...],
    template: str,
    method: str,
    width: int | None,
    *,
    is_lower_bound: bool,
) -> Assertion:
    """A statement that a method trains to a depth (or no deeper), at one width or at the best width."""

    def of_grid(grid: FigureGrid) -> Measure | None:
        return frontier_of(grid, method, width)

    where = "greatest of all widths" if width is None else f"at width {width}"
    return Assertion(
        name=name,
        paper=paper,
        place="",
        study=study,
        quoted=quoted,
        template=template,
        measured=f"{_FRONTIER}, {where}",
        required=at_least if is_lower_bound else at_most,
        digits=0,
        measure=_of_whole(study, of_grid, (method,), width),
        of_grid=of_grid,
    )


def _of_whole(
    study: str, of_grid: Measured, methods: tuple[str, ...], width: int | None
) -> Callable[[StudyGrids, str], Measure | None]:
    """The measure of a study's figure, where no depth is missing: a frontier would end at it."""
    of_part = of_figure(study, of_grid)

    def measure(grids: StudyGrids, variant: str) -> Measure | None:
        few = grids.few_places(study, variant, methods, width)
        found = None if few is None else of_part(grids, variant)
        return None if few is None or found is None else dataclasses.replace(found, few_places=few)

    return measure


def _deeper(grid: FigureGrid) -> Measure | None:
    return times_deeper(grid, "sep_up")


def _lowest_of_constraints(grid: FigureGrid) -> Measure | None:
    return lowest_mean(grid, _CONSTRAINTS, "train_acc_best")


def _no_more_than_printed(accuracy: float) -> Criterion:
    """The printed digits are cut off or rounded."""
    return Criterion(most=accuracy + ROUNDING)


def _about_as_deep(times: float) -> Criterion:
    """Four to six times is about five."""
    return Criterion(times - 1, times + 1, reason=f"within 1 of the published {times:g}")


_upwards, _downwards = partial(_frontier, is_lower_bound=True), partial(_frontier, is_lower_bound=False)

MOONS_ASSERTIONS: tuple[Assertion, ...] = (
    _upwards(
        "moons_jumpstart_width_3",
        "CPAIOR",
        "cpaior_moons",
        ("moons_jumpstart_width_3",),
        "Jumpstart trains networks of width 3 to depth {:g}.",
        "sep_up",
        3,
    ),
    _downwards(
        "moons_baseline_width_3",
        "CPAIOR",
        "cpaior_moons",
        ("moons_baseline_width_3",),
        "Without jumpstart networks of width 3 train no deeper than {:g}.",
        "relu",
        3,
    ),
    _upwards(
        "moons_jumpstart_width_25",
        "CPAIOR",
        "cpaior_moons",
        ("moons_jumpstart_width_25",),
        "Jumpstart trains networks of width 25 to depth {:g}.",
        "sep_up",
        25,
    ),
    _downwards(
        "moons_baseline_width_25",
        "CPAIOR",
        "cpaior_moons",
        ("moons_baseline_width_25",),
        "Without jumpstart networks of width 25 train no deeper than {:g}.",
        "relu",
        25,
    ),
    Assertion(
        name="moons_times_deeper",
        paper="CPAIOR",
        place="",
        study="cpaior_moons",
        quoted=("moons_times_deeper",),
        template="Jumpstart trains about {:g} times deeper.",
        measured="ratio of the greatest depths up to which half of the seeds train, counted from the first that "
        "trains: geometric mean over the widths at which both methods have one",
        required=_about_as_deep,
        digits=1,
        measure=_of_whole("cpaior_moons", _deeper, ("relu", "sep_up"), None),
        of_grid=_deeper,
    ),
    _downwards(
        "iclr_moons_relu",
        "ICLR",
        "iclr_moons",
        ("iclr_moons_relu_text", "iclr_moons_relu_figure"),
        "ReLU breaks down at {:g} layers (the caption of figure 1 says {:g}).",
        "relu",
        None,
    ),
    _upwards(
        "iclr_moons_sep_up",
        "ICLR",
        "iclr_moons",
        ("iclr_moons_sep_up_depth",),
        "Sep-UP works with the minimum width of 3 up to {:g} layers.",
        "sep_up",
        3,
    ),
    _upwards(
        "iclr_moons_sep_p",
        "ICLR",
        "iclr_moons",
        ("iclr_moons_sep_p",),
        "Sep-P trains from 1 to {:g} layers.",
        "sep_p",
        None,
    ),
    _upwards(
        "iclr_moons_zero_init",
        "ICLR",
        "iclr_moons",
        ("iclr_moons_zero_init",),
        "Zero initialisation trains networks of {:g} layers.",
        "zero_init",
        None,
    ),
    _downwards(
        "iclr_moons_relu_bn",
        "ICLR",
        "iclr_moons",
        ("iclr_moons_relu_bn",),
        "ReLU + BN cannot train networks deeper than {:g} layers.",
        "relu_bn",
        None,
    ),
    _downwards(
        "sepcons_moons_relu",
        "SepCons",
        "sepcons_moons",
        ("sepcons_moons_relu",),
        "ReLU fails with networks deeper than {:g} layers.",
        "relu",
        None,
    ),
    _upwards(
        "sepcons_moons_relu_bn",
        "SepCons",
        "sepcons_moons",
        ("sepcons_moons_relu_bn",),
        "ReLU + BN works up to {:g} layers.",
        "relu_bn",
        None,
    ),
    _upwards(
        "sepcons_moons_sep_up",
        "SepCons",
        "sepcons_moons",
        ("sepcons_moons_sep_up",),
        "Sep-UP works up to {:g} layers.",
        "sep_up",
        None,
    ),
    _downwards(
        "sepcons_moons_sep_p",
        "SepCons",
        "sepcons_moons",
        ("sepcons_moons_sep_p",),
        "Sep-P performs well up to {:g} layers and breaks down afterwards.",
        "sep_p",
        None,
    ),
    _upwards(
        "sepcons_moons_sep_l",
        "SepCons",
        "sepcons_moons",
        ("sepcons_moons_sep_l",),
        "Sep-L maintains acceptable performance well into {:g} layers.",
        "sep_l",
        None,
    ),
    Assertion(
        name="sepcons_50x4_constraints",
        paper="SepCons",
        place="",
        study="table2_50x4",
        quoted=("sepcons_50x4_constraints",),
        template="At 50×4 every kind of constraint trains to an accuracy above {:g}.",
        measured="lowest mean training accuracy of Sep-U, Sep-P, Sep-UP and Sep-L",
        required=at_least,
        digits=3,
        measure=of_figure("table2_50x4", _lowest_of_constraints),
    ),
    Assertion(
        name="sepcons_50x4_sep_l",
        paper="SepCons",
        place="table 2",
        study="table2_50x4",
        quoted=("sep_l/train_acc_best/50/4",),
        template="At 50×4 Sep-L reaches a training accuracy of {:g}.",
        measured="mean training accuracy of Sep-L",
        required=at_least,
        digits=3,
        measure=of_figure("table2_50x4", lambda grid: lowest_mean(grid, ("sep_l",), "train_acc_best")),
    ),
    Assertion(
        name="sepcons_50x4_relu",
        paper="SepCons",
        place="table 2",
        study="table2_50x4",
        quoted=("relu/train_acc_best/50/4",),
        template="At 50×4 ReLU stays at {:g}, the share of one class.",
        measured="mean training accuracy of ReLU",
        required=_no_more_than_printed,
        digits=3,
        measure=of_figure("table2_50x4", lambda grid: lowest_mean(grid, ("relu",), "train_acc_best")),
    ),
)
"""CPAIOR's statements, then ICLR's and SepCons's."""
