"""Small image sets in the files that torchvision keeps, and archives of them on a server of this machine."""

import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import io
import pickle
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from jumpstart_exp.data import DATASETS
from jumpstart_exp.data import image_files as images

FOLDERS = {"mnist": "MNIST/raw", "cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32)}
CLASSES = {"mnist": 10, "cifar10": 10, "cifar100": 100}
SIZES = {"mnist": (50, 20), "cifar10": (50, 20), "cifar100": (300, 100)}
META = {"cifar10": ("batches.meta", "label_names"), "cifar100": ("meta", "fine_label_names")}
BATCHES = {
    "cifar10": [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"],
    "cifar100": ["train", "test"],
}


@dataclass(frozen=True)
class Split:
    """Images (images, channels, height, width) and their labels."""

    x: NDArray[np.uint8]
    y: NDArray[np.int64]


def splits(name: str, seed: int = 0) -> tuple[Split, Split]:
    """A training and a test set of random pixels, as many images of each class, in any order."""
    rng = np.random.default_rng(seed)
    train, val = (
        Split(
            rng.integers(0, 256, (count, *SHAPES[name]), dtype=np.uint8),
            rng.permutation(np.arange(count) % CLASSES[name]),
        )
        for count in SIZES[name]
    )
    return train, val


def write(name: str, data_dir: Path, train: Split, val: Split) -> Path:
    """The set's files; returns their folder."""
    folder = data_dir / FOLDERS[name]
    folder.mkdir(parents=True)
    if name == "mnist":
        for prefix, split in (("train", train), ("t10k", val)):
            (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(split.x[:, 0]))
            (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(split.y.astype(np.uint8)))
        return folder
    shares = 5 if name == "cifar10" else 1
    parts = zip(np.split(train.x, shares), np.split(train.y, shares), strict=True)
    for file, (x, y) in zip(BATCHES[name], [*parts, (val.x, val.y)], strict=True):
        write_batch(folder / file, x.reshape(len(x), -1), y.tolist(), name)
    file, key = META[name]
    (folder / file).write_bytes(pickle.dumps({key: [str(label) for label in range(CLASSES[name])]}, 2))
    return folder


def idx(values: NDArray[np.uint8]) -> bytes:
    """An IDX file of bytes: two zeros, the type, the number of dimensions, each as four bytes, the values."""
    return bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape) + values.tobytes()


def write_batch(path: Path, x: Any, labels: Any, name: str = "cifar100", protocol: int = 2) -> None:
    """A pickled batch with the entries that the published ones have."""
    entries = {"batch_label": "a batch", "data": x, "filenames": ["a.png"]}
    entries |= {"labels": labels} if name == "cifar10" else {"fine_labels": labels, "coarse_labels": labels}
    path.write_bytes(pickle.dumps(entries, protocol))


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def publish(monkeypatch: pytest.MonkeyPatch, name: str, folder: Path, mirror: str = "http://nowhere.invalid/") -> None:
    """Let the files in a folder, and their archives under `mirror`, count as the published ones."""
    spec = DATASETS[name]
    changes: dict[str, Any] = dict(zip(("n_train", "n_val"), SIZES[name], strict=True))
    known = spec.files
    published = images.torchvision_module("datasets").__dict__[known.source]
    packed = archives(name, folder)
    files = {path.name: md5(path.read_bytes()) for path in folder.iterdir()}
    if name == "mnist":
        changes["md5s"] = tuple((file, files[file]) for file, _ in known.md5s)
        monkeypatch.setattr(published, "mirrors", [mirror])
        monkeypatch.setattr(published, "resources", [(file, md5(content)) for file, content in packed.items()])
    else:
        *train, test = ([file, files[file]] for file in BATCHES[name])
        monkeypatch.setattr(published, "train_list", train)
        monkeypatch.setattr(published, "test_list", [test])
        monkeypatch.setattr(published, "meta", {**published.meta, "md5": files[META[name][0]]})
        monkeypatch.setattr(published, "url", mirror + published.filename)
        monkeypatch.setattr(published, "tgz_md5", md5(packed[published.filename]))
    monkeypatch.setattr(spec, "files", dataclasses.replace(known, **changes))


def archives(name: str, folder: Path) -> dict[str, bytes]:
    """The archives of a set's files, by name."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    if name == "mnist":
        return {f"{file}.gz": gzip.compress(content, mtime=0) for file, content in files.items()}
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for file, data in files.items():
            entry = tarfile.TarInfo(f"{FOLDERS[name]}/{file}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return {{"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}[name]: content.getvalue()}


@dataclass
class Server:
    """What a server has by name, what it is asked for, and what happens before it answers for the first time."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    cut_at: int | None = None
    before_answer: Callable[[], None] | None = None


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server on this machine, until the block ends."""
    server = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            server.asked.append(name)
            action, server.before_answer = server.before_answer, None
            if action is not None:
                action()
            if name not in server.files:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(server.files[name])))
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # who only asks where a file is hangs up
                self.wfile.write(server.files[name][: server.cut_at])

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_port}/"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
