"""Files of a network's states over its training: `snapshots/KEY.npz`, plain arrays, looked at before they are used.

The comment of the archive is a SHA-256 of the file up to it; files of before have none.
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jumpstart_exp.cell import Cell
from jumpstart_exp.engines.probe import Tensors
from jumpstart_exp.engines.state_recorder import running_tensors
from jumpstart_exp.inspect.files import keys_in, write_durably
from jumpstart_exp.networks.blocks import block
from jumpstart_exp.networks.build import build, dtype, parameter_shapes, running_shape
from jumpstart_exp.networks.cnn import RectangularCNN
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.networks.norms import NORMS
from jumpstart_exp.result import ACTIVITY, CENSUS, RELAXED, CurveRow
from jumpstart_exp.settings import SettingError, legible

FOLDER = "snapshots"
"""Where the files lie in a results folder."""

CURVE = tuple(field.name for field in fields(CurveRow) if field.name not in RELAXED)
"""What a row of a curve has, the epoch first; `train_acc` and `val_acc` are R² of a regression."""

_VERSION = 2
_ARRAYS = ("epochs", "parameters", "running", "census", "curve")
_MARK = b"sha256:"
_DIGEST = hashlib.sha256().digest_size
_MOST_TEXT = 1 << 22
_MOST_BYTES = 1 << 30


class RecordedStatesError(Exception):
    """A file of snapshots cannot be used or written; the message names it and says why."""


@dataclass(frozen=True, eq=False)
class RecordedStates:
    """A cell's training with its states at chosen epochs.

    Attributes:
        cell: what was trained.
        engine: and its device, by which it was trained.
        device: "cpu" or a GPU.
        diverged_epoch: None where it did not diverge.
        agreement: how the training agrees with the stored one, in words; empty where all values are the same.
        asked: how many epochs were to be kept; 0 where they were named.
        epochs: epochs done at each state, ascending, (states,).
        parameters: (states, parameters), in the order of `parameter_shapes` and in the cell's precision.
        running: running means and variances of the batch norms, (states, 2, depth, width); width 0 without them.
        census: fractions of each hidden layer on the training points, (states, 6, depth), in the order of
            `CENSUS`, then `ACTIVITY`; NaN for what the activation has not.
        curve: (rows, columns), as `CURVE` names them, in float32 precision; NaN for what was not measured.
    """

    cell: Cell
    engine: str
    device: str
    diverged_epoch: int | None
    agreement: str
    asked: int
    epochs: NDArray[np.int64]
    parameters: NDArray[Any]
    running: NDArray[Any]
    census: NDArray[np.float64]
    curve: NDArray[np.float64]

    def column(self, name: str) -> NDArray[np.float64]:
        """A column of the curve, (rows,)."""
        return self.curve[:, CURVE.index(name)]

    def network(self, state: int) -> RectangularMLP | RectangularCNN:
        """The network with its state of that place, in evaluation mode, on the CPU."""
        network = build(self.cell)
        tensors = {**unpacked(self.parameters[state], self.cell), **running_tensors(self.running[state], self.cell)}
        load_tensors(network, tensors)
        return network.eval()


def packed(tensors: Tensors, cell: Cell) -> tuple[NDArray[Any], NDArray[Any]]:
    """Parameters and running statistics of one state, as `RecordedStates` keeps them, in the cell's precision."""
    kind = _kind(cell)
    values = np.concatenate([np.ravel(tensors[name]) for name in parameter_shapes(cell)]).astype(kind)
    names = block(NORMS, "network.norm", cell.network.norm).statistics
    running = np.zeros(running_shape(cell), kind)
    for row, name in enumerate(names):
        for layer, width in enumerate(cell.widths):
            running[row, layer, :width] = tensors[f"norms.{layer}.{name}"]
    return values, running


def _kind(cell: Cell) -> type[np.floating[Any]]:
    """The type of the cell's parameters."""
    kinds: dict[torch.dtype, type[np.floating[Any]]] = {torch.float32: np.float32, torch.float64: np.float64}
    return kinds[dtype(cell)]


def unpacked(values: NDArray[Any], cell: Cell) -> Tensors:
    """The parameters of one state by torch's names."""
    shapes = parameter_shapes(cell)
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = np.split(values, ends[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def load_tensors(network: RectangularMLP | RectangularCNN, tensors: Tensors) -> None:
    """Put a state into a network of the same shapes."""
    found = network.load_state_dict({name: torch.tensor(values) for name, values in tensors.items()}, strict=False)
    missing = [name for name in found.missing_keys if not name.endswith(".num_batches_tracked")]
    if missing or found.unexpected_keys:
        raise ValueError(f"the state lacks {missing} and has {found.unexpected_keys} too many")


def snapshot_path(results_dir: Path, key: str) -> Path:
    """Where the snapshots of a key lie."""
    return results_dir / FOLDER / f"{key}.npz"


def stored_keys(results_dir: Path) -> list[str]:
    """Keys of which there is a file of snapshots, sorted.

    Raises:
        RecordedStatesError: the folder cannot be read.
    """
    return keys_in(results_dir / FOLDER, "npz", RecordedStatesError)


def write_recorded_states(snapshots: RecordedStates, results_dir: Path) -> Path:
    """Write the file whole: under a temporary name, to the disk, then renamed. The same snapshots, the same bytes.

    Raises:
        RecordedStatesError: the folder cannot be written.
    """
    about = {
        "version": _VERSION,
        "method": snapshots.cell.method,
        "cell": {name: value for name, value in snapshots.cell.description().items() if value is not None},
        **{name: getattr(snapshots, name) for name in ("engine", "device", "diverged_epoch", "agreement", "asked")},
    }
    content = io.BytesIO()
    arrays: dict[str, Any] = {
        "about": np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8),
        "epochs": snapshots.epochs,
        "parameters": snapshots.parameters,
        "running": snapshots.running,
        "census": snapshots.census.astype(np.float32),
        # column by column: they compress better
        "curve": np.asfortranarray(snapshots.curve.astype(np.float32)),
    }
    np.savez_compressed(content, **arrays)
    with zipfile.ZipFile(content, "a") as archive:
        archive.comment = _MARK + bytes(_DIGEST)
    whole = content.getbuffer()
    whole[-_DIGEST:] = hashlib.sha256(whole[:-_DIGEST]).digest()
    return write_durably(snapshot_path(results_dir, snapshots.cell.key), whole, RecordedStatesError)


def read_recorded_states(results_dir: Path, key: str) -> RecordedStates:
    """The snapshots of a key, every part of the file looked at; nothing in it is ever executed.

    Raises:
        RecordedStatesError: there is no such file, or it is not what `write_recorded_states` writes.
    """
    path = snapshot_path(results_dir, key)
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.comment and archive.comment != _MARK + hashlib.sha256(content[:-_DIGEST]).digest():
                raise ValueError("it is damaged: its checksum does not fit")
            return _snapshots(archive, key)
    except FileNotFoundError:
        raise RecordedStatesError(f"{path} is not there") from None
    except MemoryError:
        raise RecordedStatesError(f"{path} is left out: it does not fit into the memory") from None
    except Exception as error:  # whatever is wrong with the file
        reason = legible(" ".join(f"{type(error).__name__}: {error}".split()), 300)
        raise RecordedStatesError(f"{path} is left out, it is no file of snapshots: {reason}") from error


def cell_of(described: Mapping[str, Any], method: str) -> Cell:
    """The cell that these settings describe, by override name; what is None is left at its default.

    Raises:
        SettingError: an unknown setting, or a value that is not allowed.
    """
    config: dict[str, Any] = {}
    for name, value in described.items():
        if value is None:
            continue
        group, _, inner = name.rpartition(".")
        if name == "dataset":
            config.setdefault("dataset", {})["name"] = value
        elif group:
            config.setdefault(group, {})[inner] = value
        else:
            config[name] = value
    return Cell.from_config(config, method)


def _snapshots(archive: zipfile.ZipFile, key: str) -> RecordedStates:
    """The content of a file.

    Raises:
        Exception: whatever is wrong with it.
    """
    about = json.loads(_read(archive, "about", np.uint8, (None,), _MOST_TEXT).tobytes().decode())
    if about["version"] != _VERSION:
        raise ValueError(f"it is of version {about['version']}, this is {_VERSION}")
    cell = cell_of(about["cell"], str(about["method"]))
    if cell.key != key:
        raise SettingError(f"it is of the key {cell.key}, or of another version of this program")
    kind = _kind(cell)
    count = sum(math.prod(shape) for shape in parameter_shapes(cell).values())
    epochs = _read(archive, "epochs", np.int64, (None,))
    states = len(epochs)
    arrays: dict[str, NDArray[Any]] = {
        "epochs": epochs,
        "parameters": _read(archive, "parameters", kind, (states, count)),
        "running": _read(archive, "running", kind, (states, *running_shape(cell))),
        "census": _read(archive, "census", np.float32, (states, len(CENSUS) + len(ACTIVITY), cell.depth)).astype(
            np.float64
        ),
        "curve": _read(archive, "curve", np.float32, (None, len(CURVE))).astype(np.float64),
    }
    last, rows = cell.optimizer.epochs, arrays["curve"][:, 0]
    is_sound = {
        "epochs": states > 0 and epochs[0] >= 0 and epochs[-1] <= last and bool((np.diff(epochs) > 0).all()),
        "parameters": bool(np.isfinite(arrays["parameters"]).all()),
        "running": bool(np.isfinite(arrays["running"]).all()),
        "census": bool(((arrays["census"] >= 0) & (arrays["census"] <= 1) | np.isnan(arrays["census"])).all()),
        "curve": bool(np.isin(rows, np.arange(1, last + 1)).all() and (np.diff(rows) > 0).all())
        and not np.isinf(arrays["curve"]).any(),
    }
    for name, sound in is_sound.items():
        if not sound:
            raise ValueError(f"{name} has numbers that no training gives")
    diverged = about["diverged_epoch"]
    return RecordedStates(
        cell=cell,
        engine=str(about["engine"]),
        device=str(about["device"]),
        diverged_epoch=None if diverged is None else int(diverged),
        agreement=str(about["agreement"]),
        asked=int(about["asked"]),
        **arrays,
    )


def _read(
    archive: zipfile.ZipFile,
    name: str,
    kind: type[np.generic],
    shape: tuple[int | None, ...],
    most: int = _MOST_BYTES,
) -> NDArray[Any]:
    """An array of that kind and shape, None for any length: looked at before any memory is taken for it."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{name} is of another version of numpy's format")
        found, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype != np.dtype(kind):
        raise ValueError(f"{name} is of {dtype}, not of {np.dtype(kind)}")
    if len(found) != len(shape) or any(want not in (None, has) for want, has in zip(shape, found, strict=True)):
        raise ValueError(f"{name} is of shape {found}, not {shape}")
    # a length that the file does not have would be taken from memory first
    size = math.prod(found) * dtype.itemsize
    if size > min(most, archive.getinfo(f"{name}.npy").file_size):
        raise ValueError(f"{name} is too large")
    with archive.open(f"{name}.npy") as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
