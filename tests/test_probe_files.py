"""Files of probes: what is none is refused, and what could not be probed is said with its epoch."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jumpstart_exp.inspect import probes
from jumpstart_exp.inspect.__main__ import main
from jumpstart_exp.inspect.probe_files import NO_PROBES, ProbesError, probes_path, read_probes, write_probes
from jumpstart_exp.settings import SettingError
from jumpstart_exp.specs.network import NetworkSpec
from tests.kept_states import cell_of, stored

GOOD = [("regions", 0, 0, "regions", 3.0), ("regions", 0, 1, "born", None), ("decisions", 0, 0, "unsure", 0.5)]


def _write(results_dir: Path, rows: list[tuple[Any, ...]]) -> None:
    schema = pa.Schema.from_pandas(NO_PROBES, preserve_index=False)
    path = probes_path(results_dir, "key")
    path.parent.mkdir(exist_ok=True)
    columns = [pa.array([row[place] for row in rows], kind) for place, kind in enumerate(_KINDS)]
    pq.write_table(pa.table(columns, names=schema.names), path)


_KINDS = (pa.string(), pa.int64(), pa.int64(), pa.string(), pa.float64())


def test_what_was_written_is_read(tmp_path: Path) -> None:
    _write(tmp_path, GOOD)
    assert len(read_probes(tmp_path, "key")) == 3


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(None, 0, 0, "regions", 1.0)],
        [("regions", None, 0, "regions", 1.0)],
        [("regions", 0, None, "regions", 1.0)],
        [("regions", 0, 0, None, 1.0)],
        [("other", 0, 0, "regions", 1.0)],
        [("regions", 0, 0, "variation", 1.0)],
        [("regions", 0, 1_000_000_000, "born", 1.0)],
        [("regions", -1, 0, "regions", 1.0)],
        [GOOD[0], GOOD[0]],
    ],
)
def test_rows_that_no_probe_gives_are_refused(tmp_path: Path, rows: list[tuple[Any, ...]]) -> None:
    _write(tmp_path, rows)
    with pytest.raises(ProbesError, match="rows that no probe gives"):
        read_probes(tmp_path, "key")


def test_a_probe_refused_at_one_epoch_is_named_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = cell_of("relu", depth=2)
    stored(tmp_path, [cell])
    whole = probes.PROBES["decisions"]

    def refusing(of: probes.Probed) -> probes.Rows:
        if of.state:
            raise SettingError("it is in doubt")
        return whole(of)

    monkeypatch.setattr(probes, "PROBES", {**probes.PROBES, "decisions": refusing})
    assert main([f"key={cell.key}", "probe=decisions", f"results_dir={tmp_path}"]) == 1
    told = " ".join(("".join(capsys.readouterr())).split())
    assert "no decisions at epoch 40: it is in doubt" in told
    assert set(read_probes(tmp_path, cell.key)["epoch"]) == {0}


def test_all_four_by_name_are_asked_for_by_name(tmp_path: Path) -> None:
    cell = cell_of("relu_bn", depth=2, network=NetworkSpec(activation="tanh"))
    stored(tmp_path, [cell])
    everything = f"key={cell.key} results_dir={tmp_path}".split()
    assert main([*everything, "probe=all"]) == 0
    assert main([*everything, "probe=regions,decisions,gradients,variation"]) == 1


def test_a_file_that_was_written_is_read_whole(tmp_path: Path) -> None:
    table = pd.DataFrame(GOOD, columns=NO_PROBES.columns)
    write_probes(table, tmp_path, "key")
    assert len(read_probes(tmp_path, "key")) == len(GOOD)
