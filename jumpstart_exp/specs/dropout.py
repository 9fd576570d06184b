"""Annealed dropout as data."""

from dataclasses import dataclass

from jumpstart_exp.settings import setting


@dataclass(frozen=True)
class DropoutSpec:
    """Annealed dropout on every hidden layer's input: p(t) = max(0, rate·(1 − t/anneal_epochs)) (ICLR, zero init)."""

    rate: float = setting(
        0.0, low=0, high=0.999, neutral=0.0, about="p₀, the share dropped in the first epoch", role="method"
    )
    anneal_epochs: int = setting(1000, low=1, about="T, epochs until nothing is dropped", role="method")
