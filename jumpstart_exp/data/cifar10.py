"""CIFAR-10: colour images of ten classes (Krizhevsky)."""

from dataclasses import dataclass
from typing import ClassVar

from jumpstart_exp.data.base import ImageSpec
from jumpstart_exp.data.image_files import CifarSet, ImageSet
from jumpstart_exp.settings import setting, setting_error


@dataclass(frozen=True)
class Cifar10(ImageSpec):
    """CIFAR-10, 32 × 32 colours (Krizhevsky)."""

    name: str = setting("cifar10")
    scaling: str = setting(
        "normalised", choices=("normalised", "unit"), about="by each channel's mean and deviation, or to [0, 1]"
    )

    title: ClassVar[str] = "CIFAR-10"
    classes: ClassVar[int] = 10
    features: ClassVar[int] = 3072
    image: ClassVar[tuple[int, int, int] | None] = (3, 32, 32)
    threshold: ClassVar[float] = 2 * 5_000 / 50_000  # twice the share of the largest class
    files: ClassVar[ImageSet] = CifarSet("cifar10", "CIFAR10", "cifar-10-batches-py", 50_000, 10_000, classes=10)
    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]] = (
        (0.4914, 0.4822, 0.4465),
        (0.2023, 0.1994, 0.2010),
    )

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of each channel, as `scaling` says."""
        match self.scaling:
            case "normalised":
                return self.normalisation
            case "unit":
                return super().mean_and_std()
            case _:
                raise setting_error("dataset.scaling", self.scaling, "one of normalised, unit")
