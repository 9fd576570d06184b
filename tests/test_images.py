"""Published image sets: what is read, what is found damaged, what a download leaves behind."""

import gc
import os
import pickle
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import (
    BATCHES,
    FOLDERS,
    SIZES,
    Server,
    archives,
    idx,
    publish,
    serving,
    splits,
    write,
    write_batch,
)

from jumpstart_exp.data import DATASETS
from jumpstart_exp.data import image_files as images
from jumpstart_exp.data.cifar10 import Cifar10
from jumpstart_exp.data.cifar100 import Cifar100
from jumpstart_exp.data.image_files import DataError, DataWarning
from jumpstart_exp.data.loading import load, prepare
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.datasets import main

NAMES = ("mnist", "cifar10", "cifar100")
REAL = Path(os.environ.get("JUMPSTART_DATA", Path(__file__).parent.parent / "data"))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("no_proxy", "*")
    load.cache_clear()
    yield
    load.cache_clear()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def collected() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def whole(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small set that counts as the published one."""
    publish(monkeypatch, name, write(name, tmp_path / "whole", *splits(name)))
    return tmp_path / "whole"


@pytest.fixture
def online(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    """An empty folder; the published set is on the server."""
    folder = write(name, tmp_path / "origin", *splits(name))
    publish(monkeypatch, name, folder, server.url)
    server.files = archives(name, folder)
    return tmp_path / "data"


def prepare_quietly(name: str, data_dir: Path, download: bool = False) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(DATASETS[name](), data_dir, download)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_is_the_set(name: str, data_dir: Path) -> None:
    prepare_quietly(name, data_dir)
    data = load(DATASETS[name](), data_dir)
    train, val = splits(name)
    assert np.array_equal(data.x_train.numpy(), train.x) and np.array_equal(data.x_val.numpy(), val.x)
    assert data.y_train.tolist() == train.y.tolist() and data.y_val.tolist() == val.y.tolist()


def flaw(name: str, data_dir: Path) -> str:
    """What `prepare` and `load` both say of a set."""
    with pytest.raises(DataError) as prepared:
        prepare_quietly(name, data_dir)
    with pytest.raises(DataError) as loaded:
        load(DATASETS[name](), data_dir)
    assert str(prepared.value) == str(loaded.value)
    return str(loaded.value)


# --- the published files


def real(name: str) -> Path:
    if not (REAL / FOLDERS[name]).is_dir():
        pytest.skip(f"no {name} in {REAL}")
    return REAL


def test_mnist_is_what_was_published() -> None:
    data = load(Mnist(), real("mnist"))
    assert data.x_train.shape == (60_000, 1, 28, 28) and data.x_val.shape == (10_000, 1, 28, 28)
    assert data.x_train.dtype == data.x_val.dtype == torch.uint8
    assert data.y_train.dtype == data.y_val.dtype == torch.int64
    assert data.y_train[:5].tolist() == [5, 0, 4, 1, 9] and data.y_val[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.y_train.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.y_val.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (data.x_train.sum().item(), data.x_val.sum().item()) == (1_567_298_545, 264_923_200)
    assert (data.x_train[0].sum().item(), data.x_train[-1].sum().item()) == (27_525, 20_920)
    assert (data.mean, data.std) == ((0.0,), (1.0,))
    assert data.inputs(data.x_val[:100], torch.float64).max() == 1.0


def test_cifar10_is_what_was_published() -> None:
    data = load(Cifar10(), real("cifar10"))
    assert data.x_train.shape == (50_000, 3, 32, 32) and data.x_val.shape == (10_000, 3, 32, 32)
    assert data.x_train.dtype == torch.uint8 and data.y_train.dtype == torch.int64
    assert data.y_train[:5].tolist() == [6, 9, 9, 4, 1]
    assert data.y_train.bincount().tolist() == [5000] * 10 and data.y_val.bincount().tolist() == [1000] * 10
    assert data.x_train[:10_000].sum((0, 2, 3)).tolist() == [1_288_517_123, 1_262_189_222, 1_167_674_233]
    assert data.x_train[40_000:].sum((0, 2, 3)).tolist() == [1_282_579_290, 1_260_017_611, 1_169_175_481]
    assert data.x_val.sum((0, 2, 3)).tolist() == [1_290_492_328, 1_266_775_083, 1_176_108_223]
    assert data.x_train[0, :, 0, :3].tolist()[0] == [59, 43, 50], "a row lies along the width"
    assert data.x_train[0, 1, 0, :3].tolist() == [62, 46, 48]


def test_cifar10_is_normalised_by_its_own_mean() -> None:
    data = load(Cifar10(), real("cifar10"))
    means = data.x_train.sum((0, 2, 3)).double() / (255 * 50_000 * 1024)
    np.testing.assert_allclose(data.mean, means, rtol=0, atol=1.2e-4)
    inputs = data.inputs(data.x_train[:5000], torch.float32)
    assert inputs.mean((0, 2, 3)).abs().max() < 0.05


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_published_files_pass_without_a_word(name: str) -> None:
    prepare_quietly(name, real(name))


@pytest.mark.parametrize(("name", "first"), [("mnist", [5, 0, 4, 1, 9]), ("cifar10", [6, 9, 9, 4, 1])])
def test_a_subset_of_the_published_images_is_stratified_and_in_order(name: str, first: list[int]) -> None:
    whole = load(DATASETS[name](), real(name))
    part = load(DATASETS[name](n_train=1003, n_val=200), real(name))
    assert part.x_train.shape[0] == 1003 and part.x_val.shape[0] == 200 and part.x_train.dtype == torch.uint8
    share = whole.y_train.bincount() * 1003 / len(whole.y_train)
    assert ((part.y_train.bincount() - share).abs() < 1).all()
    # of each class, those that a fixed permutation of all images names first, in the order of the whole
    order = np.random.RandomState(0).permutation(len(whole.y_train))
    labels = whole.y_train.numpy()
    chosen = [order[labels[order] == k][: int((part.y_train == k).sum())] for k in range(10)]
    rows = np.sort(np.concatenate(chosen))
    assert torch.equal(part.x_train, whole.x_train[rows]) and torch.equal(part.y_train, whole.y_train[rows])


# --- reading


def test_a_whole_set_is_read_as_it_was_written(name: str, whole: Path) -> None:
    assert_is_the_set(name, whole)
    data = load(DATASETS[name](), whole)
    assert data.x_train.dtype == data.x_val.dtype == torch.uint8
    assert data.y_train.dtype == data.y_val.dtype == torch.int64
    assert data.x_train.is_contiguous()


@pytest.mark.parametrize(
    ("spec", "mean", "std"),
    [
        (Mnist(), (0.0,), (1.0,)),
        (Cifar10(), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        (Cifar100(), (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
        (Cifar10(scaling="unit"), (0.0,) * 3, (1.0,) * 3),
        (Cifar100(scaling="unit"), (0.0,) * 3, (1.0,) * 3),
    ],
)
def test_each_set_has_its_scaling(
    spec: Cifar10, mean: tuple[float, ...], std: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, spec.name, write(spec.name, tmp_path, *splits(spec.name)))
    data = load(spec, tmp_path)
    assert (data.mean, data.std) == (mean, std)
    pixel, expected = data.x_train[0, :, 3, 5].tolist(), data.inputs(data.x_train, torch.float64)[0, :, 3, 5].tolist()
    np.testing.assert_allclose(
        expected, [(p / 255 - m) / s for p, m, s in zip(pixel, mean, std, strict=True)], rtol=1e-12, atol=1e-15
    )


def test_images_of_a_subset_keep_their_labels(name: str, whole: Path) -> None:
    n_train, n_val = SIZES[name]
    part = load(DATASETS[name](n_train=n_train * 2 // 5, n_val=n_val // 2), whole)
    if name != "cifar100":
        assert part.y_train.bincount().tolist() == [2] * 10 and part.y_val.bincount().tolist() == [1] * 10
    all_data = load(DATASETS[name](), whole)
    rows = [next(i for i, x in enumerate(all_data.x_train) if torch.equal(x, chosen)) for chosen in part.x_train]
    assert rows == sorted(rows) and len(set(rows)) == n_train * 2 // 5
    assert part.y_train.tolist() == all_data.y_train[rows].tolist()


def test_torchvisions_older_cache_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "mnist", write("mnist", tmp_path, *splits("mnist")))
    (tmp_path / "MNIST" / "processed").mkdir()
    for file in ("training.pt", "test.pt"):
        torch.save((torch.zeros(1, 28, 28), torch.zeros(1)), tmp_path / "MNIST" / "processed" / file)
    assert_is_the_set("mnist", tmp_path)


def test_moons_need_no_files_and_no_torchvision(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from jumpstart_exp.data.moons import Moons;"
        "from jumpstart_exp.data.loading import load, prepare;"
        "prepare(Moons(), Path('nowhere'), True); load(Moons(), Path('nowhere')); print('torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False" and not list(tmp_path.iterdir())
    assert load(Moons(), tmp_path).mean == () == load(Moons(), tmp_path).std


# --- what is missing or damaged


def test_nothing_there_is_said_with_the_command_that_helps(name: str, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    message = flaw(name, folder)
    first = "train-images-idx3-ubyte" if name == "mnist" else BATCHES[name][0]
    assert message.startswith(f"{name}: {folder / FOLDERS[name] / first} is missing; ")
    assert f"`python -m jumpstart_exp.datasets {name} 'data_dir={folder}'`" in message
    assert message.count("\n") <= 1
    archive_place = folder / FOLDERS[name] if name == "mnist" else folder
    assert message.endswith(f" into {archive_place}")
    assert all(f"http://nowhere.invalid/{file}" in message for file in archives(name, whole / FOLDERS[name]))
    assert not folder.exists()


def every_file(name: str) -> list[str]:
    parts = [f"{prefix}-{kind}" for prefix in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    return parts if name == "mnist" else BATCHES[name]


FILES = [(name, file) for name in NAMES for file in every_file(name)]


@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_missing_file_is_named(file: str, name: str, whole: Path) -> None:
    path = whole / FOLDERS[name] / file
    path.unlink()
    assert f"{path} is missing" in flaw(name, whole)


@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_truncated_file_is_named(file: str, name: str, whole: Path) -> None:
    path = whole / FOLDERS[name] / file
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path} is damaged" in flaw(name, whole)


@pytest.mark.parametrize(("name", "file"), [item for item in FILES if item[0] != "cifar100"])
def test_a_flipped_bit_is_found(file: str, name: str, whole: Path) -> None:
    path = whole / FOLDERS[name] / file
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    assert f"{path} is damaged" in flaw(name, whole)


def test_a_folder_in_place_of_a_file_is_named(name: str, whole: Path) -> None:
    path = whole / FOLDERS[name] / every_file(name)[-1]
    path.unlink()
    path.mkdir()
    assert f"{path} is no file" in flaw(name, whole)


def test_mnist_with_fewer_labels_than_images_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write("mnist", tmp_path, *splits("mnist"))
    publish(monkeypatch, "mnist", folder)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(19, np.uint8)))
    assert "t10k-labels-idx1-ubyte is damaged: it has 27 bytes instead of 28" in flaw("mnist", tmp_path)


# --- CIFAR-100 in another order


@pytest.fixture
def cifar100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where CIFAR-100 will lie; what is published has other md5s than anything that a test writes there."""
    publish(monkeypatch, "cifar100", write("cifar100", tmp_path / "origin", *splits("cifar100")))
    return tmp_path / "data"


def test_cifar100_with_other_md5s_is_taken_with_a_warning(cifar100: Path) -> None:
    train, val = splits("cifar100", seed=1)
    write("cifar100", cifar100, train, val)
    with pytest.warns(DataWarning, match=r"cifar100: .*cifar-100-python .*not the published md5 \(train and test\)"):
        prepare(Cifar100(), cifar100, False)
    data = load(Cifar100(), cifar100)
    assert np.array_equal(data.x_train.numpy(), train.x) and data.y_train.tolist() == train.y.tolist()
    assert np.array_equal(data.x_val.numpy(), val.x) and data.y_val.tolist() == val.y.tolist()


def test_the_one_file_that_differs_is_named(cifar100: Path) -> None:
    write("cifar100", cifar100, splits("cifar100")[0], splits("cifar100", seed=1)[1])
    with pytest.warns(DataWarning, match=r"md5 \(test\)"):
        prepare(Cifar100(), cifar100, False)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol_is_read(cifar100: Path, protocol: int) -> None:
    train, val = splits("cifar100", seed=1)
    folder = write("cifar100", cifar100, train, val)
    write_batch(folder / "train", train.x.reshape(len(train.x), -1), train.y.tolist(), protocol=protocol)
    with pytest.warns(DataWarning):
        prepare(Cifar100(), cifar100, False)
    assert np.array_equal(load(Cifar100(), cifar100).x_train.numpy(), train.x)


def test_a_batch_of_python_2_is_read(cifar100: Path) -> None:
    """As the authors wrote theirs: texts as bytes, and NumPy under its old name."""
    train, val = splits("cifar100", seed=1)
    folder = write("cifar100", cifar100, train, val)
    size, pixels = (300).to_bytes(2, "little"), (300 * 3072).to_bytes(4, "little") + train.x.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01M" + size + b"M\x00\x0c\x86"
    )
    array += b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
    array += pixels + b"tb"
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in train.y) + b"e"
    (folder / "train").write_bytes(b"\x80\x02}(U\x04data" + array + b"U\x0bfine_labels" + labels + b"u.")
    with pytest.warns(DataWarning):
        prepare(Cifar100(), cifar100, False)
    assert np.array_equal(load(Cifar100(), cifar100).x_train.numpy(), train.x)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x[:-1], y), "its images are"),
        (lambda x, y: (x[:, :-1], y), "its images are"),
        (lambda x, y: (x.astype(np.int64), y), "its images are"),
        (lambda x, y: ("pixels", y), "its images are str"),
        (lambda x, y: (x, y[:-1]), "it has not 300 labels"),
        (lambda x, y: (x, [*y, 3]), "it has not 300 labels"),
        (lambda x, y: (x, [label + 0.5 for label in y]), "it has not 300 labels"),
        (lambda x, y: (x, [100 if label == 99 else label for label in y]), "its labels are 0 to 100 and not 0 to 99"),
        (lambda x, y: (x, [label - 1 for label in y]), "its labels are -1 to 98 and not 0 to 99"),
        (lambda x, y: (x, [0, *y[1:]] if y[0] else [1, *y[1:]]), "images of class"),
    ],
)
def test_cifar100_that_is_not_well_formed_is_damaged(cifar100: Path, change: Callable, words: str) -> None:
    train, val = splits("cifar100", seed=1)
    folder = write("cifar100", cifar100, train, val)
    write_batch(folder / "train", *change(train.x.reshape(300, -1), train.y.tolist()))
    message = flaw("cifar100", cifar100)
    assert f"{folder / 'train'} is damaged: " in message and words in message


class Runs:
    """Unpickled as usual, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("file", ["train", "test", "meta"])
def test_a_pickle_that_would_run_code_does_not(file: str, cifar100: Path, tmp_path: Path) -> None:
    folder = write("cifar100", cifar100, *splits("cifar100"))
    (folder / file).write_bytes(pickle.dumps({"data": Runs(tmp_path / "made"), "fine_labels": []}))
    if file == "meta":
        assert_is_the_set("cifar100", cifar100)  # the classes' names are not needed
    else:
        assert f"{folder / file} is damaged: UnpicklingError" in flaw("cifar100", cifar100)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps({"data": np.zeros(3)})])
def test_what_is_no_batch_is_damaged(content: bytes, cifar100: Path) -> None:
    folder = write("cifar100", cifar100, *splits("cifar100"))
    (folder / "test").write_bytes(content)
    assert f"{folder / 'test'} is damaged: " in flaw("cifar100", cifar100)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_only_cifar100_may_have_other_md5s(name: str, whole: Path, tmp_path: Path) -> None:
    write(name, tmp_path / "data", *splits(name, seed=1))
    assert "is damaged: its md5 is" in flaw(name, tmp_path / "data")


# --- downloads


def test_a_set_is_downloaded_whole_and_nothing_else_is_left(name: str, online: Path, server: Server) -> None:
    prepare_quietly(name, online, download=True)
    assert_is_the_set(name, online)
    assert [path.name for path in online.iterdir()] == [Path(FOLDERS[name]).parts[0]]
    asked = len(server.asked)
    prepare_quietly(name, online, download=True)
    assert len(server.asked) == asked > 0, "a whole set is not downloaded again"


def test_a_set_that_is_there_is_left_alone(name: str, online: Path, server: Server) -> None:
    folder = write(name, online, *splits(name))
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    prepare_quietly(name, online, download=True)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before and not server.asked


def test_a_damaged_set_is_replaced_with_a_warning(name: str, online: Path) -> None:
    path = write(name, online, *splits(name)) / every_file(name)[-1]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.warns(DataWarning, match=rf"^{name}: {path} is damaged: .*; a download replaces the set$"):
        prepare(DATASETS[name](), online, True)
    assert_is_the_set(name, online)
    assert [path.name for path in online.iterdir()] == [Path(FOLDERS[name]).parts[0]]


def test_a_link_to_a_damaged_set_is_replaced_and_what_it_names_is_kept(name: str, online: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (write(name, shared, *splits(name)) / every_file(name)[0]).unlink()
    before = contents(shared)
    link = online / FOLDERS[name]
    link.parent.mkdir(parents=True)
    link.symlink_to(shared / FOLDERS[name])
    with pytest.warns(DataWarning, match="is missing; a download replaces the set"):
        prepare(DATASETS[name](), online, True)
    assert_is_the_set(name, online)
    assert contents(shared) == before and not link.is_symlink()


def test_archives_with_another_md5_are_refused(name: str, online: Path, server: Server) -> None:
    server.files = {file: content[:-1] + b"?" for file, content in server.files.items()}
    with pytest.raises(DataError, match=rf"{name}: .* is missing, and the set cannot be downloaded .*corrupted"):
        prepare(DATASETS[name](), online, True)
    assert not list(online.iterdir())


def test_a_connection_that_breaks_leaves_nothing(name: str, online: Path, server: Server) -> None:
    server.cut_at = 100
    with pytest.raises(DataError, match="cannot be downloaded"):
        prepare(DATASETS[name](), online, True)
    assert not list(online.iterdir())


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # torchvision keeps a refused request's answer open
@pytest.mark.usefixtures("collected")
def test_a_failed_download_leaves_a_damaged_set_as_it_was(name: str, online: Path, server: Server) -> None:
    (write(name, online, *splits(name)) / every_file(name)[0]).unlink()
    before = contents(online)
    server.files = {}
    with (
        pytest.warns(DataWarning, match="a download replaces the set"),
        pytest.raises(DataError, match=r"cannot be downloaded \(.*404"),
    ):
        prepare(DATASETS[name](), online, True)
    assert contents(online) == before


def test_an_interrupted_download_leaves_nothing_and_is_not_swallowed(
    name: str, online: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(url: str, filename: str) -> None:
        Path(filename).write_bytes(b"the first bytes")
        written.append(Path(filename).relative_to(online).parts[0])
        raise KeyboardInterrupt

    written: list[str] = []
    from torchvision.datasets import utils

    with monkeypatch.context() as patch:
        patch.setattr(utils, "_urlretrieve", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepare(DATASETS[name](), online, True)
    assert not list(online.iterdir())
    assert [part[0] for part in written] == ["."], "on the same disk, out of sight"
    prepare_quietly(name, online, download=True)
    assert_is_the_set(name, online)


@pytest.mark.parametrize("damaged", [False, True])
def test_another_process_that_is_faster_does_no_harm(name: str, damaged: bool, online: Path, server: Server) -> None:
    """While the first download waits for its answer, a second one begins and ends."""
    if damaged:
        (write(name, online, *splits(name)) / every_file(name)[0]).unlink()
    placed: list[int] = []

    def faster() -> None:
        prepare(DATASETS[name](), online, True)
        placed.append((online / FOLDERS[name]).stat().st_ino)

    server.before_answer = faster
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        prepare(DATASETS[name](), online, True)
    assert [(online / FOLDERS[name]).stat().st_ino] == placed, "the set that was there first stays"
    assert [path.name for path in online.iterdir()] == [Path(FOLDERS[name]).parts[0]]
    assert_is_the_set(name, online)


def test_archives_put_there_by_hand_need_no_network(name: str, online: Path, server: Server) -> None:
    place = online / FOLDERS[name] if name == "mnist" else online
    place.mkdir(parents=True)
    for file, content in server.files.items():
        (place / file).write_bytes(content)
    server.files = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        prepare(DATASETS[name](), online, True)
    assert_is_the_set(name, online)
    assert not server.asked


@pytest.mark.parametrize("name", ["cifar10"])
def test_a_damaged_archive_put_there_by_hand_is_not_used_and_not_touched(
    name: str, online: Path, server: Server
) -> None:
    place = online / "cifar-10-python.tar.gz"
    online.mkdir()
    place.write_bytes(b"half an archive")
    prepare_quietly(name, online, download=True)
    assert place.read_bytes() == b"half an archive" and server.asked
    assert_is_the_set(name, online)


def test_a_silent_host_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        publish(monkeypatch, "cifar10", write("cifar10", tmp_path / "origin", *splits("cifar10")), url)
        monkeypatch.setattr(images, "TIMEOUT", 0.1)
        with pytest.raises(DataError, match=r"cannot be downloaded \(.*timed out"):
            prepare(Cifar10(), tmp_path / "data", True)
    assert socket.getdefaulttimeout() is None


def test_a_folder_that_cannot_be_made_is_said(name: str, online: Path) -> None:
    online.write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot be downloaded"):
        prepare(DATASETS[name](), online, True)


def test_without_a_terminal_a_download_says_nothing(name: str, online: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prepare_quietly(name, online, download=True)
    assert capfd.readouterr() == ("", "")


def test_with_a_terminal_the_bar_is_not_on_standard_output(
    name: str, online: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    prepare_quietly(name, online, download=True)
    said = capsys.readouterr()
    assert said.out == "" and "100" in said.err


# --- the command


def test_the_command_downloads_and_says_where(
    name: str, online: Path, capsys: pytest.CaptureFixture[str], server: Server
) -> None:
    n_train, n_val = SIZES[name]
    line = f"{name}: {online / FOLDERS[name]}, {n_train} training and {n_val} test images\n"
    assert main([name, name, f"data_dir={online}"]) == 0
    assert capsys.readouterr() == (line, "")
    asked = len(server.asked)
    assert main([f"data_dir='{online}'", name]) == 0
    assert capsys.readouterr() == (line, "") and len(server.asked) == asked


def test_the_command_warns_of_what_it_replaces(online: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (write(name, online, *splits(name)) / every_file(name)[0]).unlink()
    assert main([name, f"data_dir={online}"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith(f"warning: {name}: ") and said.err.count("\n") == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # torchvision keeps a refused request's answer open
@pytest.mark.usefixtures("collected")
def test_the_command_goes_on_after_a_set_that_cannot_be_had(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mnist", "cifar10"):
        folder = write(name, tmp_path / "origin", *splits(name))
        publish(monkeypatch, name, folder, server.url)
        if name == "cifar10":
            server.files = archives(name, folder)
    assert main(["mnist", "cifar10", f"data_dir={tmp_path / 'data'}"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("cifar10: ") and said.err.startswith("error: mnist: ")


def test_a_stopped_command_downloads_no_further_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[str] = []

    def stopped(images_of: images.ImageSet, *_: object, **__: object) -> None:
        begun.append(images_of.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(images.ImageSet, "prepare", stopped)
    assert main(["mnist", "cifar10", f"data_dir={tmp_path}"]) == 130
    assert begun == ["mnist"] and capsys.readouterr().err.startswith("error: stopped")


def test_the_commands_help_names_every_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr()
    assert "mnist, cifar10, cifar100" in said.out and not said.err
    assert main([]) == 2
    assert capsys.readouterr() == ("", said.out)


@pytest.mark.parametrize("argument", ["cifar", "moons", "data_dir=", "download=true", "data_dirs=x"])
def test_the_command_refuses_what_it_does_not_know(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mnist", argument]) == 2
    assert f"error: '{argument}' is not one of mnist, cifar10, cifar100" in capsys.readouterr().err


def test_the_command_as_typed(command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    real("mnist")
    done = command("mnist", f"data_dir={REAL}", module="jumpstart_exp.datasets", fresh=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"mnist: {REAL / 'MNIST' / 'raw'}, 60,000 training and 10,000 test images\n"
