"""Which rows are a study's: against Hydra's own composition, and by hand."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from stored_tables import row, table
from study_rows import study_table

from jumpstart_exp.cell import NUMERICS, Cell
from jumpstart_exp.config.composition import compose_cells
from jumpstart_exp.config.contents import with_contents
from jumpstart_exp.config.expansion import expand_jobs
from jumpstart_exp.config.schema import conf_dir, register_schema
from jumpstart_exp.config.studies import STUDIES, experiment_cells, study, study_cells
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.report.atlas.atlas import STUDIES as ATLAS
from jumpstart_exp.report.table.studies import StudyTable, only_small, studies_in


def half(_: Cell) -> tuple[float, float]:
    return 0.5, 0.5


def test_a_study_has_the_cells_that_its_sweep_trains() -> None:
    name, variant, count = "cpaior_cifar100", "code", 80
    register_schema()
    chosen = [f"+experiment={name}", f"variant={variant}"]
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", chosen, RunMode.MULTIRUN)
        swept = compose_cells(loader, master, expand_jobs(loader, master.hydra.sweeper.params, chosen))
    assert study_cells(name, variant) == tuple(swept)
    assert len({cell.key for cell in swept}) == count == len(swept)


def test_every_study_is_a_file_and_every_published_file_is_a_study() -> None:
    files = {path.stem for path in (Path(conf_dir()) / "experiment").glob("*.yaml")}
    assert {own.name for own in STUDIES} == files - {
        "quick",
        "mnist_small",
        "rai_settings",
        "rai_settings_deep",
        "rai_grid",
        "geometry_networks",
        *ATLAS,
        "atlas_rates",
        "sequel_tables",
    }
    for own in STUDIES:
        assert own.small_of is None or own.small_of in files


def test_rows_of_any_seed_belong_and_nothing_else_may_differ() -> None:
    cells = {cell.method: cell for cell in study_cells("table2_50x4", "paper")}
    inside = [dataclasses.replace(cells["sep_up"], seed=seed) for seed in (0, 17)] + [cells["relu"]]
    changed = [
        dataclasses.replace(cells["sep_up"], depth=49),
        dataclasses.replace(cells["sep_up"], optimizer=dataclasses.replace(cells["sep_up"].optimizer, lr=0.02)),
        dataclasses.replace(cells["sep_up"], penalty=dataclasses.replace(cells["sep_up"].penalty, weight=2e-4)),
        dataclasses.replace(cells["sep_up"], dataset=Moons(noise=0.1)),
        dataclasses.replace(cells["relu"], precision="float64"),
        *study_cells("dynamics_50x4", "paper"),
    ]
    store = table([row(cell, 0.9) for cell in (*changed, *inside)])
    assert StudyTable(store).rows("table2_50x4", "paper")["key"].tolist() == [cell.key for cell in inside]
    assert StudyTable(store).rows("table2_50x4", "code")["key"].tolist() == [cells["relu"].key] * 0


def test_what_has_no_effect_or_is_neutral_is_no_difference() -> None:
    cell = next(cell for cell in study_cells("table2_50x4", "paper") if cell.method == "sep_up")
    stored = row(cell, 0.9) | {"dataset.noise": 0.0, "penalty.layers": None, "optimizer.batch_size": None}
    assert len(StudyTable(table([stored])).rows("table2_50x4", "paper")) == 1
    assert len(StudyTable(table([stored | {"dataset.noise": 0.1}])).rows("table2_50x4", "paper")) == 0


@pytest.mark.parametrize(
    ("name", "other"),
    [("atlas_wine", {"dataset.loader": "load_iris"}), ("atlas_circles", {"dataset.factor": 0.7})],
)
def test_rows_of_a_table_belong_whatever_was_found_of_it(name: str, other: dict[str, object], tmp_path: Path) -> None:
    composed = experiment_cells(name, "paper")[:3]
    assert {cell.dataset.content for cell in composed} == {None}
    cells = with_contents(composed, tmp_path)
    assert None not in {cell.dataset.content for cell in cells}
    rows = [row(cell, 0.9) for cell in cells]
    found = StudyTable(table([*rows, rows[0] | {"key": "another"} | other])).rows_of_experiment(name, "sklearn")
    assert found["key"].tolist() == [cell.key for cell in cells]


def test_rows_of_other_numerics_do_not_belong() -> None:
    cell = study_cells("dynamics_50x4", "paper")[0]
    store = table([row(cell, 0.9) | {"numerics": NUMERICS}, row(cell, 0.9) | {"numerics": NUMERICS + 1}])
    assert StudyTable(store).rows("dynamics_50x4", "paper").index.tolist() == [0]


def test_a_result_under_another_label_gets_the_studys_own() -> None:
    cell = next(cell for cell in study_cells("table2_50x4", "paper") if cell.method == "sep_up")
    mine = dataclasses.replace(cell, method="my own")
    rows = StudyTable(table([row(mine, 0.9)])).rows("table2_50x4", "paper")
    assert (rows["labels"].iloc[0], rows["method"].iloc[0]) == (["sep_up"], "sep_up")


def test_how_complete_a_study_is() -> None:
    store = study_table("table2_50x4", "paper", (0, 1), half, where=lambda cell: cell.method != "sep_l")
    more = study_table("table2_50x4", "paper", (5,), half)
    (state,) = studies_in(StudyTable(pd.concat([store, more], ignore_index=True)))
    assert (state.study.name, state.variant, state.places, state.present) == ("table2_50x4", "paper", 6, 6)
    assert state.complete_seeds == (5,)
    (state,) = studies_in(StudyTable(store))
    assert (state.present, state.complete_seeds) == (5, ())
    assert study("table2_50x4").command("paper").endswith("+experiment=table2_50x4 seed=0,1,...,9")
    assert study("mnist_table1").command("code").endswith("+experiment=mnist_table1 variant=code seed=0,1,...,9")


def test_a_study_in_small_is_told_from_the_study() -> None:
    store = study_table("mnist_table1_small", "paper", (0,), half)
    states = studies_in(StudyTable(store))
    whole = [state.study.name for state in states if state.present == state.places]
    assert whole == ["mnist_table1_small"], "iclr_mnist_small shares some of its cells"
    small = only_small(states, "mnist_table1", "paper")
    assert small is not None and small.name == "mnist_table1_small"
    assert only_small(states, "mnist_table1", "code") is None
    assert only_small(states, "cpaior_cifar10", "paper") is None


def test_an_empty_store_has_no_study() -> None:
    assert studies_in(StudyTable(pd.DataFrame())) == ()
    assert len(StudyTable(pd.DataFrame()).rows("cpaior_moons", "paper")) == 0


def test_an_unknown_study_or_variant_is_named() -> None:
    with pytest.raises(ValueError, match="study=moon is not allowed: one of cpaior_moons"):
        study_cells("moon", "paper")
    with pytest.raises(ValueError, match="variant=papers is not allowed: one of paper, code"):
        study_cells("cpaior_moons", "papers")
