"""The separation penalty as data."""

from dataclasses import dataclass

from jumpstart_exp.settings import setting, setting_error


@dataclass(frozen=True)
class PenaltySpec:
    """The separation penalty: kind, weight λ, balance ρ, margins, aggregation, ties.

    A constraint with the largest entry M and the smallest m, and with the bound B where there is one, is

        v = ρ·max(0, margin_above − M, M − B) + (1 − ρ)·max(0, m − margin_below, −B − m)

    of which a side alone leaves one term. λ's schedule at step t of T, counted from 0: 1, ½(1 + cos(πt/T)), 1 − t/T.
    Sources: CPAIOR, (3)–(12); the bound: ICLR, section 6; balanced, sides and schedule: Riera, Puertas and Pujol, 2025.
    """

    kind: str = setting(
        "none", choices=("none", "U", "P", "UP", "L"), about="units, points, both, layers", role="method"
    )
    weight: float = setting(1e-4, low=0, about="λ, the penalty's weight in the loss", role="method", tunes=True)
    balance: float = setting(0.5, low=0, high=1, about="ρ, the share of the deficit above", role="method")
    margin_above: float = setting(1.0, about="what the maximum has to reach", role="method", tunes=True)
    margin_below: float = setting(-1.0, about="what the minimum has to reach", role="method", tunes=True)
    aggregate: str = setting(
        "sum",
        choices=("sum", "mean", "l2", "sum_sq", "balanced"),
        about="balanced: the mean of the units' pairs plus that of the points'",
        role="method",
        tunes=True,
    )
    sides: str = setting(
        "both", choices=("both", "above", "below"), neutral="both", about="deficits that count", role="method"
    )
    point_sides: str | None = setting(
        None, choices=("both", "above", "below"), about="of the points, where they differ from sides", role="method"
    )
    upper_bound: float | None = setting(
        None, above=0, about="what no pre-activation's magnitude should exceed (ICLR, 6)", role="method"
    )
    schedule: str = setting(
        "constant",
        choices=("constant", "cosine", "linear"),
        neutral="constant",
        about="of λ over the training: half a cosine, or a line, down to 0",
        role="method",
    )
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

    def shares(self, kind: str) -> tuple[float, float]:
        """Of the deficits above and below in a pair: ρ and 1 − ρ, and 0 for a side that does not count.

        Args:
            kind: of the constraint, U, P or L.
        """
        match self.point_sides if kind == "P" and self.point_sides is not None else self.sides:
            case "both":
                return self.balance, 1 - self.balance
            case "above":
                return self.balance, 0.0
            case "below":
                return 0.0, 1 - self.balance
            case other:
                raise setting_error("penalty.sides", other, "both, above or below")

    @property
    def counts(self) -> tuple[bool, bool]:
        """Whether any constraint has its deficit above, and whether any has the one below."""
        sides = {self.sides if kind != "P" else self.point_sides or self.sides for kind in self.kind}
        return not sides <= {"below"}, not sides <= {"above"}

    def check(self) -> None:
        """Raise SettingError where values do not fit together."""
        if self.margin_below >= self.margin_above:
            raise setting_error(
                "penalty.margin_below", self.margin_below, f"below penalty.margin_above={self.margin_above:g}"
            )
        least = max(abs(self.margin_above), abs(self.margin_below))
        if self.upper_bound is not None and self.upper_bound < least:
            raise setting_error("penalty.upper_bound", self.upper_bound, f"at least {least:g}, the larger margin")
        if self.point_sides is not None and self.kind not in ("none", "UP"):
            raise setting_error("penalty.point_sides", self.point_sides, "null where penalty.kind is not UP")
