"""The tables of scikit-learn that come with it, and those that it draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from jumpstart_exp.data.base import Split
from jumpstart_exp.data.image_files import DataError
from jumpstart_exp.data.table import FOUND, TableSpec, content_of_arrays, split
from jumpstart_exp.late import LateModule
from jumpstart_exp.settings import legible, setting, setting_error

if TYPE_CHECKING:
    from importlib import metadata

    import numpy as np
    import numpy.typing as npt
else:
    metadata = LateModule("importlib.metadata")
    np = LateModule("numpy")


@dataclass(frozen=True)
class Loader:
    """A function of `sklearn.datasets`: what is learned from its table, and what it takes, with the usual values."""

    task: str
    parameters: Mapping[str, float]


def _loader(task: str, **parameters: float) -> Loader:
    return Loader(task, parameters)


LOADERS: Mapping[str, Loader] = {
    "load_iris": _loader("classification"),
    "load_wine": _loader("classification"),
    "load_breast_cancer": _loader("classification"),
    "load_digits": _loader("classification"),
    "load_diabetes": _loader("regression"),
    "make_moons": _loader("classification", n_samples=100, noise=0.0, random_state=0),
    "make_circles": _loader("classification", n_samples=100, noise=0.0, factor=0.8, random_state=0),
    "make_blobs": _loader("classification", n_samples=100, n_features=2, centers=3, cluster_std=1.0, random_state=0),
    "make_gaussian_quantiles": _loader("classification", n_samples=100, n_features=2, n_classes=3, random_state=0),
    "make_hastie_10_2": _loader("classification", n_samples=12000, random_state=0),
    "make_classification": _loader(
        "classification",
        n_samples=100,
        n_features=20,
        n_informative=2,
        n_redundant=2,
        n_classes=2,
        class_sep=1.0,
        flip_y=0.01,
        random_state=0,
    ),
    "make_friedman1": _loader("regression", n_samples=100, n_features=10, noise=0.0, random_state=0),
    "make_friedman2": _loader("regression", n_samples=100, noise=0.0, random_state=0),
    "make_friedman3": _loader("regression", n_samples=100, noise=0.0, random_state=0),
    "make_regression": _loader(
        "regression", n_samples=100, n_features=100, n_informative=10, noise=0.0, random_state=0
    ),
}
"""What `dataset.loader` takes, with scikit-learn's own default parameters."""


@dataclass(frozen=True)
class Sklearn(TableSpec):
    """A table of scikit-learn, split; what another of its versions gives otherwise is other content, another key.

    A parameter that is null is the loader's usual one; one that the loader does not take is refused.
    """

    name: str = setting("sklearn")
    loader: str = setting("load_digits", choices=LOADERS, about="the function of sklearn.datasets")
    n_samples: int | None = setting(None, low=8, about="points before the split")
    noise: float | None = setting(None, low=0, neutral=0.0, about="standard deviation of the noise")
    n_features: int | None = setting(None, low=1, about="numbers a point")
    n_informative: int | None = setting(None, low=1, about="features that tell something")
    n_redundant: int | None = setting(None, low=0, about="features that are combinations of the informative ones")
    n_classes: int | None = setting(None, low=2, about="classes")
    centers: int | None = setting(None, low=2, about="blobs, a class each")
    cluster_std: float | None = setting(None, above=0, about="standard deviation of a blob")
    class_sep: float | None = setting(None, above=0, about="how far classes are apart")
    flip_y: float | None = setting(None, low=0, high=1, about="share of points whose class is drawn anew")
    factor: float | None = setting(None, low=0, high=0.99, about="radius of the inner circle, of the outer one's")
    random_state: int | None = setting(None, low=0, high=2**32 - 1, about="seed of what is drawn")
    test_size: float = setting(0.2, above=0, high=0.9, about="share of the points that validates")
    split_random_state: int = setting(42, low=0, high=2**32 - 1, about="seed of train_test_split")

    found: ClassVar[frozenset[str]] = frozenset([*FOUND, "content"])

    @property
    def title(self) -> str:
        """The loader's name."""
        return self.loader

    @property
    def task(self) -> str:
        """The loader's."""
        return LOADERS[self.loader].task

    def check(self) -> None:
        """Raise SettingError for a parameter that the loader does not take."""
        takes = LOADERS[self.loader].parameters
        for name in _PARAMETERS:
            if getattr(self, name) is not None and name not in takes:
                has = f"which takes {', '.join(takes)}" if takes else "which takes no parameters"
                allowed = f"null for {self.loader}, {has}"
                raise setting_error(f"dataset.{name}", getattr(self, name), allowed)
        super().check()

    def examined(self, data_dir: Path, content: str | None) -> Self:
        """With the usual parameters where nothing is said, and what was drawn."""
        usual: dict[str, Any] = {
            name: value for name, value in LOADERS[self.loader].parameters.items() if getattr(self, name) is None
        }
        return super(Sklearn, replace(self, **usual)).examined(data_dir, content)

    def holder(self, data_dir: Path) -> str:
        """The loader, and its version."""
        return f"{self.loader} of scikit-learn {metadata.version('scikit-learn')} gives with these parameters"

    def content_in(self, data_dir: Path) -> str | None:
        """What the loader gives with its parameters, rounded to float32: versions may draw otherwise."""
        return content_of_arrays(self._arrays())

    def parts(self, data_dir: Path) -> Split:
        """The loader's points, split; of classes stratified."""
        return split(self.loader, *self._arrays(), self.task, self.test_size, self.split_random_state)

    def _arrays(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
        parameters = {
            name: value if getattr(self, name) is None else getattr(self, name)
            for name, value in LOADERS[self.loader].parameters.items()
        }
        return _drawn(self.loader, tuple(parameters.items()))


_PARAMETERS: Sequence[str] = [
    field.name for field in fields(Sklearn) if any(field.name in loader.parameters for loader in LOADERS.values())
]


@lru_cache(maxsize=8)
def _drawn(loader: str, parameters: tuple[tuple[str, float], ...]) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any]]:
    """The loader's points and targets.

    Raises:
        DataError: it does not take such parameters together, in its own words.
    """
    import sklearn.datasets

    settings = dict(parameters)
    try:
        given = getattr(sklearn.datasets, loader)(**settings)
    except ValueError as error:
        stated = ", ".join(f"dataset.{name}={value}" for name, value in settings.items())
        raise DataError(f"{loader} does not take {stated}: {legible(' '.join(str(error).split()), 300)}") from None
    x, y = (given.data, given.target) if loader.startswith("load_") else given
    return np.asarray(x, np.float64), np.asarray(y)
