"""Kinds of methods, by what they change of a plain ReLU network."""

from jumpstart_exp.report.atlas.atlas import Atlas
from jumpstart_exp.store.fields import Settings

FAMILIES = (
    "ReLU, by initial weights",
    "other activations",
    "norms and skips",
    "other ways to train",
    "separation penalties",
    "Sep-UP on top",
)
"""In the order in which figures show them."""


def families(atlas: Atlas) -> dict[str, tuple[str, ...]]:
    """The methods of each family that has any, in the grid's order."""
    found: dict[str, list[str]] = {name: [] for name in FAMILIES}
    for method in atlas.grid.methods:
        found[family_of(atlas.grid.settings[method])].append(method)
    return {name: tuple(methods) for name, methods in found.items() if methods}


def is_plain_relu(settings: Settings) -> bool:
    """Whether the network itself is plain: ReLU, without norm, skips or bound units, whatever it is trained with."""
    return (
        settings.get("network.activation") in (None, "relu")
        and settings.get("network.norm") in (None, "none")
        and not settings.get("network.skip_every")
        and not settings.get("network.farkas")
    )


def family_of(settings: Settings) -> str:
    """The family of a method with these settings."""
    weights, activations, modules, others, penalties, on_top = FAMILIES
    is_trained_otherwise = settings.get("rai.weight") or settings.get("reset.every") or settings.get("network.farkas")
    if settings.get("penalty.kind") not in (None, "none"):
        is_the_papers = is_plain_relu(settings) and settings.get("network.init") in (None, "glorot_uniform", "zero")
        return penalties if is_the_papers else on_top
    if is_trained_otherwise:
        return others
    if settings.get("network.skip_every") or settings.get("network.norm") not in (None, "none"):
        return modules
    return weights if is_plain_relu(settings) else activations
