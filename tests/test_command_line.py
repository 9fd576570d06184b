"""The command lines as users type them, with fewer epochs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jumpstart_exp.cell import Cell
from jumpstart_exp.config.errors import unknown_setting
from jumpstart_exp.store import Store

ROOT = Path(__file__).parent.parent


def stored(folder: Path) -> pd.DataFrame:
    return Store(folder / "results").cells()


def test_no_argument_is_one_cell_of_moons(command, tmp_path):
    done = command("optimizer.epochs=20", fresh=True)
    assert done.returncode == 0, done.stderr
    for text in ("sep_up 10×4 seed 0", "training accuracy", "validation accuracy", "best", "last epoch", "dead units"):
        assert text in done.stdout
    row = stored(tmp_path).iloc[0]
    assert (row["dataset"], row["method"], row["depth"], row["width"]) == ("moons", "sep_up", 10, 4)
    assert (row["status"], row["optimizer.epochs"], row["penalty.weight"]) == ("done", 20, 1e-4)


def test_a_command_that_trains_nothing_does_not_wait_for_torch():
    imports = (
        "import jumpstart_exp.__main__, jumpstart_exp.launcher, jumpstart_exp.status, jumpstart_exp.report.__main__"
    )
    code = f"import sys; {imports}; print(*{{'torch', 'sklearn', 'matplotlib'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_one_cell_with_overrides(answer, tmp_path):
    line = ["depth=50", "width=4", "method=relu", "seed=3", "optimizer.lr=0.003", "optimizer.epochs=3"]
    assert answer(*line).returncode == 0
    row = stored(tmp_path).iloc[0]
    assert (row["depth"], row["width"], row["method"], row["seed"], row["optimizer.lr"]) == (50, 4, "relu", 3, 0.003)
    again = answer(*line)
    assert again.returncode == 0 and "nothing to train" in again.stdout and "relu 50×4 seed 3" in again.stdout
    assert len(stored(tmp_path)) == 1


def test_the_papers_ellipsis_as_typed(answer, command, tmp_path):
    done = command("-m", "depth=1,10,...,150", "width=1,2,...,25", "optimizer.epochs=1")
    assert done.returncode == 0, done.stderr
    rows = stored(tmp_path)
    assert sorted(set(rows["depth"])) == [1, *range(10, 151, 10)]
    assert sorted(set(rows["width"])) == list(range(1, 26))
    assert len(rows) == 16 * 25 and set(rows["status"]) == {"done"}
    assert done.stderr.count("cannot be met") == 1, "one warning, not one for each cell of width 1"
    again = answer("-m", "depth=1,10,...,150", "width=1,2,...,25", "optimizer.epochs=1")
    assert "nothing to train" in again.stdout


def test_the_cpaior_grid_as_typed(answer):
    done = answer("-m", "depth=1,2,...,5,10,...,50,60,...,150", "width=1,2,...,5,10,...,25", "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "216 (216 sep_up)" in done.stdout


def test_an_ellipsis_that_could_be_several_lists_is_refused(answer):
    done = answer("-m", "depth=1,10,...,100", "dry_run=true")
    assert done.returncode == 2
    assert "write 1,10,19,28,...,100 for steps of 9; write 1,10,20,30,...,100 for multiples of 10" in done.stderr


@pytest.mark.parametrize(
    ("study", "variant", "cells"),
    [
        ("cpaior_moons", "paper", 432),
        ("table2_50x4", "code", 6),
        # the grids themselves are compared in test_compose.py
        pytest.param("iclr_moons", "code", 702, marks=pytest.mark.soak),
        pytest.param("sepcons_moons", "paper", 768, marks=pytest.mark.soak),
        pytest.param("dynamics_50x4", "paper", 1, marks=pytest.mark.soak),
    ],
)
def test_published_studies(answer, tmp_path, study, variant, cells):
    done = answer("-m", f"+experiment={study}", f"variant={variant}", "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert f" {cells} (" in done.stdout and "estimated time" in done.stdout and "estimated memory" in done.stdout
    assert not (tmp_path / "results").exists(), "a dry run writes nothing"


def test_seed_is_sweepable_on_top_of_a_study(answer):
    assert " 6 (" in answer("-m", "+experiment=constraints_only_50x4", "seed=0,1,2", "dry_run=true").stdout


def test_a_study_trains(command, tmp_path):
    line = ["-m", "+experiment=table2_50x4", "optimizer.epochs=2", "variant=code"]
    assert command(*line).returncode == 0
    rows = stored(tmp_path)
    assert sorted(rows["method"]) == ["relu", "relu_bn", "sep_l", "sep_p", "sep_u", "sep_up"]
    assert set(rows["depth"]) == {50} and set(rows["network.layout"]) == {"mlp"}
    assert set(rows["optimizer.eps"]) == {1e-7} and set(rows["optimizer.eps_rule"]) == {"keras"}


def test_equal_descriptions_are_trained_once_and_carry_both_labels(answer, command, tmp_path):
    line = ["-m", "method=relu,sep_up", "penalty.weight=0,1e-3", "depth=2", "optimizer.epochs=2"]
    done = command(*line)
    assert done.returncode == 0, done.stderr
    assert "2 cells" in done.stdout
    labels = sorted(map(tuple, stored(tmp_path)["labels"]))
    assert labels == [("relu", "sep_up"), ("sep_up",)]
    assert "nothing to train" in answer(*line).stdout


def test_a_new_method_is_a_yaml_file(command, tmp_path):
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "method" / "sep_up_l2.yaml").write_text(
        "# @package _global_\npenalty:\n  kind: UP\n  weight: 0.001\n  aggregate: l2\n  ties: shared\n"
    )
    line = ["--config-dir", "mine", "-m", "method=sep_up_l2,relu", "depth=2", "optimizer.epochs=2"]
    assert command(*line).returncode == 0
    rows = stored(tmp_path).set_index("method")
    assert rows.loc["sep_up_l2", "penalty.aggregate"] == "l2" and rows.loc["sep_up_l2", "penalty.ties"] == "shared"


def test_a_study_leaves_a_methods_own_settings_alone(answer, tmp_path):
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "method" / "strong.yaml").write_text(
        "# @package _global_\npenalty:\n  kind: UP\n  weight: 0.01\n"
    )
    line = ["--config-dir", "mine", "+experiment=quick", "method=strong", "depth=1", "width=3", "optimizer.epochs=1"]
    assert answer(*line, "seed=0").returncode == 0
    assert set(stored(tmp_path)["penalty.weight"]) == {0.01}


def test_a_group_on_the_command_line_wins_over_variant_and_study(command, tmp_path):
    line = ["+experiment=table2_50x4", "variant=code", "network=mlp,conv2x1", "method=relu", "optimizer.epochs=1"]
    assert command(*line).returncode == 0
    assert sorted(stored(tmp_path)["network.layout"]) == ["conv2x1", "mlp"]
    line = ["-m", "+experiment=cpaior_moons", "variant=code", "network=mlp", "depth=1", "width=2", "method=relu"]
    assert command(*line, "optimizer.epochs=1", "results_dir=other").returncode == 0
    assert list(Store(tmp_path / "other").cells()["network.layout"]) == ["mlp"]


def test_a_method_file_that_cannot_be_right_is_named(answer, tmp_path):
    (tmp_path / "mine" / "method").mkdir(parents=True)
    files = {
        "headless": ("penalty:\n  kind: UP\n", "@package _global_"),
        "typo": ("# @package _global_\npenalty:\n  agregate: sum\n", "did you mean aggregate?"),
        "torn": ("# @package _global_\npenalty:\n  kind: UP\n weight: 1\n", "torn.yaml"),
    }
    for name, (content, hint) in files.items():
        (tmp_path / "mine" / "method" / f"{name}.yaml").write_text(content)
        done = answer("--config-dir", "mine", f"method={name}")
        assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert hint in done.stderr


@pytest.mark.parametrize("folder", ["résultats ☃", "it's a,b", "'quoted'"])
def test_results_folders_of_any_name(answer, tmp_path, folder):
    done = answer("depth=1", "optimizer.epochs=1", f"results_dir={folder}")
    assert done.returncode == 0, done.stderr
    assert len(Store(tmp_path / folder.strip("'")).cells()) == 1
    assert answer(f"results_dir={folder}", "only=seeds", module="jumpstart_exp.report").returncode == 0


def test_the_sweep_flag_may_stand_anywhere(answer):
    assert "2 (2 sep_up)" in answer("depth=1,2", "-m", "dry_run=true").stdout


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_variant_that_a_dataset_does_not_have_is_refused(answer, tmp_path, sweep):
    (tmp_path / "mine" / "variant").mkdir(parents=True)
    (tmp_path / "mine" / "variant" / "odd.yaml").write_text("# @package _global_\n")
    done = answer("--config-dir", "mine", *sweep, "variant=odd", "depth=2")
    assert done.returncode == 2 and done.stderr.startswith("error: variant='odd'")
    assert len(done.stderr.strip().splitlines()) == 1


def test_failures_are_listed_and_the_others_finish(answer, command, tmp_path):
    line = ["-m", "depth=2", "width=4,1000000", "optimizer.epochs=2"]
    done = command(*line)
    assert done.returncode == 1
    assert "1 of 2 cells failed" in done.stderr and "width=1000000" in done.stderr and "memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(stored(tmp_path)["status"]) == ["done", "failed"]
    again = answer(*line)
    assert "nothing to train" in again.stdout and "retry=failed" in again.stdout
    assert again.returncode == 1 and "width=1000000" in again.stderr, "a failure stays one until it is mended"
    assert command(*line, "retry=failed").returncode == 1


def test_data_that_cannot_be_had_is_a_failure_of_the_cell(answer, command, tmp_path):
    line = ["dataset.n_samples=1000000000000", "optimizer.epochs=1"]
    for run, sweep in ((answer, []), (command, ["-m"])):
        done = run(*sweep, *line, f"results_dir=r{len(sweep)}")
        assert done.returncode == 1 and "Traceback" not in done.stderr and "emory" in done.stderr
        assert list(Store(tmp_path / f"r{len(sweep)}").cells()["status"]) == ["failed"]


def test_overrides_of_one_name_keep_their_order(answer):
    assert " 1 (" in answer("-m", "depth=3,1,3,2,3", "++depth=3", "dry_run=true").stdout


def test_a_diverged_cell_is_a_result_and_no_accuracy(answer, tmp_path):
    done = answer("depth=2", "optimizer.epochs=50", "optimizer.lr=1e30")
    assert done.returncode == 0 and "diverged in epoch" in done.stdout
    row = stored(tmp_path).iloc[0]
    assert row["status"] == "diverged" and pd.isna(row["train_acc_last"]) and row["diverged_epoch"] >= 1


@pytest.mark.parametrize("launcher", ["basic", "submitit_local"])
def test_hydras_own_launchers_work_too(command, tmp_path, launcher):
    done = command("-m", f"hydra/launcher={launcher}", "depth=2,3", "optimizer.epochs=2")
    assert done.returncode == 0, done.stderr
    assert sorted(stored(tmp_path)["depth"]) == [2, 3]


def test_hydras_own_launchers_account_for_failures(command, tmp_path):
    done = command("-m", "hydra/launcher=basic", "depth=2", "width=1000000,4,2000000", "optimizer.epochs=2")
    assert done.returncode == 1 and "2 of 3 cells failed" in done.stderr
    assert sorted(stored(tmp_path)["status"]) == ["done", "failed", "failed"]


def test_report_draws_what_the_store_has(answer, command, tmp_path):
    assert command("-m", "method=relu,sep_up", "depth=1,2", "width=2,3", "optimizer.epochs=3").returncode == 0
    done = answer("only=heatmaps", module="jumpstart_exp.report")
    assert done.returncode == 0, done.stderr
    drawn = {path.suffix for path in (tmp_path / "results" / "figures").iterdir()}
    assert drawn == {".png", ".pdf"}
    assert "8 cells, 2 methods, 1 seed" in done.stdout and "results/figures/" in done.stdout


def test_help_names_groups_and_settings(answer):
    done = answer("--help")
    assert done.returncode == 0
    for text in ("method: asymmetric, balanced_above", "experiment: ", "cpaior_moons", "optimizer:", "results_dir"):
        assert text in done.stdout


BAD_INPUTS = {
    "depth=0": ["depth=0", "from 1"],
    "width=-1": ["width=-1", "from 1"],
    "depth=ten": ["depth='ten'", "an integer from 1"],
    "depth=2.5": ["depth", "2.5", "an integer"],
    "method=sep_pu": ["method='sep_pu'", "one of asymmetric", "did you mean sep_"],
    "variant=cod": ["variant='cod'", "code, paper"],
    "dataset=mooons": ["dataset='mooons'", "did you mean moons?"],
    "penalty.weight=-0.1": ["penalty.weight=-0.1", "at least 0"],
    "penalty.balance=1.5": ["penalty.balance=1.5", "from 0 to 1"],
    "penalty.balance=-0.5": ["penalty.balance=-0.5", "from 0 to 1"],
    "optimizer.epochs=0": ["optimizer.epochs=0", "at least 1"],
    "epochs=0": ["epochs is not a setting", "did you mean optimizer.epochs?"],
    "engine=warp": ["engine='warp'", "eager"],
    "device=cuda0": ["device='cuda0'", "cuda"],
    "retry=always": ["retry='always'", "failed"],
    "penalty.lamda=1": ["penalty.lamda is not a setting", "weight"],
    "depth=1,10,...,150": ["depth=1,10,...,150 has several values", "add -m"],
    "results_dir=": ["results_dir=''", "name of a folder"],
    "seed=-1": ["seed=-1", "from 0 to 4294967295"],
    "-m depth=range(4,4)": ["sweep is empty", "depth=range(4,4)"],
    "-m depth=0,5": ["depth=0", "from 1"],
    "-m depth=5,ten": ["depth='ten'", "an integer"],
    "-m method=relu,sep_pu": ["method='sep_pu'", "did you mean sep_"],
    "-m depth=1,3,...,10": ["depth=1,3,...,10", "9", "11"],
    "-m +experiment=quik": ["experiment='quik'", "did you mean quick?"],
    "-m hydra/launcher=basic depth=2,0": ["depth=0", "from 1"],
    "-m engine=eager,warp": ["engine cannot be swept"],
    "-m +experiment=quick,iclr_moons": ["+experiment=quick,iclr_moons", "one at a time"],
    "experiment=quick": ["+experiment="],
    "hydra/launcher=fleet_slurm depth=2": ["hydra/launcher=fleet_slurm is for sweeps: add -m"],
    "workers=2": ["workers is not a setting", "hydra.launcher.workers"],
    "-m seed=1,2 hydra.launcher.workers=two": ["hydra.launcher.workers='two'", "an integer"],
    "-m depth=1,2 --cfg job": ["Only one of"],
    "method=null": ["group", "null"],
    "-m foo=1,2": ["foo is not a setting"],
    "-m seed=1,2 hydra.launcher.workers=0": ["hydra.launcher.workers=0", "at least 1"],
}


@pytest.mark.parametrize("line", BAD_INPUTS)
def test_bad_input_is_one_line_that_helps(answer, tmp_path, line):
    done = answer(*line.split())
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ") and done.stdout == ""
    for text in BAD_INPUTS[line]:
        assert text in done.stderr
    assert not (tmp_path / "results").exists(), "nothing is written before the input is right"


@pytest.mark.parametrize(("name", "hint"), [("wait", None), ("workers", None), ("cpus_per_tsk", "cpus_per_task")])
def test_another_launchers_setting_is_not_its_own_correction(name, hint):
    ending = f"additional_parameters; did you mean {hint}?" if hint else "additional_parameters"
    assert str(unknown_setting(f"hydra.launcher.{name}")).endswith(ending)


@pytest.mark.parametrize("sweep", [[], ["-m", "depth=1,2"]])
def test_results_folder_that_cannot_be_written(answer, tmp_path, sweep):
    (tmp_path / "file").write_text("not a folder")
    for folder in ("file/results", "/proc/results"):
        done = answer(*sweep, f"results_dir={folder}")
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert f"results_dir='{folder}'" in done.stderr and "cannot be written" in done.stderr


def test_store_of_a_newer_version_is_refused(answer, tmp_path):
    assert answer("depth=1", "optimizer.epochs=1").returncode == 0
    part = next((tmp_path / "results" / "cells").glob("*.parquet"))
    table = pq.read_table(part)
    pq.write_table(table.replace_schema_metadata({b"jumpstart_exp.store": b"999"}), part.with_name("part-new.parquet"))
    for done in (answer("-m", "depth=1,2"), answer("depth=1"), answer(module="jumpstart_exp.report")):
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert "newer" in done.stderr and "999" in done.stderr


def test_truncated_part_is_named_and_the_rest_is_read(answer, tmp_path):
    assert answer("depth=1", "optimizer.epochs=1").returncode == 0
    part = next((tmp_path / "results" / "cells").glob("*.parquet"))
    part.with_name("part-cut.parquet").write_bytes(part.read_bytes()[:1000])
    done = answer("depth=1", "optimizer.epochs=1")
    assert done.returncode == 0 and "nothing to train" in done.stdout
    assert "part-cut.parquet" in done.stderr and "Traceback" not in done.stderr
    report = answer("only=seeds", module="jumpstart_exp.report")
    assert report.returncode == 0 and "part-cut.parquet" in report.stderr


def test_results_are_plain_parquet(command, tmp_path):
    assert command("-m", "depth=1,2", "optimizer.epochs=2").returncode == 0
    rows = pd.read_parquet(tmp_path / "results" / "cells")
    assert set(rows["key"]) == {Cell.from_config(cell, "").key for cell in _described(rows)}
    assert isinstance(pq.read_table(tmp_path / "results" / "curves").schema, pa.Schema)


def _described(rows: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {"depth": int(depth), "optimizer": {"epochs": 2}, "penalty": {"kind": "UP"}, "dataset": {"name": "moons"}}
        for depth in rows["depth"]
    ]


def test_make_help_has_one_line_a_target():
    if shutil.which("make") is None:
        pytest.fail("make is needed")
    done = subprocess.run(["make", "help"], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = [line for line in done.stdout.splitlines() if line.startswith("make ")]
    targets = [line.split()[1] for line in lines]
    assert {"heatmaps", "test", "lint", "help"} <= set(targets) and len(targets) == len(set(targets))
    assert all(len(line.split()) > 3 for line in lines)
