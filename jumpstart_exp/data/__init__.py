"""Datasets: one file each, its spec beside its loader."""

from jumpstart_exp.data.base import DatasetSpec, ImageSpec
from jumpstart_exp.data.cifar10 import Cifar10
from jumpstart_exp.data.cifar100 import Cifar100
from jumpstart_exp.data.csv import Csv
from jumpstart_exp.data.mnist import Mnist
from jumpstart_exp.data.moons import Moons
from jumpstart_exp.data.npz import Npz
from jumpstart_exp.data.sklearn import Sklearn
from jumpstart_exp.data.spirals import Spirals
from jumpstart_exp.data.strip import Strip

DATASETS: dict[str, type[DatasetSpec]] = {
    "moons": Moons,
    "mnist": Mnist,
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "spirals": Spirals,
    "strip": Strip,
    "sklearn": Sklearn,
    "csv": Csv,
    "npz": Npz,
}
"""Every dataset by name."""

for _spec in DATASETS.values():
    _spec.check_stated()

__all__ = ["DATASETS", "DatasetSpec", "ImageSpec"]
