"""Published image sets: their files checked, downloaded and read as torchvision keeps them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import io
import os
import pickle
import shlex
import sys
import types
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from jumpstart_exp.console import Notice
from jumpstart_exp.data.content import content_of
from jumpstart_exp.late import LateModule

if TYPE_CHECKING:
    import http.client as http_client
    import shutil
    import socket
    import tempfile

    import numpy as np
    import numpy.typing as npt
else:
    http_client, shutil = LateModule("http.client"), LateModule("shutil")
    socket, tempfile = LateModule("socket"), LateModule("tempfile")
    np = LateModule("numpy")

Images: TypeAlias = "npt.NDArray[np.uint8]"
Labels: TypeAlias = "npt.NDArray[np.int64]"

TIMEOUT = 30.0
"""Seconds without an answer after which a download is given up."""


class DataError(Exception):
    """A dataset's files are missing or damaged; the message names the set, the file, and how to get it."""


class DataWarning(Notice):
    """A dataset's files are not what was published, or are replaced; the message says which."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with a set's files, if anything, and what is only unusual; each names the file.

    `content` is what the files hold (`content_of`) where they are not as published.
    """

    flaw: str = ""
    note: str = ""
    content: str | None = None


@dataclass(frozen=True)
class ImageSet(ABC):
    """A published set of images: how many, and where torchvision keeps them."""

    name: str
    source: str  # torchvision's class
    folder: str  # of the files, in the datasets' folder
    n_train: int
    n_val: int

    @property
    def may_vary(self) -> bool:
        """Whether other files than those that were published are taken."""
        return False

    @abstractmethod
    def examine(self, data_dir: Path) -> Finding:
        """Compare the set's files with what was published."""

    @abstractmethod
    def archives(self) -> dict[str, tuple[str, str]]:
        """URL and md5 of every archive by its place in the datasets' folder, as torchvision has them."""

    @abstractmethod
    def read(self, data_dir: Path) -> tuple[Images, Labels, Images, Labels]:
        """Training images and labels, test images and labels, in the order of the files, which were looked at before.

        Images are uint8 of shape (images, channels, height, width), labels class indices of shape (images,).
        """

    def prepare(self, data_dir: Path, *, download: bool) -> None:
        """See to it that the set's files are there and whole.

        A set is downloaded into a temporary folder and moved into place when it is whole, so neither an
        interruption nor another process leaves half of it. Archives that lie in place already are unpacked instead.

        Raises:
            DataError: files are missing or damaged and `download` is false, or the download fails.
        """
        finding = self.examine(data_dir)
        if finding.flaw and download:
            if os.path.lexists(data_dir / self.folder):
                warnings.warn(f"{self.name}: {finding.flaw}; a download replaces the set", DataWarning, stacklevel=2)
            self._download(data_dir, finding.flaw)
        elif finding.flaw:
            raise self._missing(finding.flaw, data_dir)
        if finding.note:
            warnings.warn(f"{self.name}: {finding.note}", DataWarning, stacklevel=2)

    def content(self, data_dir: Path) -> str | None:
        """What the set's files hold where they are not as published.

        Raises:
            DataError: files are missing or damaged.
        """
        finding = self.examine(data_dir)
        if finding.flaw:
            raise self._missing(finding.flaw, data_dir)
        return finding.content

    def _missing(self, flaw: str, data_dir: Path) -> DataError:
        return DataError(f"{self.name}: {flaw}; {self._remedy(data_dir)}")

    def _remedy(self, data_dir: Path) -> str:
        command = f"python -m jumpstart_exp.datasets {self.name} {shlex.quote(f'data_dir={data_dir}')}"
        archives = self.archives()
        place = (data_dir / next(iter(archives))).parent
        urls = " ".join(url for url, _ in archives.values())
        return f"`{command}` gets the set;\nwithout a network, first put {urls} into {place}"

    def _download(self, data_dir: Path, flaw: str) -> None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{self.name}-", dir=data_dir) as name:
                scratch = Path(name)
                self._take_archives(data_dir, scratch)
                with _politely():
                    self._class()(str(scratch), download=True)
                if found := self.examine(scratch).flaw:
                    raise RuntimeError(f"the download is not whole: {found}")
                self._move_into(data_dir, scratch)
        except (OSError, RuntimeError, http_client.HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise self._missing(f"{flaw}, and the set cannot be downloaded ({reason})", data_dir) from error

    def _take_archives(self, data_dir: Path, scratch: Path) -> None:
        """Copy archives that lie in place already: torchvision needs no network for those that are whole."""
        for place in self.archives():
            if (data_dir / place).is_file():
                (scratch / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(data_dir / place, scratch / place)

    def _move_into(self, data_dir: Path, scratch: Path) -> None:
        """Put the set in place in one step, unless another process has done so by now."""
        target = data_dir / self.folder
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                (scratch / self.folder).replace(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
            else:
                return
            if not self.examine(data_dir).flaw:
                return
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                target.replace(Path(tempfile.mkdtemp(dir=scratch)) / "damaged")

    def _class(self, **replaced: Any) -> Any:
        """The set's class in torchvision, with methods replaced."""
        published = getattr(torchvision_module("datasets"), self.source)
        return type(self.source, (published,), replaced) if replaced else published


@dataclass(frozen=True)
class MnistSet(ImageSet):
    """MNIST's four unpacked files; torchvision knows the md5 of the packed ones only."""

    md5s: tuple[tuple[str, str], ...]
    height: int = 28
    width: int = 28

    def examine(self, data_dir: Path) -> Finding:
        """Compare each file's size and md5 with what was published."""
        for name, md5 in self.md5s:
            count = self.n_train if name.startswith("train") else self.n_val
            # a header of 4 bytes and 4 for each dimension, then a byte a pixel or label (LeCun)
            size = 16 + count * self.height * self.width if "images" in name else 8 + count
            path = data_dir / self.folder / name
            found = _size(path)
            if isinstance(found, str):
                return Finding(found)
            if found != size:
                return Finding(f"{path} is damaged: it has {found:,} bytes instead of {size:,}")
            if flaw := _md5_flaw(path, md5):
                return Finding(flaw)
        return Finding()

    def archives(self) -> dict[str, tuple[str, str]]:
        """URL and md5 of the four packed files."""
        source = self._class()
        return {f"{self.folder}/{name}": (source.mirrors[0] + name, md5) for name, md5 in source.resources}

    def read(self, data_dir: Path) -> tuple[Images, Labels, Images, Labels]:
        """The images as one channel."""
        # files of an older torchvision would win over those that were checked
        reader = self._class(_check_legacy_exist=lambda _: False)
        train, val = reader(str(data_dir), train=True), reader(str(data_dir), train=False)
        return (
            train.data.numpy()[:, None],
            train.targets.numpy(),
            val.data.numpy()[:, None],
            val.targets.numpy(),
        )


@dataclass(frozen=True)
class CifarSet(ImageSet):
    """CIFAR's pickled batches.

    Where `any_order`, files with another md5 are taken as well if they hold as many images of each class as the
    published ones.
    """

    classes: int
    any_order: bool = False

    @property
    def may_vary(self) -> bool:
        """Whether the images may be in another order."""
        return self.any_order

    def examine(self, data_dir: Path) -> Finding:
        """Compare each batch's md5, as torchvision does, or else its content."""
        source = self._class()
        others = []
        for batches, count in ((source.train_list, self.n_train), (source.test_list, self.n_val)):
            for name, md5 in batches:
                path = data_dir / self.folder / name
                size = _size(path)
                if isinstance(size, str):
                    return Finding(size)
                flaw = _md5_flaw(path, md5)
                if flaw and self.any_order:
                    others.append(name)
                    flaw = _batch_flaw(path, count, self.classes)
                if flaw:
                    return Finding(flaw)
        if not others:
            return Finding()
        differing = " and ".join(others)
        paths = [
            data_dir / self.folder / name for batches in (source.train_list, source.test_list) for name, _ in batches
        ]
        return Finding(
            note=f"{data_dir / self.folder} has all images of each class, but not the published md5 ({differing}); "
            "the set is used as it is, and its cells have keys of their own",
            content=content_of(paths),
        )

    def archives(self) -> dict[str, tuple[str, str]]:
        """URL and md5 of the one archive."""
        source = self._class()
        return {source.filename: (source.url, source.tgz_md5)}

    def read(self, data_dir: Path) -> tuple[Images, Labels, Images, Labels]:
        """The images as the channels red, green, blue."""
        # checked above, other md5s included; the classes' names are not needed
        reader = self._class(_check_integrity=lambda _: True, _load_meta=lambda _: None)
        train, val = reader(str(data_dir), train=True), reader(str(data_dir), train=False)
        return (
            train.data.transpose(0, 3, 1, 2),
            np.asarray(train.targets, dtype=np.int64),
            val.data.transpose(0, 3, 1, 2),
            np.asarray(val.targets, dtype=np.int64),
        )


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays, lists, dicts and texts, and refuses what could run code."""

    _ALLOWED = frozenset(
        {
            *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
            *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how older protocols spell bytes
            return _latin1_bytes
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch of images needs")
        return super().find_class(module, name)


def _latin1_bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


def _batch_flaw(path: Path, count: int, classes: int) -> str:
    """What keeps a file from being a batch of `count` images of 3 × 32 × 32, as many of every class."""
    try:
        with path.open("rb") as file:
            batch = _ArrayUnpickler(file, encoding="latin1").load()
        images = batch["data"]
        labels = np.asarray(batch["labels"] if "labels" in batch else batch["fine_labels"])
    except Exception as error:  # a damaged pickle raises anything
        return f"{path} is damaged: {type(error).__name__}: {' '.join(str(error).split())}"
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape != (count, 3072):
        shape = getattr(images, "shape", type(images).__name__)
        return f"{path} is damaged: its images are {shape} and not ({count}, 3072) bytes"
    if labels.dtype.kind != "i" or labels.shape != (count,):
        return f"{path} is damaged: it has not {count} labels for its {count} images"
    if labels.min() < 0 or labels.max() >= classes:
        return f"{path} is damaged: its labels are {labels.min()} to {labels.max()} and not 0 to {classes - 1}"
    sizes = np.bincount(labels, minlength=classes)
    if np.any(sizes != count // classes):
        odd = int(np.argmax(sizes != count // classes))
        return f"{path} is damaged: it has {sizes[odd]} images of class {odd} and not {count // classes}"
    return ""


def _size(path: Path) -> int | str:
    """Bytes of a file, or why it has none."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return size if path.is_file() else f"{path} is no file"


def _md5_flaw(path: Path, md5: str) -> str:
    try:
        found = _md5(path)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return "" if found == md5 else f"{path} is damaged: its md5 is {found} and not {md5}"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextlib.contextmanager
def _politely() -> Iterator[None]:
    """Give up on a silent host, and keep torchvision's progress bar to terminals."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    bar = sys.stderr if sys.stderr.isatty() else io.StringIO()
    try:
        with contextlib.redirect_stdout(bar), contextlib.redirect_stderr(bar), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # how torchvision unpacks archives
            yield
    finally:
        socket.setdefaulttimeout(before)


def torchvision_module(name: str) -> types.ModuleType:
    """Torchvision's `datasets` or `models`, also where it was built for another torch: these need no operators."""
    operators = "torchvision._meta_registrations"
    try:
        return importlib.import_module(f"torchvision.{name}")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    sys.modules[operators] = types.ModuleType(operators)
    return importlib.import_module(f"torchvision.{name}")
