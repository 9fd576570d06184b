"""The device that is checked: what it is, how long its work takes, and networks and points to try it with."""

import gc
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

import jumpstart_exp
from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.eager import training as eager_training
from jumpstart_exp.engines.stacked import fleet as stacked_fleet
from jumpstart_exp.limits import cpu_count


def machine(device: torch.device) -> dict[str, Any]:
    """Device, driver and versions."""
    found: dict[str, Any] = {
        "device": "CPU, in place of a GPU",
        "CPU cores": cpu_count(),
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "jumpstart_exp": jumpstart_exp.__version__,
        "system": f"{platform.system()} {platform.release()}",
    }
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        found |= {
            "device": f"{about.name}, {about.multi_processor_count} multiprocessors, compute capability "
            f"{about.major}.{about.minor}",
            "memory": f"{about.total_memory / 2**30:.0f} GiB",
            "driver": _driver(),
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
        }
    return found


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown: no nvidia-smi"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.split()
    except subprocess.TimeoutExpired:
        said = []
    return said[0] if said else "unknown: nvidia-smi does not say"


def synchronise(device: torch.device) -> None:
    """Wait for the device's work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], None], device: torch.device, repeats: int, least: float) -> float:
    """The median of how long a call takes, warm already: by the device's own events, or by the clock on the CPU.

    Args:
        work: what is timed.
        device: where it is done.
        repeats: how many times; each is so many calls that they take `least` seconds.
        least: seconds.
    """
    synchronise(device)
    begun = time.perf_counter()
    work()
    synchronise(device)
    calls = max(1, min(10_000, int(least / max(time.perf_counter() - begun, 1e-6))))
    found = []
    for _ in range(repeats):
        if device.type == "cuda":
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            for _ in range(calls):
                work()
            last.record()
            last.synchronize()
            found.append(first.elapsed_time(last) / 1000 / calls)
        else:
            begun = time.perf_counter()
            for _ in range(calls):
                work()
            found.append((time.perf_counter() - begun) / calls)
    return statistics.median(found)


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int, *, tf32: bool = False) -> float:
    """Operations a second of a square matrix product of random numbers."""
    before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, tf32
    try:
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)

        def product() -> None:
            torch.mm(a, b, out=out)

        for _ in range(3):
            product()
        return 2 * size**3 / seconds_of(product, device, 5, 0.02)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def free(device: torch.device) -> None:
    """Give back what is of no use any more, and let the peak begin anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


class _Plainly:
    """Steps as they are, in place of graphs."""

    is_capturing = False

    def __init__(self, device: torch.device) -> None:
        self.graphs: dict[Any, Any] = {}

    def __call__(self, step: Callable[[], None], kind: Any) -> None:
        step()


@contextmanager
def without_graphs() -> Iterator[None]:
    """Trainings that begin within take plain steps on a GPU, too."""
    kept = eager_training.Replayed, stacked_fleet.Replayed
    for module in (eager_training, stacked_fleet):
        setattr(module, "Replayed", _Plainly)  # noqa: B010
    try:
        yield
    finally:
        eager_training.Replayed, stacked_fleet.Replayed = kept


def moons() -> Data:
    """Two interleaved half circles, 85 points to train on and 15 that validate, without a download or scikit-learn."""
    t = np.linspace(0, np.pi, 50)
    x = np.concatenate([np.stack([np.cos(t), np.sin(t)], 1), np.stack([1 - np.cos(t), 0.5 - np.sin(t)], 1)])
    random = np.random.default_rng(0)
    order = random.permutation(100)
    x += random.normal(0, 0.02, x.shape)  # what is symmetric has sums that rounding alone decides
    points, classes = torch.from_numpy(x[order] / 3), torch.from_numpy((order >= 50).astype(np.int64))
    return Data(points[:85], classes[:85], points[85:], classes[85:])


def images(cell: Cell) -> Data:
    """Random images of the cell's dataset's size."""
    assert cell.dataset.image is not None
    random = torch.Generator().manual_seed(0)
    train, val = (
        torch.randint(0, 256, (count, *cell.dataset.image), generator=random, dtype=torch.uint8)
        for count in cell.dataset.sizes()
    )
    channels = cell.dataset.image[0]
    classes = [torch.arange(len(x)) % cell.dataset.classes for x in (train, val)]
    return Data(train, classes[0], val, classes[1], (0.5,) * channels, (0.25,) * channels)


def cell_of(method: str = "test", **config: Any) -> Cell:
    """A cell from nested settings."""
    return Cell.from_config(config, method)


def largest(differences: Sequence[float]) -> float:
    """The largest of differences; one that is no number is beyond all."""
    found = np.asarray(differences, dtype=np.float64)
    return float("inf") if np.isnan(found).any() else float(found.max(initial=0.0))
