"""Datasets and methods as the papers write them, and the methods' order."""

import hashlib
import re
from collections.abc import Hashable
from dataclasses import fields

from jumpstart_exp.data import DATASETS, DatasetSpec
from jumpstart_exp.settings import legible
from jumpstart_exp.store.fields import OWN_SEED, Settings

LONGEST_TITLE = 72
"""Letters of a label that a figure shows."""

_TITLES = {
    "relu": "ReLU",
    "relu_bn": "ReLU + BN",
    "sep_u": "Sep-U",
    "sep_p": "Sep-P",
    "sep_up": "Sep-UP",
    "sep_l": "Sep-L",
    "zero_init": "Zero init",
    "rai": "RAI",
    "rai_best": "RAI, best settings",
    "logistic": "Logistic",
    "sep_up_logistic": "Sep-UP, logistic",
    "zero_init_logistic": "Zero init, logistic",
    "rai_logistic": "RAI, logistic",
    "rai_best_logistic": "RAI, best settings, logistic",
    "he": "ReLU, He",
    "orthogonal": "ReLU, orthogonal",
    "block_orthogonal": "ReLU, block orthogonal",
    "asymmetric": "ReLU, asymmetric",
    "deep_narrow": "ReLU, deep narrow",
    "leaky_relu": "Leaky ReLU",
    "leaky_relu_0.1": "Leaky ReLU 0.1",
    "leaky_relu_0.3": "Leaky ReLU 0.3",
    "prelu": "PReLU",
    "tat": "TAT",
    "crelu": "CReLU",
    "elu": "ELU",
    "selu": "SELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "tanh": "tanh",
    "layer_norm": "ReLU + layer norm",
    "residual": "Skips",
    "rezero": "ReZero",
    "fixup": "Fixup",
    "farkas": "Farkas",
    "dormant_reset": "ReDo",
    "sep_up_he": "Sep-UP, He",
    "sep_up_orthogonal": "Sep-UP, orthogonal",
    "sep_up_block_orthogonal": "Sep-UP, block orthogonal",
    "sep_up_asymmetric": "Sep-UP, asymmetric",
    "sep_up_deep_narrow": "Sep-UP, deep narrow",
    "sep_up_leaky_relu_0.1": "Sep-UP, leaky 0.1",
    "sep_up_prelu": "Sep-UP, PReLU",
    "sep_up_tat": "Sep-UP, TAT",
    "sep_up_crelu": "Sep-UP, CReLU",
    "sep_up_relu_bn": "Sep-UP + BN",
    "sep_up_layer_norm": "Sep-UP + layer norm",
    "sep_up_residual": "Sep-UP, skips",
    "sep_up_rezero": "Sep-UP, ReZero",
    "sep_up_balanced": "Sep-UP balanced",
    "balanced_units": "Balanced, units",
    "balanced_points": "Balanced, points",
    "balanced_above": "Balanced, above",
    "balanced_below": "Balanced, below",
    "balanced_without_units_above": "Balanced, not units above",
    "balanced_without_units_below": "Balanced, not units below",
    "balanced_without_points_above": "Balanced, not points above",
    "balanced_without_points_below": "Balanced, not points below",
    "balanced_relu_bn": "Balanced + BN",
    "balanced_residual": "Balanced, skips",
    "balanced_gelu": "Balanced, GELU",
}
_AGGREGATES = {"sum": "sum", "mean": "mean", "l2": "ℓ₂", "sum_sq": "Σ²"}
_VARIANT = re.compile(r"(sep_(?:up|u|p|l))_(sum_sq|sum|mean|l2)_(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
"""Labels that say aggregate and λ: sep_up_l2_1e-3 (CPAIOR, section 4)."""


def dataset_title(name: str) -> str:
    """The dataset's name as the papers write it: CIFAR-10."""
    return DATASETS[name]().title or name if name in DATASETS else legible(name)


def dataset_of(settings: Settings) -> DatasetSpec:
    """The dataset of rows with these settings, of which "dataset" is one of DATASETS; null is a field's default.

    The points may be drawn by each cell's own seed: those of its default are then the dataset's.
    """
    kind = DATASETS[str(settings["dataset"])]
    values = {field.name: settings.get(f"dataset.{field.name}") for field in fields(kind) if field.name != "name"}
    return kind(**{name: value for name, value in values.items() if value not in (None, OWN_SEED)})  # type: ignore[arg-type]


def follows(settings: Settings) -> frozenset[str]:
    """The settings that follow from the others: what is found of a dataset's points."""
    kind = DATASETS.get(str(settings.get("dataset")))
    return frozenset() if kind is None else frozenset(f"dataset.{name}" for name in kind.found)


def method_title(label: str, aggregate: Hashable, weight: Hashable) -> str:
    """The method's title; a label stands as it is if it is unknown, or says another aggregate or λ than it has."""
    variant = _VARIANT.fullmatch(label)
    if variant and variant[2] == aggregate and float(variant[3]) == weight:
        number = re.sub(r"e([+-])0+", r"e\1", f"{float(variant[3]):g}")
        return f"{_TITLES[variant[1]]} {_AGGREGATES[variant[2]]} λ={number}"
    return _TITLES.get(label) or label_title(label)


def label_title(label: str) -> str:
    """The label as it stands, if it prints and is short; else what can be shown of it, told apart by its hash."""
    title = legible(label, LONGEST_TITLE)
    return title if title == label else f"{title} #{hashlib.sha256(label.encode()).hexdigest()[:6]}"


def method_rank(label: str) -> tuple[int, str, float, str]:
    """A sort key: the papers' order, a method's variants after it by aggregate and λ, other labels alphabetically."""
    order = list(_TITLES)
    if variant := _VARIANT.fullmatch(label):
        return order.index(variant[1]), variant[2], float(variant[3]), label
    return (order.index(label) if label in order else len(order)), "", 0.0, label
