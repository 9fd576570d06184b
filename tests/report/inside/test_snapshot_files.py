"""Files of kept states: what is written is read again, and nothing else is."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kept_states import cell_of, kept, made_up

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.cifar10 import Cifar10
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.inspect.recorded_states import (
    RecordedStates,
    RecordedStatesError,
    packed,
    read_recorded_states,
    snapshot_path,
    stored_keys,
    unpacked,
    write_recorded_states,
)
from jumpstart_exp.inspect.recorded_states import cell_of as described_cell
from jumpstart_exp.networks.build import build, count_parameters, parameter_shapes
from jumpstart_exp.specs.network import NetworkSpec
from jumpstart_exp.specs.optimizer import OptimizerSpec

IMAGES = {"depth": 3, "width": 2, "dataset": Mnist(), "optimizer": OptimizerSpec(epochs=2)}
NETWORKS = {
    "mlp": cell_of("relu"),
    "batch norm": cell_of("relu_bn"),
    "2×1": cell_of("conv"),
    "float64": cell_of(precision="float64"),
    "one unit": cell_of("relu", depth=1, width=1),
    "cnn": Cell(**IMAGES, network=NetworkSpec(layout="cnn", kernel=5)),
    "cnn, pooled": Cell(
        **{**IMAGES, "dataset": Cifar10()}, network=NetworkSpec(layout="cnn", head="max_avg_pool", norm="batch")
    ),
    "mlp on images": Cell(**IMAGES),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_are_torchs(name: str) -> None:
    cell = NETWORKS[name]
    network = build(cell)
    torchs = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert dict(sorted(parameter_shapes(cell).items())) == dict(sorted(torchs.items()))
    assert sum(int(np.prod(shape)) for shape in parameter_shapes(cell).values()) == count_parameters(network)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_state_is_packed_and_unpacked(name: str) -> None:
    cell = NETWORKS[name]
    network = build(cell)
    generator = torch.Generator().manual_seed(1)
    state = {
        name: torch.rand(tensor.shape, generator=generator, dtype=torch.float64).float().double().numpy()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    values, running = packed(state, cell)
    assert values.dtype == running.dtype == (np.float64 if cell.precision == "float64" else np.float32)
    found = unpacked(values, cell)
    for one in found:
        assert np.array_equal(found[one], state[one])
    snapshots = RecordedStates(
        cell,
        "eager",
        "cpu",
        None,
        "",
        0,
        np.zeros(1, np.int64),
        values[None],
        running[None],
        np.zeros((1, 4, 1)),
        np.zeros((0, 10)),
    )
    there = snapshots.network(0)
    assert not there.training
    for one, tensor in there.state_dict().items():
        if tensor.is_floating_point():
            assert np.array_equal(tensor.double().numpy(), state[one]), one


@pytest.mark.parametrize("method", ["sep_up", "relu_bn", "conv"])
def test_what_is_written_is_read(method: str, tmp_path: Path) -> None:
    snapshots = kept(cell_of(method))
    path = write_recorded_states(snapshots, tmp_path)
    assert path == snapshot_path(tmp_path, snapshots.cell.key)
    found = read_recorded_states(tmp_path, snapshots.cell.key)
    assert found.cell == snapshots.cell and found.cell.method == method
    for name in ("engine", "device", "diverged_epoch", "agreement", "asked"):
        assert getattr(found, name) == getattr(snapshots, name)
    for name in ("epochs", "parameters", "running"):
        assert np.array_equal(getattr(found, name), getattr(snapshots, name))
    assert np.array_equal(found.census, snapshots.census.astype(np.float32))
    assert np.array_equal(found.curve, snapshots.curve.astype(np.float32), equal_nan=True)
    assert stored_keys(tmp_path) == [snapshots.cell.key]
    assert sorted(other.name for other in path.parent.iterdir()) == [path.name]


def test_the_same_snapshots_give_the_same_bytes(tmp_path: Path) -> None:
    snapshots = kept(cell_of())
    one, other = (write_recorded_states(snapshots, tmp_path / name).read_bytes() for name in ("a", "b"))
    assert one == other


def test_a_hundred_states_of_50x4_with_a_long_noisy_curve_are_below_a_megabyte(tmp_path: Path) -> None:
    cell = cell_of(depth=50, width=4, optimizer=OptimizerSpec(epochs=17_000))
    random = np.random.default_rng(0)
    count = sum(int(np.prod(shape)) for shape in parameter_shapes(cell).values())
    snapshots = RecordedStates(
        cell,
        "native",
        "cpu",
        None,
        "",
        100,
        np.arange(100),
        random.normal(size=(100, count)).astype(np.float32),
        np.zeros((100, 2, 50, 0), np.float32),
        random.integers(5, size=(100, 4, 50)) / 4,
        np.column_stack(
            [
                np.arange(1, 17_001),
                *(random.integers(86, size=(2, 17_000)) / 85),
                *random.lognormal(size=(3, 17_000)),
                *(np.round(random.integers(20, size=(4, 17_000)) / 200, 4)),
            ]
        ),
    )
    assert write_recorded_states(snapshots, tmp_path).stat().st_size < 1e6


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The file with its arrays changed."""
    with np.load(path) as there:
        arrays: dict[str, Any] = dict(there)
    change(arrays)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            if isinstance(array, bytes):
                content.write(array)
            else:
                np.save(content, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", content.getvalue())


def about(arrays: dict[str, Any], **changes: Any) -> None:
    values = json.loads(arrays["about"].tobytes())
    arrays["about"] = np.frombuffer(json.dumps({**values, **changes}).encode(), np.uint8)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


def header(shape: tuple[int, ...]) -> bytes:
    """An array's beginning that promises more than comes."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return content.getvalue()


def put(name: str, place: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value

    return change


HOSTILE: dict[str, Callable[[dict[str, Any]], None]] = {
    "another key's": lambda arrays: about(arrays, cell={"dataset": "moons", "depth": 1, "width": 1}),
    "an unknown setting": lambda arrays: about(arrays, cell={"dataset": "moons", "depht": 1}),
    "a setting of another type": lambda arrays: about(arrays, cell=[1]),
    "a newer version": lambda arrays: about(arrays, version=3),
    "no version": lambda arrays: arrays.update(about=np.frombuffer(b"{}", np.uint8)),
    "no json": lambda arrays: arrays.update(about=np.frombuffer(b"\xff{", np.uint8)),
    "a pickle": lambda arrays: arrays.update(parameters=np.array([Evil()], dtype=object)),
    "a pickle alone": lambda arrays: arrays.update(parameters=pickle.dumps(Evil())),
    "text": lambda arrays: arrays.update(epochs=np.array(["a", "b"])),
    "another type": lambda arrays: arrays.update(parameters=arrays["parameters"].astype(np.float64)),
    "a parameter less": lambda arrays: arrays.update(parameters=arrays["parameters"][:, 1:]),
    "a state less": lambda arrays: arrays.update(parameters=arrays["parameters"][1:]),
    "no state": lambda arrays: arrays.update(
        {name: arrays[name][:0] for name in ("epochs", "parameters", "running", "census")}
    ),
    "no array": lambda arrays: arrays.pop("census"),
    "an array of a petabyte": lambda arrays: arrays.update(curve=header((10**13, 10))),
    "an array of below nothing": lambda arrays: arrays.update(curve=header((-5, 10))),
    "half an array": lambda arrays: arrays.update(curve=header((500, 10)) + b"\0" * 100),
    "NaN": put("parameters", (0, 0), np.nan),
    "infinity in the curve": put("curve", (0, 3), np.inf),
    "epochs out of order": put("epochs", 0, 5),
    "an epoch before the first": put("epochs", 0, -1),
    "an epoch behind the last": put("epochs", -1, 41),
    "a row of no epoch": put("curve", (0, 0), 0.5),
    "a census beyond 1": put("census", (0, 0, 0), 1.5),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_not_sound_is_named_and_not_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    snapshots = kept(cell_of())
    path = write_recorded_states(snapshots, tmp_path)
    rewritten(path, lambda arrays: None)
    read_recorded_states(tmp_path, snapshots.cell.key)  # as it is, it is sound
    rewritten(path, HOSTILE[name])
    with pytest.raises(RecordedStatesError) as raised:
        read_recorded_states(tmp_path, snapshots.cell.key)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    assert ("too large" in str(raised.value)) == (name in ("an array of a petabyte", "half an array"))
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"\0" * 1000, b"PK\x05\x06" + b"\0" * 18])
def test_a_file_that_is_none(content: bytes, tmp_path: Path) -> None:
    key = cell_of().key
    path = snapshot_path(tmp_path, key)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(RecordedStatesError, match="left out"):
        read_recorded_states(tmp_path, key)


def test_a_cut_file(tmp_path: Path) -> None:
    snapshots = kept(cell_of())
    path = write_recorded_states(snapshots, tmp_path)
    whole = path.read_bytes()
    for end in (100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(RecordedStatesError):
            read_recorded_states(tmp_path, snapshots.cell.key)


def test_a_flipped_bit_is_named_or_changes_nothing(tmp_path: Path) -> None:
    snapshots = kept(cell_of())
    path = write_recorded_states(snapshots, tmp_path)
    whole = path.read_bytes()
    named = 0
    for place in range(0, 8 * len(whole), 8 * len(whole) // 150):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = read_recorded_states(tmp_path, snapshots.cell.key)
        except RecordedStatesError:
            named += 1
        else:
            assert np.array_equal(found.parameters, snapshots.parameters), place
    assert named > 145
    path.write_bytes(whole)
    with np.load(path) as archive:  # any reader of such files reads it
        assert "parameters" in archive


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert stored_keys(tmp_path) == []
    with pytest.raises(RecordedStatesError, match="not there"):
        read_recorded_states(tmp_path, cell_of().key)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "snapshots").write_text("in the way")
    with pytest.raises(RecordedStatesError, match="cannot be written"):
        write_recorded_states(kept(cell_of()), tmp_path)


def test_a_hostile_label_is_kept_as_it_is(tmp_path: Path) -> None:
    label = "</script>\x1b[31m\"'$x$"
    snapshots = made_up(cell_of(label), [0.5], [0])
    write_recorded_states(snapshots, tmp_path)
    assert read_recorded_states(tmp_path, snapshots.cell.key).cell.method == label


@pytest.mark.parametrize("name", NETWORKS)
def test_a_description_gives_its_cell(name: str) -> None:
    cell = NETWORKS[name]
    assert described_cell(cell.description(), cell.method).key == cell.key
