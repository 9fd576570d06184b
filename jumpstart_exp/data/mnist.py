"""MNIST: handwritten digits (LeCun and Cortes)."""

from dataclasses import dataclass
from typing import ClassVar

from jumpstart_exp.data.base import ImageSpec
from jumpstart_exp.data.image_files import ImageSet, MnistSet
from jumpstart_exp.settings import setting


@dataclass(frozen=True)
class Mnist(ImageSpec):
    """MNIST, 28 × 28 grey values scaled to [0, 1] (LeCun and Cortes)."""

    name: str = setting("mnist")

    title: ClassVar[str] = "MNIST"
    classes: ClassVar[int] = 10
    features: ClassVar[int] = 784
    image: ClassVar[tuple[int, int, int] | None] = (1, 28, 28)
    threshold: ClassVar[float] = 2 * 6742 / 60_000  # twice the share of the largest class
    files: ClassVar[ImageSet] = MnistSet(
        "mnist",
        "MNIST",
        "MNIST/raw",
        60_000,
        10_000,
        md5s=(
            ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
            ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
            ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
            ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
        ),
    )
