"""Titles of figures that show published studies."""

import dataclasses

from stored_tables import cell, row, table

from jumpstart_exp.config.studies import study_cells
from jumpstart_exp.report.table.grid import figure_grids
from jumpstart_exp.report.table.studies import named_by_study


def titles(rows: list[dict]) -> set[str]:
    stored = table(rows)
    return {grid.title for grid in named_by_study(figure_grids(stored), stored)}


def of(name: str, variant: str = "paper", *methods: str) -> list[dict]:
    found = [one for one in study_cells(name, variant) if one.method in methods and (one.depth, one.width) == (50, 4)]
    return [row(dataclasses.replace(one, seed=seed), 0.6) for one in found for seed in (4, 9)]


def test_a_figure_of_a_study_alone_is_named_by_it_and_others_are_not() -> None:
    rows = of("cpaior_moons", "paper", "relu", "sep_up") + of("cpaior_moons", "code", "relu", "sep_up")
    rows += [row(cell("relu", 2, 3, 0, optimizer__epochs=77), 0.6)]
    found = titles(rows)
    assert {"MOONS · cpaior_moons · variant=paper", "MOONS · cpaior_moons · variant=code"} < found
    (other,) = {title for title in found if "cpaior" not in title}
    assert "77 epochs" in other


def test_a_figure_of_several_studies_names_the_fewest_that_have_all() -> None:
    rows = of("cpaior_moons", "paper", "relu", "sep_up")  # 50×4 is a network of sepcons_moons, too
    rows += [*of("sepcons_moons", "paper", "sep_l"), *of("dynamics_50x4", "paper", "sep_up")]
    assert titles(rows) == {"MOONS · sepcons_moons · variant=paper", "MOONS · dynamics_50x4 · variant=paper"}


def test_a_figure_with_one_foreign_cell_keeps_its_title() -> None:
    rows = [*of("cpaior_moons", "paper", "relu", "sep_up"), row(cell("relu", 2, 3, 0, optimizer__epochs=77), 0.6)]
    foreign = [row(dataclasses.replace(study_cells("cpaior_moons", "paper")[0], depth=51, width=4), 0.6)]
    assert not any("cpaior" in title for title in titles(rows + foreign))
    assert any("cpaior" in title for title in titles(rows))


def test_figures_of_one_study_are_told_apart() -> None:
    cells = [one for one in study_cells("cpaior_cifar10", "paper") if (one.depth, one.width) == (10, 8)]
    found = titles([row(one, 0.6) for one in cells])
    assert len(found) == 2 and all(title.startswith("CIFAR-10 · cpaior_cifar10 · variant=paper · ") for title in found)


def test_one_figure_keeps_its_short_title() -> None:
    assert titles(of("cpaior_moons", "paper", "relu")) == {"MOONS · mlp · 5000 epochs"}
