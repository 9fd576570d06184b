"""The separation penalty as data."""

from dataclasses import dataclass

from jumpstart_exp.settings import setting, setting_error


@dataclass(frozen=True)
class PenaltySpec:
    """The separation penalty: kind, weight λ, balance ρ, margins, aggregation, ties."""

    kind: str = setting(
        "none", choices=("none", "U", "P", "UP", "L"), about="units, points, both, layers", role="method"
    )
    weight: float = setting(1e-4, low=0, about="λ, the penalty's weight in the loss", role="method", tunes=True)
    balance: float = setting(0.5, low=0, high=1, about="ρ, the share of the deficit above", role="method")
    margin_above: float = setting(1.0, about="what the maximum has to reach", role="method", tunes=True)
    margin_below: float = setting(-1.0, about="what the minimum has to reach", role="method", tunes=True)
    aggregate: str = setting("sum", choices=("sum", "mean", "l2", "sum_sq"), role="method", tunes=True)
    ties: str = setting(
        "single",
        choices=("shared", "single", "random"),
        about="who gets a tied maximum's gradient",
        role="method",
        tunes=True,
    )
    scope: str = setting(
        "channel",
        choices=("channel", "position"),
        about="one constraint a channel, or a position",
        role="method",
        tunes=True,
    )
    layers: str = setting(
        "hidden",
        choices=("hidden", "all"),
        neutral="hidden",
        about="constrained layers; all: the output layer too",
        role="method",
        tunes=True,
    )
    layer_weights: tuple[float, ...] | None = setting(
        None, low=0, about="λ_k of each constrained layer; null for 1", role="method", tunes=True
    )

    def check(self) -> None:
        """Raise SettingError where values do not fit together."""
        if self.margin_below >= self.margin_above:
            raise setting_error(
                "penalty.margin_below", self.margin_below, f"below penalty.margin_above={self.margin_above:g}"
            )
