"""What every dataset is: the parameters that shape its points, its task, and how it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

from jumpstart_exp.data.content import content_of
from jumpstart_exp.data.image_files import DataError, ImageSet
from jumpstart_exp.settings import legible, setting, setting_error

if TYPE_CHECKING:
    import numpy.typing as npt

Split: TypeAlias = "tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]"
"""x_train, y_train, x_val, y_val: float64 features (points, features) or uint8 images (points, channels, height,
width), and int64 class indices, or for regression float64 numbers (points,)."""

_STATED = ("title", "task", "classes", "features", "threshold")
"""What every dataset's class states, or works out from its settings."""


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset with every parameter that shapes its points: the base of each dataset's own class.

    Each class says what the points are, by class variables, settings or properties, with no default but for `image`,
    `is_standardised` and `found`: `title` as the papers write it; `task`, what is learned, classification or
    regression; `classes`, 0 for regression; `features`, numbers a point; `image`, channels, height and width where
    points are images; `threshold`, the training accuracy (for regression R²) from which on a network counts as trained;
    `is_standardised`, whether features, and targets of a regression, are centred and scaled by the training points;
    `found`, the settings that follow from the others, or from what the files hold: no title needs them, no sweep is
    over them; `drawn_by`, the setting that is the seed of the points where a cell's own seed may draw them: cells in
    which both are equal differ in their seed alone; `unkeyed`, settings that are no part of a cell's key: what they
    name is, by what it holds; `imports`, large modules that `load` imports, which worker processes then share.
    """

    name: str = setting("", about="the dataset's name")
    n_train: int | None = setting(None, low=1, about="training points, stratified by class; null takes all")
    n_val: int | None = setting(None, low=1, about="validation points, stratified by class; null takes all")
    content: str | None = setting(
        None, about="what the files have to hold, which they tell by themselves; null: as published, or there are none"
    )

    image: ClassVar[tuple[int, int, int] | None] = None
    is_standardised: ClassVar[bool] = False
    found: ClassVar[frozenset[str]] = frozenset()
    drawn_by: ClassVar[str | None] = None
    unkeyed: ClassVar[frozenset[str]] = frozenset()
    imports: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def check_stated(cls) -> None:
        """See to it that a dataset says what its points are.

        Raises:
            TypeError: something without a default is missing.
        """
        for name in _STATED:
            if getattr(cls, name, None) is getattr(DatasetSpec, name, None):
                raise TypeError(f"{cls.__name__}.{name} is missing: every dataset states it")

    @property
    def title(self) -> str:
        """As the papers write it, or what a user calls it."""
        raise TypeError(f"{type(self).__name__} does not say its title")

    @property
    def task(self) -> str:
        """What is learned: classification or regression."""
        raise TypeError(f"{type(self).__name__} does not say its task")

    @property
    def classes(self) -> int:
        """How many; 0 for regression."""
        raise TypeError(f"{type(self).__name__} does not say its classes")

    @property
    def features(self) -> int:
        """Numbers a point."""
        raise TypeError(f"{type(self).__name__} does not say its features")

    @property
    def threshold(self) -> float:
        """The training accuracy, or R², from which on a network counts as trained."""
        raise TypeError(f"{type(self).__name__} does not say its threshold")

    @property
    def outputs(self) -> int:
        """Numbers that a network gives a point: of two classes the log-odds of the second, else one a class.

        A regression has one, the target.
        """
        match self.task:
            case "classification":
                return 1 if self.classes == 2 else self.classes
            case "regression":
                return 1
            case _:
                allowed = "classification or regression"
                raise ValueError(f"{type(self).__name__}.task={self.task!r} is not known: it must be {allowed}")

    @property
    def chance(self) -> float:
        """The accuracy of guessing; the R² of the mean, which is 0."""
        return 1 / self.classes if self.task == "classification" else 0.0

    @property
    def is_augmented(self) -> bool:
        """Whether training points are changed at random."""
        return False

    @property
    def is_examined(self) -> bool:
        """Whether all is known of the points: of files it is only after `examined`."""
        return True

    def full_sizes(self) -> tuple[int, int]:
        """Training and validation points before any subset is taken."""
        raise TypeError(f"{type(self).__name__} does not say its sizes")

    def sizes(self) -> tuple[int, int]:
        """Training and validation points of the cell."""
        train, val = self.full_sizes()
        return self.n_train or train, self.n_val or val

    def sources(self, data_dir: Path) -> Sequence[Path]:
        """Files that `load` reads, and folders of which it reads what is below: what they hold is part of the key.

        Nothing where it reads none, or only what is published and checked.
        """
        return ()

    def content_in(self, data_dir: Path) -> str | None:
        """What the files hold (`content_of`): None for nothing, and for what is published.

        Raises:
            DataError: files are missing or damaged.
        """
        sources = self.sources(data_dir)
        try:
            return content_of(sources) if sources else None
        except OSError as error:
            raise DataError(f"{self.name}: {error.filename} cannot be read: {error.strerror}") from error

    def holder(self, data_dir: Path) -> str:
        """What `content` is of, with a verb, as errors tell it."""
        return f"the files of {self.name} in {data_dir} hold"

    def examined(self, data_dir: Path, content: str | None) -> Self:
        """With what the files hold, and what they say of the points: what the key is made of.

        Args:
            data_dir: folder of the datasets' files.
            content: what `content_in` gives, and the dataset may have.

        Raises:
            DataError, SettingError: what the files hold cannot be trained on, or is not what is stated.
        """
        return replace(self, content=content)

    def without_effect(self) -> Sequence[str]:
        """Settings that change nothing as the others are, without the prefix `dataset.`."""
        full = dict(zip(("n_train", "n_val"), self.full_sizes(), strict=True))
        return [name for name, size in full.items() if getattr(self, name) == size]

    def prepare(self, data_dir: Path, *, download: bool) -> None:
        """See to it that the dataset's files are there and whole; nothing where it has none.

        Raises:
            DataError: files are missing or damaged and `download` is false, or the download fails.
        """
        self.content_in(data_dir)

    def load(self, data_dir: Path) -> Split:
        """All points before any subset is taken; `data_dir` holds the `sources` of datasets that have any.

        Raises:
            DataError: a file cannot be read; nothing is downloaded.
        """
        raise TypeError(f"{type(self).__name__} does not say how it is loaded")

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of each channel of an image scaled to [0, 1], what is taken off and divided by; empty without images."""
        channels = self.image[0] if self.image else 0
        return (0.0,) * channels, (1.0,) * channels

    def check(self) -> None:
        """Raise SettingError where values do not fit together."""
        if self.name != type(self).name:
            raise setting_error("dataset.name", self.name, f"{type(self).name} for {type(self).__name__}")
        for name, wanted, available in zip(
            ("n_train", "n_val"), (self.n_train, self.n_val), self.full_sizes(), strict=True
        ):
            if wanted is not None and wanted > available:
                raise setting_error(f"dataset.{name}", wanted, f"at most {available}, the points that {self.name} has")
            least, why = (self.classes, "one point of each class") if self.classes else (2, "one has no spread")
            if wanted is not None and wanted != available and wanted < least:
                raise setting_error(f"dataset.{name}", wanted, f"at least {least}, {why}")


@dataclass(frozen=True)
class ImageSpec(DatasetSpec):
    """Images as published in `files`, split into training and test set; the test set validates."""

    augment: str = setting(
        "none",
        choices=("none", "flip_crop"),
        neutral="none",
        about="flip_crop: mirrored at random, and cut out of the image padded by 4 pixels",
    )

    files: ClassVar[ImageSet]
    task: ClassVar[str] = "classification"

    @property
    def is_augmented(self) -> bool:
        """Whether training images are changed at random."""
        return self.augment != "none"

    def full_sizes(self) -> tuple[int, int]:
        """The published training and test set."""
        return self.files.n_train, self.files.n_val

    def sources(self, data_dir: Path) -> Sequence[Path]:
        """The set's folder, where it need not be as published."""
        return (data_dir / self.files.folder,) if self.files.may_vary else ()

    def content_in(self, data_dir: Path) -> str | None:
        """None where the files are as published."""
        return self.files.content(data_dir)

    def prepare(self, data_dir: Path, *, download: bool) -> None:
        """See to it that the published files are there and whole."""
        self.files.prepare(data_dir, download=download)

    def load(self, data_dir: Path) -> Split:
        """The published sets."""
        return self.files.read(data_dir)


def check_content(spec: DatasetSpec, found: str | None, data_dir: Path) -> None:
    """Refuse files that hold something else than the dataset says.

    Raises:
        DataError: they do.
    """
    if spec.content not in (None, found):
        raise DataError(
            f"dataset.content={legible(str(spec.content))} is not what {spec.holder(data_dir)}: "
            f"{found or 'they are as published'}; they were changed, or others were meant"
        )
