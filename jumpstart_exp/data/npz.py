"""Arrays of one's own: a file of NumPy's `savez`."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jumpstart_exp.data.base import Split
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.table import FileSpec, split
from jumpstart_exp.late import LateModule
from jumpstart_exp.settings import legible, setting, setting_error

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = LateModule("numpy")

_SPLIT = ("x_train", "y_train", "x_val", "y_val")
_WHOLE = ("x", "y")


@dataclass(frozen=True)
class Npz(FileSpec):
    """An .npz file with x_train, y_train, x_val and y_val, or with x and y and a share that validates."""

    name: str = setting("npz")
    test_size: float | None = setting(
        None, above=0, high=0.9, about="share of x and y that validates; null: the file has x_val and y_val"
    )
    split_random_state: int = setting(42, low=0, high=2**32 - 1, about="seed of train_test_split")

    def parts(self, data_dir: Path) -> Split:
        """The file's arrays; without validation points of its own split, of classes stratified."""
        where = f"dataset.path={legible(self.path)}"
        arrays = self._read(self.file(data_dir), where)
        if self.test_size is not None:
            return split(where, arrays["x"], arrays["y"], self.task, self.test_size, self.split_random_state)
        if (train := arrays["x_train"].shape[1]) != (val := arrays["x_val"].shape[1]):
            raise DataError(f"{where}: x_train has {train} features, x_val {val}")
        if arrays["y_train"].dtype.kind != arrays["y_val"].dtype.kind:
            kinds = f"{arrays['y_train'].dtype} and {arrays['y_val'].dtype}"
            raise DataError(f"{where}: y_train and y_val are of unlike kinds, {kinds}")
        if len(arrays["x_train"]) < 2:
            raise DataError(f"{where}: x_train has one point: a training takes two")
        return tuple(arrays[name] for name in _SPLIT)  # type: ignore[return-value]

    def without_effect(self) -> Sequence[str]:
        """The seed of a split that the file has."""
        return [*super().without_effect(), *(["split_random_state"] if self.test_size is None else [])]

    def _read(self, path: Path, where: str) -> dict[str, npt.NDArray[Any]]:
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                if not isinstance(file, np.lib.npyio.NpzFile):
                    raise DataError(f"{where} is one array: numpy.savez writes several by name")
                has = {*file.files}
                wanted = self._wanted(where, has)
                arrays = {name: file[name] for name in wanted}
        except OSError as error:
            raise DataError(f"{where} cannot be read: {error.strerror or legible(str(error))}") from None
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{where} is no file of numpy.savez with plain arrays: {legible(str(error))}") from None
        for name, array in arrays.items():
            arrays[name] = self._checked(where, name, array)
        for x, y in zip(wanted[::2], wanted[1::2], strict=True):
            if len(arrays[x]) != len(arrays[y]):
                raise DataError(f"{where}: {x} has {len(arrays[x])} points, {y} {len(arrays[y])}")
        return arrays

    def _wanted(self, where: str, has: set[str]) -> tuple[str, ...]:
        """The arrays that are read."""
        if has.issuperset(_SPLIT) and has.issuperset(_WHOLE):
            raise DataError(f"{where} has both {', '.join(_SPLIT)} and {', '.join(_WHOLE)}: which are meant?")
        if has.issuperset(_SPLIT):
            if self.test_size is not None:
                allowed = "null, for the file has validation points of its own"
                raise setting_error("dataset.test_size", self.test_size, allowed)
            return _SPLIT
        if has.issuperset(_WHOLE):
            if self.test_size is None:
                allowed = "a share of the points as 0.2, for the file has x and y and no validation points"
                raise setting_error("dataset.test_size", None, allowed)
            return _WHOLE
        found = legible(", ".join(sorted(has))) or "nothing"
        raise DataError(f"{where} has {found}, not {', '.join(_SPLIT)}, or {', '.join(_WHOLE)}")

    def _checked(self, where: str, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array of points or targets, in float64 or, of classes, as it is."""
        is_x = name.startswith("x")
        if array.ndim != (2 if is_x else 1):
            allowed = "(points, features)" if is_x else "(points,)"
            raise DataError(f"{where}: {name} is of shape {array.shape}, not {allowed}")
        if 0 in array.shape:
            raise DataError(f"{where}: {name} is of shape {array.shape}: nothing is in it")
        is_class = not is_x and self.task == "classification"
        if array.dtype.kind not in ("biufU" if is_class else "biuf"):
            kind = "numbers or texts" if is_class else "numbers"
            raise DataError(f"{where}: {name} is of {array.dtype}, not of {kind}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{where}: {name} has numbers that are not finite")
        if is_class:
            if array.dtype.kind == "f" and (array != np.floor(array)).any():
                raise setting_error("dataset.task", self.task, "regression", f"{name} has fractions")
            return array
        numbers = array.astype(np.float64)
        if is_x and len(numbers) > 1 and name != "x_val" and (numbers == numbers[0]).all():
            raise DataError(f"{where}: all points of {name} are the same")
        return numbers
