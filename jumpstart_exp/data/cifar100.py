"""CIFAR-100: colour images of a hundred classes (Krizhevsky)."""

from dataclasses import dataclass
from typing import ClassVar

from jumpstart_exp.data.cifar10 import Cifar10
from jumpstart_exp.data.image_files import CifarSet, ImageSet
from jumpstart_exp.settings import setting


@dataclass(frozen=True)
class Cifar100(Cifar10):
    """CIFAR-100, the fine labels (Krizhevsky)."""

    name: str = setting("cifar100")

    title: ClassVar[str] = "CIFAR-100"
    classes: ClassVar[int] = 100
    threshold: ClassVar[float] = 2 * 500 / 50_000  # twice the share of the largest class
    files: ClassVar[ImageSet] = CifarSet(
        "cifar100", "CIFAR100", "cifar-100-python", 50_000, 10_000, classes=100, any_order=True
    )
    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]] = (
        (0.5071, 0.4867, 0.4408),
        (0.2675, 0.2565, 0.2761),
    )
