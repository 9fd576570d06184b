"""A table of one's own: a text file with a line of names, and numbers below."""

from __future__ import annotations

import codecs
import csv
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from jumpstart_exp.data.base import Split
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.table import FileSpec, split
from jumpstart_exp.late import LateModule
from jumpstart_exp.settings import legible, nearest, setting, setting_error, shown

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
else:
    np = LateModule("numpy")
    pd = LateModule("pandas")

_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " ", "pipe": "|"}

_LEAST_ROWS = 4


@dataclass(frozen=True)
class Csv(FileSpec):
    """A CSV file as pandas reads it: the column `target` is learned from all others, which are numbers."""

    name: str = setting("csv")
    target: str = setting("", about="the column that is learned")
    separator: str = setting("comma", choices=_SEPARATORS, neutral="comma", about="what stands between two values")
    encoding: str = setting("utf-8", neutral="utf-8", about="of the text, with or without a byte order mark")
    test_size: float = setting(0.2, above=0, high=0.9, about="share of the points that validates")
    split_random_state: int = setting(42, low=0, high=2**32 - 1, about="seed of train_test_split")

    def parts(self, data_dir: Path) -> Split:
        """The file's rows, split; of classes stratified."""
        path = self.file(data_dir)
        names, table = self._read(path)
        where = f"dataset.path={legible(self.path)}"
        column = names.index(self.target)
        rest = [number for number in range(len(names)) if number != column]
        if not rest:
            raise DataError(f"{where}: beside the target {shown(self.target)} there is no column to learn from")
        if len(table) < _LEAST_ROWS:
            raise DataError(f"{where}: {len(table)} rows are too few: at least {_LEAST_ROWS} points are split")
        for number in range(len(names)):
            gaps = np.flatnonzero(table[number].isna())
            if len(gaps):
                lacking = f"{len(gaps)} of {len(table)} rows have no value, the first on line {gaps[0] + 2}"
                raise DataError(
                    f"{where}: in the column {shown(names[number])} {lacking}: fill them, or leave them out"
                )
        x = np.stack([_numbers(where, names[number], table[number]) for number in rest], axis=1)
        constant = np.flatnonzero((x == x[0]).all(axis=0))
        if len(constant):
            name = names[rest[constant[0]]]
            raise DataError(f"{where}: the column {shown(name)} is {x[0, constant[0]]:g} in every row: leave it out")
        return split(where, x, self._targets(where, table[column]), self.task, self.test_size, self.split_random_state)

    def examined(self, data_dir: Path, content: str | None) -> Self:
        """With what the file holds, and the encoding under one name: one training, one key."""
        found = super().examined(data_dir, content)
        return replace(found, encoding=codecs.lookup(self.encoding).name)

    def check(self) -> None:
        """Raise SettingError where the encoding is not known."""
        try:
            codecs.lookup(self.encoding)
        except (LookupError, ValueError):
            allowed = "an encoding that Python knows, as utf-8 or latin-1"
            raise setting_error("dataset.encoding", self.encoding, allowed) from None
        super().check()

    def _read(self, path: Path) -> tuple[list[str], pd.DataFrame]:
        """The columns' names, and the rows under the columns' numbers."""
        where, separator = f"dataset.path={legible(self.path)}", _SEPARATORS[self.separator]
        # a byte order mark is no letter of the first name
        encoding = "utf-8-sig" if codecs.lookup(self.encoding).name == "utf-8" else self.encoding
        try:
            with path.open(encoding=encoding, newline="") as file:
                names = next(csv.reader(file, delimiter=separator, skipinitialspace=True), [])
            self._check_names(where, names)
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)
                table = pd.read_csv(
                    path,
                    sep=separator,
                    encoding=encoding,
                    header=None,
                    skiprows=1,
                    names=range(len(names)),
                    index_col=False,
                    skipinitialspace=True,
                )
        except UnicodeError:
            raise DataError(f"{where} is no text in {self.encoding}: dataset.encoding says another") from None
        except pd.errors.EmptyDataError:
            raise DataError(f"{where}: there are no rows below the first line") from None
        except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
            reason = "a row has more values than there are names" if "Length of header" in str(error) else str(error)
            reason = " ".join(reason.split()).removeprefix("Error tokenizing data. C error: ")
            raise DataError(f"{where} is no table: {legible(reason)}") from None
        except OSError as error:
            raise DataError(f"{where} cannot be read: {error.strerror}") from None
        return names, table

    def _check_names(self, where: str, names: list[str]) -> None:
        """Refuse a first line that is none of names, or in which the target is not."""
        if not names:
            raise DataError(f"{where} is empty: its first line names the columns")
        if all(_is_number(name) for name in names):
            raise DataError(
                f"{where}: the first line has numbers, {legible(', '.join(names), 60)}: it names the columns"
            )
        if "" in names:
            number = names.index("") + 1
            raise DataError(f"{where}: column {number} has no name: an index that was written too is no feature")
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise DataError(f"{where}: the name {shown(twice[0])} stands there twice: no column is meant by it")
        if self.target not in names:
            alone = "; dataset.separator says what stands between two" if len(names) == 1 else ""
            columns = legible(", ".join(map(shown, names)), 300)
            allowed = f"one of the columns {columns}{nearest(self.target, names)}{alone}"
            raise setting_error("dataset.target", self.target, allowed)

    def _targets(self, where: str, column: pd.Series[Any]) -> np.ndarray[Any, Any]:
        """Numbers, or of classes also texts."""
        match self.task:
            case "regression":
                if not pd.api.types.is_numeric_dtype(column):
                    raise DataError(f"{where}: the target {shown(self.target)} is not of numbers: no regression")
                return _numbers(where, self.target, column)
            case "classification":
                if pd.api.types.is_numeric_dtype(column):
                    values = _numbers(where, self.target, column)
                    if (values != np.floor(values)).any():
                        reason = f"the target {shown(self.target)} has fractions as {values[values % 1 != 0][0]:g}"
                        raise setting_error("dataset.task", self.task, "regression", reason)
                    return values.astype(np.int64)
                return column.astype(str).to_numpy(dtype=np.str_)
            case other:
                raise setting_error("dataset.task", other, "classification or regression")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(where: str, name: str, column: pd.Series[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A column as float64.

    Raises:
        DataError: it has texts, or infinite numbers.
    """
    if not pd.api.types.is_numeric_dtype(column):
        line = next((row for row, value in enumerate(column) if not _is_number(str(value))), 0)
        found = f"line {line + 2} has {shown(str(column.iloc[line]))}"
        raise DataError(f"{where}: the column {shown(name)} is not of numbers ({found}): number it, or leave it out")
    values = column.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        line = int(np.flatnonzero(~np.isfinite(values))[0]) + 2
        raise DataError(f"{where}: the column {shown(name)} has {values[line - 2]:g} on line {line}: no finite number")
    return values
