"""A mistake in a file of a user's own folder names that file; what is typed wins."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jumpstart_exp.config.config_files import at_its_file, chosen_datasets
from jumpstart_exp.config.errors import unknown_setting

HEAD = "# @package _global_\n"
FILES = {
    "method/low.yaml": f"{HEAD}penalty: {{kind: UP, weight: -1}}\n",
    "method/text.yaml": f"{HEAD}penalty: {{kind: UP, weight: abc}}\n",
    "method/dash.yaml": f"{HEAD}penalty: {{kind: UP, weight: 1e−4}}\n",
    "method/typo.yaml": f"{HEAD}penalty: {{kind: UP, wieght: 1}}\n",
    "method/headless.yaml": "penalty: {kind: UP}\n",
    "method/marked.yaml": f"\N{ZERO WIDTH NO-BREAK SPACE}{HEAD}penalty: {{kind: UP}}\n",
    "method/open.yaml": f"{HEAD}penalty: {{kind: '${{nothing}}'}}\n",
    "method/away.yaml": f"{HEAD}results_dir: s3://x\npenalty: {{kind: UP}}\n",
    "method/nested.yaml": f"{HEAD}defaults:\n  - override /network: none\n",
    "optimizer/mine.yaml": "lr: -1\n",
    "experiment/grid.yaml": f"{HEAD}hydra: {{mode: MULTIRUN, sweeper: {{params: {{depth: '0,2'}}}}}}\n",
    "experiment/chain.yaml": f"{HEAD}hydra: {{mode: MULTIRUN, sweeper: {{params: {{method: 'low,relu'}}}}}}\n",
    "hydra/launcher/site.yaml": "defaults: [fleet_slurm]\ncpus_per_task: 0\n",
}

MISTAKES = [
    ("method=low", "method/low.yaml: penalty.weight=-1.0 is not allowed"),
    ("-m method=relu,low", "method/low.yaml: penalty.weight=-1.0 is not allowed"),
    ("method=text", "method/text.yaml: penalty.weight='abc' is not allowed: it must be a number"),
    ("method=dash", "method/dash.yaml: penalty.weight='1e−4' is not allowed: .*MINUS SIGN.* is no '-'"),
    ("method=typo", "method/typo.yaml: penalty.wieght is not a setting; did you mean weight"),
    ("method=headless", "method/headless.yaml: its first line has to be '# @package _global_'"),
    ("method=marked", "method/marked.yaml begins with a byte order mark"),
    ("method=latin", "method/latin.yaml cannot be read: it is no UTF-8 .*at byte"),
    ("method=open", "method/open.yaml: penalty.kind cannot be resolved"),
    ("method=away", "method/away.yaml: results_dir='s3://x' is not allowed"),
    ("method=nested", "method/nested.yaml: "),
    ("optimizer=mine", "optimizer/mine.yaml: optimizer.lr=-1.0 is not allowed"),
    ("+experiment=grid", "experiment/grid.yaml: depth=0 is not allowed"),
    ("+experiment=chain", "method/low.yaml: penalty.weight=-1.0 is not allowed"),
    ("-m hydra/launcher=site", "hydra/launcher/site.yaml: hydra.launcher.cpus_per_task=0 is not allowed"),
]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / name).write_text(content, encoding="utf-8")
    (tmp_path / "own" / "method" / "latin.yaml").write_text(f"{HEAD}# é\n", encoding="latin-1")
    return tmp_path / "own"


@pytest.mark.parametrize(("typed", "expected"), MISTAKES)
def test_the_file_is_named(answer: Callable[..., Any], own: Path, typed: str, expected: str) -> None:
    done = answer("--config-dir", "own", *typed.split(), "dry_run=true")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert re.match(f"error: own/{expected}", line), line


def test_a_typed_value_is_no_files_mistake(own: Path) -> None:
    message = "penalty.weight=-3.0 is not allowed"
    where = ["--config-dir", str(own), "method=low"]
    assert at_its_file(message, where) == f"{own}/method/low.yaml: {message}"
    for typed in ("penalty.weight=-3", "++penalty.weight=-3", "penalty={weight: -3}"):
        assert at_its_file(message, [*where, typed]) == message
    assert at_its_file(message, ["--config-dir", str(own), "method=typo"]) == message


@pytest.mark.parametrize(
    ("arguments", "datasets"),
    [
        ([], {"moons"}),
        (["dataset=mnist"], {"mnist"}),
        (["dataset=mnist,cifar10"], {"mnist", "cifar10"}),
        (["+experiment=iclr_mnist"], {"mnist"}),
        (["+experiment=iclr_mnist", "dataset=moons"], {"moons"}),
        (["dataset=none"], set()),
    ],
)
def test_which_datasets_are_chosen(arguments: list[str], datasets: set[str]) -> None:
    assert chosen_datasets(arguments) == datasets


def test_settings_of_other_datasets_are_not_offered() -> None:
    assert "did you mean augment?" in str(unknown_setting("dataset.augmnt", {"mnist"}))
    for datasets in ({"moons"}, {"mnist", "moons"}, set()):
        assert "augment" not in str(unknown_setting("dataset.augmnt", datasets))
    assert str(unknown_setting("noise", {"mnist"})) == "noise is not a setting"
    assert "did you mean dataset.noise?" in str(unknown_setting("noise", {"moons"}))
    assert (
        str(unknown_setting("dataset.noise", {"mnist"})) == "dataset.noise is a setting of moons, spirals, sklearn only"
    )
