"""The separation penalty: the reference formula, in plain torch, for any model.

Sources: SepCons is "Increasing separation in units", ICLR is "Superseding model scaling by penalizing dead units and
points with separation constraints" (2020 submission), CPAIOR is "Training thinner and deeper neural networks:
jumpstart regularization" (2022).

With g the pre-activation of a hidden layer on one batch, each constraint has a pair of deficits,

    above: max(0, margin_above − max g)        below: max(0, min g − margin_below)

where max and min run over the points for a unit (Sep-U), over the units for a point (Sep-P), over both for a
layer (Sep-L). With the margins ±1 these are max(0, 1 − max g) and max(0, 1 + min g); the minus sign that CPAIOR
prints in (10) and (12) is a misprint: constraints (4) and (6) ask for min g ≤ −1. With an upper bound B a deficit is
also by how much the extreme is beyond it, max g − B above and −B − min g below (ICLR, section 6).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial

import torch
from torch import Tensor, nn

from jumpstart_exp.losses.extremes import check_pre_activation, constraint_extremes
from jumpstart_exp.losses.recorded_passes import RecordedPasses
from jumpstart_exp.losses.stacked_extremes import stacked_extremes
from jumpstart_exp.measures.selection import Functions, Layers
from jumpstart_exp.settings import SettingError, check_settings, setting_error
from jumpstart_exp.specs.penalty import PenaltySpec

_WATCHES_NOTHING = (
    "the penalty watches no model (a copied or saved one does not): call watch(model), or give it pre-activations"
)

Extremes = Mapping[str, tuple[Tensor, Tensor]]
"""By kind (U, P, L) the largest and the smallest entry of every constraint of a layer, two flat tensors."""

TieDraws = Callable[[str, int, int], Tensor]
"""(constraint, layer, count) → `count` 32-bit draws as int64; constraints are "U+", "U-", "P+", "P-", "L+", "L-"."""


class SeparationPenalty(nn.Module):
    """Separation penalty on the hidden layers' pre-activations, before its weight λ.

    Every pair of deficits becomes v = balance·above + (1 − balance)·below, times the layer's weight; all v of all
    layers and kinds are aggregated: `sum` (1-norm), `mean`, `l2` = √Σv² (gradient 0 where all constraints are
    met), `sum_sq` = Σv² or `balanced`, the mean of the units' v plus that of the points'. Sources: CPAIOR, (3)–(12);
    SepCons, (20)–(29); balanced and sides: Riera, Puertas and Pujol, 2025.

    With a model of your own:

        penalty = SeparationPenalty("UP").watch(model)
        loss = criterion(model(x), y) + 1e-4 * penalty()

    `penalty()` is of the model's latest forward pass: call it before the next one. `watch` says which layers those are.

    Args:
        kind: `U` (units), `P` (points), `UP` (both) or `L` (layers).
        balance: ρ in [0, 1], the share of the deficit above.
        margin_above: what every maximum has to reach.
        margin_below: what every minimum has to reach.
        aggregate: `sum`, `mean`, `l2`, `sum_sq` or `balanced`.
        sides: the deficits that count, `both`, `above` or `below`: the other one's term is left out of every v.
        point_sides: of the points' pairs, where they differ from `sides` (`UP` only); None where they do not.
        upper_bound: B > 0, at least the larger margin's magnitude: extremes beyond ±B are deficits, too; None for none.
        ties: the gradient of a maximum that several entries share goes to all in equal parts (`shared`), to the
            lowest flat index in (point, channel, position) order (`single`), or to a drawn one (`random`).
        scope: with positions, one constraint a `channel` or point, or one for each `position` of it.
        layer_weights: λ_k of every hidden layer (SepCons, eq. 29); None for 1.

    Raises:
        SettingError: an argument has a value that is not allowed.
    """

    def __init__(
        self,
        kind: str = "UP",
        *,
        balance: float = 0.5,
        margin_above: float = 1.0,
        margin_below: float = -1.0,
        aggregate: str = "sum",
        sides: str = "both",
        point_sides: str | None = None,
        upper_bound: float | None = None,
        ties: str = "single",
        scope: str = "channel",
        layer_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        spec = PenaltySpec(
            kind=kind,
            balance=balance,
            margin_above=margin_above,
            margin_below=margin_below,
            aggregate=aggregate,
            sides=sides,
            point_sides=point_sides,
            upper_bound=upper_bound,
            ties=ties,
            scope=scope,
            layer_weights=None if layer_weights is None else tuple(layer_weights),
        )
        check_settings(spec, "penalty.")
        spec.check()
        if kind == "none":
            raise SettingError("penalty.kind='none' is not allowed: it must be one of U, P, UP, L")
        self.spec = spec
        self.by_indices = True
        """Whether extremes may be kept as indices: torch.func cannot vectorise that."""
        self._recorded: RecordedPasses | None = None

    @classmethod
    def from_spec(cls, spec: PenaltySpec) -> "SeparationPenalty":
        """The penalty that a cell describes; which layers it is given is the caller's to see to (`spec.layers`)."""
        penalty = cls(
            spec.kind,
            balance=spec.balance,
            margin_above=spec.margin_above,
            margin_below=spec.margin_below,
            aggregate=spec.aggregate,
            sides=spec.sides,
            point_sides=spec.point_sides,
            upper_bound=spec.upper_bound,
            ties=spec.ties,
            scope=spec.scope,
            layer_weights=spec.layer_weights,
        )
        penalty.spec = spec
        return penalty

    def watch(
        self,
        model: nn.Module,
        layers: Layers = None,
        *,
        functions: Functions = (),
        output_layer: bool = False,
        unit_axis: int | None = None,
        point_axis: int | None = None,
        passes: str = "one",
    ) -> "SeparationPenalty":
        """Record the model's pre-activations, so that the penalty can be called without arguments.

        They are found by themselves: the inputs of everything like a ReLU (modules, functions, methods), as it is
        computed. What is recorded are the extremes at that instant: nothing that happens to the tensors later changes
        them, and the model computes what it computes without. It ends with `remove()`, with the `with` block that it
        stands in, or with the penalty. Under autocast extremes are in float32. In a pass with gradients `penalty()` is
        of that pass until the next one begins, whatever runs under `torch.no_grad()` in between; called under
        `no_grad` it is of the latest pass.

        Args:
            model: any module. Every process of a DistributedDataParallel training has its own batch and its own
                penalty.
            layers: names (`head`), patterns (`layer3.*`) or types of modules: the activations called within them are
                the layers, and of a linear layer, a convolution or a recurrent one that is named itself its outputs or
                gates. None for all activations like ReLU.
            functions: names of functions, `tanh`, and types of modules that are activations, too.
            output_layer: whether the outputs of the linear layer or convolution called last are constrained, too.
            unit_axis: which axis of pre-activations with three or more has the units; None for what follows from how
                they were made: 1 of a convolution, (N, C, …), the last one of a linear layer, (N, T, C).
            point_axis: which axis has the points; None for 0, and 1 within modules that have `batch_first=False`.
            passes: of several forward passes with gradients that wait: `one` is an error, `sum` is the sum of their
                penalties, `latest` the last one's.

        Raises:
            SettingError: a setting is not allowed, or the model cannot be watched, because it is compiled or scripted.
        """
        # ties are drawn apart from what the model draws: watching must not change its dropout
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**63)

        def draws(constraint: str, layer: int, count: int) -> Tensor:
            return torch.randint(0, 2**32, (count,), dtype=torch.int64, generator=generator)

        recorded = RecordedPasses(
            model,
            partial(self.layer_extremes, tie_draws=draws),
            passes,
            layers=layers,
            functions=functions,
            output_layer=output_layer,
            unit_axis=unit_axis,
            point_axis=point_axis,
        )
        self.remove()
        self._recorded = recorded
        return self

    def extra_repr(self) -> str:
        """Its settings that are not as usual."""
        usual = PenaltySpec()
        names = [field.name for field in fields(PenaltySpec) if field.name not in ("weight", "schedule", "layers")]
        return ", ".join(
            f"{name}={getattr(self.spec, name)!r}"
            for name in names
            if name == "kind" or getattr(self.spec, name) != getattr(usual, name)
        )

    def remove(self) -> None:
        """End watching: the model is as it was."""
        if self._recorded is not None:
            self._recorded.watch.remove()
            self._recorded = None

    def __enter__(self) -> "SeparationPenalty":
        """For `with SeparationPenalty("UP").watch(model) as penalty:`."""
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """All that is computed within is one forward pass: for a training step that calls parts of the model.

        Raises:
            SettingError: no model is watched, or it is in its forward pass.
        """
        if self._recorded is None:
            raise SettingError(_WATCHES_NOTHING)
        with self._recorded.watch.one_pass():
            yield

    def forward(
        self,
        pre_activations: Sequence[Tensor] | None = None,
        *,
        unit_mask: Tensor | None = None,
        point_mask: Tensor | None = None,
        tie_draws: TieDraws | None = None,
    ) -> Tensor:
        """The penalty of one batch, a scalar.

        Args:
            pre_activations: of each hidden layer, (points, units) or (points, channels, *positions); None for
                those of the watched model's latest forward pass.
            unit_mask: True where a unit is real and not padding, shape (units,).
            point_mask: True where a point is real and not padding, shape (points,).
            tie_draws: draws for `random` ties; None takes torch's global generator.

        Raises:
            SettingError: nothing to work on, or not one layer weight a layer; pre-activations that are empty, or not
                real floating-point numbers.
        """
        if pre_activations is None:
            return self._of_recorded()
        if isinstance(pre_activations, Tensor):  # type: ignore[unreachable]
            raise SettingError("pre_activations is a tensor: it must be a list of them, one a layer")
        layers = pre_activations
        self._check_layers(len(layers))
        for layer, g in enumerate(layers):
            check_pre_activation(g, layer)
        is_small = all(g.dim() == 2 and g.dtype not in (torch.float16, torch.bfloat16) for g in layers)
        if unit_mask is None and point_mask is None and not is_small and self.takes_layers(layers):
            found = [self.layer_extremes(g, layer, tie_draws=tie_draws) for layer, g in enumerate(layers)]
            is_single = self.spec.scope == "channel" and self.spec.ties == "single"
            return self._of_groups(found, [range(len(layers))] if is_single else _equal_shapes(layers))
        pairs = []
        for indices in _equal_shapes(layers):
            g = torch.stack([layers[index].reshape(*layers[index].shape[:2], -1) for index in indices])
            for kind in self.spec.kind:
                masks = {"unit_mask": unit_mask, "point_mask": point_mask}
                v = self.pairs(kind, *self.extremes(g, kind, indices, tie_draws=tie_draws, **masks))
                if self.spec.layer_weights is not None:
                    rows = zip(indices, v, strict=True)
                    v = torch.stack([row * self.spec.layer_weights[index] for index, row in rows])
                pairs.append((kind, v.flatten()))
        return self._aggregate(pairs)

    def _of_recorded(self) -> Tensor:
        if self._recorded is None:
            raise SettingError(_WATCHES_NOTHING)
        values = [self.of_extremes(layers) for layers in self._recorded.read()]
        return values[0] if len(values) == 1 else torch.stack(values).sum()

    def _check_layers(self, count: int) -> None:
        if count == 0:
            raise SettingError("the penalty has no pre-activations: run the model first")
        weights = self.spec.layer_weights
        if weights is not None and len(weights) != count:
            raise SettingError(f"penalty.layer_weights has {len(weights)} numbers, the network {count} hidden layers")

    def layer_extremes(self, g: Tensor, layer: int, *, tie_draws: TieDraws | None = None) -> Extremes:
        """The extremes of one layer's constraints, for `of_extremes`; g may be changed in place afterwards.

        Values and gradient are of g as it is now: what is kept of it are indices. Both are exact whatever the precision
        of g: the values are in at least float32. An extreme over something that is no number is none.

        Args:
            g: pre-activations (points, channels, *positions).
            layer: its number, for the draws and in messages.
            tie_draws: as in `forward`.

        Raises:
            SettingError: g is empty, or not real floating-point numbers; shared or random ties in a CUDA graph.
        """
        check_pre_activation(g, layer)
        if self._is_captured(g):
            raise SettingError(f"penalty.ties={self.spec.ties!r} cannot be part of a CUDA graph: it must be single")
        draw = tie_draws or _global_draws
        spec = self.spec
        return constraint_extremes(
            g,
            spec.kind,
            ties=spec.ties,
            scope=spec.scope,
            draw=lambda constraint, count: draw(constraint, layer, count),
        )

    def takes_layers(self, layers: Sequence[Tensor]) -> bool:
        """Whether `layer_extremes` can be asked for them."""
        return self.by_indices and not any(self._is_captured(g) for g in layers)

    def _is_captured(self, g: Tensor) -> bool:
        """Whether it becomes part of a CUDA graph, in which tied entries cannot be listed."""
        return self.spec.ties != "single" and g.is_cuda and torch.cuda.is_current_stream_capturing()

    def extremes(
        self,
        g: Tensor,
        kind: str,
        layers: Sequence[int],
        *,
        unit_mask: Tensor | None = None,
        point_mask: Tensor | None = None,
        tie_draws: TieDraws | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The largest and the smallest entry of every constraint of one kind, each (layers, constraints).

        Args:
            g: pre-activations of equally shaped layers, (layers, points, channels, positions).
            kind: U, P or L.
            layers: the layers' numbers, for the draws.
            unit_mask: as in `forward`.
            point_mask: as in `forward`.
            tie_draws: as in `forward`.
        """
        return stacked_extremes(
            g,
            kind,
            layers,
            ties=self.spec.ties,
            scope=self.spec.scope,
            unit_mask=unit_mask,
            point_mask=point_mask,
            draw=tie_draws or _global_draws,
        )

    def of_extremes(self, layers: Sequence[Extremes]) -> Tensor:
        """The penalty of one batch, a scalar, from the extremes of its layers' constraints, input to output.

        Raises:
            SettingError: no layer, or not one layer weight a layer.
        """
        self._check_layers(len(layers))
        return self._of_groups(layers, [range(len(layers))])

    def _of_groups(self, layers: Sequence[Extremes], groups: Iterable[Iterable[int]]) -> Tensor:
        """Of extremes, added up group by group and in a group by kind: another order rounds otherwise."""
        pairs = []
        for group in groups:
            for kind in self.spec.kind:
                for layer in group:
                    v = self.pairs(kind, *layers[layer][kind]).flatten()
                    pairs.append((kind, v if self.spec.layer_weights is None else v * self.spec.layer_weights[layer]))
        return self._aggregate(pairs)

    def part(self, layer: int, extremes: Extremes) -> tuple[Tensor, tuple[int, ...]]:
        """What one layer brings to the penalty, for `of_parts`: (1,) or (kinds,), and of how many pairs each is.

        Args:
            layer: its number, for its weight.
            extremes: of its constraints.
        """
        found = [self.pairs(kind, *extremes[kind]).flatten() for kind in self.spec.kind]
        if self.spec.layer_weights is not None:
            found = [v * self.spec.layer_weights[layer] for v in found]
        v = torch.cat(found)
        match self.spec.aggregate:
            case "sum" | "mean":
                return v.sum()[None], (v.numel(),)
            case "l2":
                return torch.linalg.vector_norm(v)[None], (v.numel(),)
            case "sum_sq":
                return v.square().sum()[None], (v.numel(),)
            case "balanced":
                return torch.stack([own.sum() for own in found]), tuple(own.numel() for own in found)
            case other:
                raise _no_aggregate(other)

    def of_parts(self, parts: Sequence[tuple[Tensor, tuple[int, ...]]]) -> Tensor:
        """The penalty of one batch, a scalar, from the parts of all its layers.

        Raises:
            SettingError: no layer, or not one layer weight a layer.
        """
        self._check_layers(len(parts))
        values = torch.stack([value for value, _ in parts])
        match self.spec.aggregate:
            case "sum" | "sum_sq":
                return values.sum()
            case "mean":
                return values.sum() / sum(count for _, (count,) in parts)
            case "l2":
                norm: Tensor = torch.linalg.vector_norm(values)
                return norm
            case "balanced":
                counts = [sum(of_kind) for of_kind in zip(*(own for _, own in parts), strict=True)]
                sums = values.sum(0).unbind()
                return torch.stack([own / count for own, count in zip(sums, counts, strict=True)]).sum()
            case other:
                raise _no_aggregate(other)

    def pairs(self, kind: str, largest: Tensor, smallest: Tensor) -> Tensor:
        """The pairs of deficits v of constraints of one kind (U, P, L), from their extremes of any shape."""
        of_above, of_below = self.spec.shares(kind)
        above = torch.relu(self.spec.margin_above - largest)
        below = torch.relu(smallest - self.spec.margin_below)
        if self.spec.upper_bound is not None:  # no extreme is on both sides of what is allowed: the margins are within
            above = above + torch.relu(largest - self.spec.upper_bound)
            below = below + torch.relu(-self.spec.upper_bound - smallest)
        return of_above * above + of_below * below

    def _aggregate(self, pairs: list[tuple[str, Tensor]]) -> Tensor:
        """Of pairs with their kinds."""
        v = torch.cat([own for _, own in pairs]) if len(pairs) > 1 else pairs[0][1]
        match self.spec.aggregate:
            case "sum":
                return v.sum()
            case "mean":
                return v.mean()
            case "sum_sq":
                return v.square().sum()
            case "l2":
                norm: Tensor = torch.linalg.vector_norm(v)
                return norm
            case "balanced":
                kinds = [torch.cat([own for of, own in pairs if of == kind]).mean() for kind in self.spec.kind]
                return torch.stack(kinds).sum()
            case other:
                raise _no_aggregate(other)


def by_kind(kind: str, units: Tensor, points: Tensor) -> Extremes:
    """Extremes of the kinds U, P, L that `kind` names, from those of whole channels and points, `single` ties.

    Args:
        kind: as `PenaltySpec.kind`.
        units: maxima and minima (2, channels).
        points: maxima and minima (2, points); a layer's are those of its points, a tie the first point's.
    """
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for one in kind:
        match one:
            case "U":
                found["U"] = (units[0], units[1])
            case "P":
                found["P"] = (points[0], points[1])
            case "L":
                top, bottom = points[0].argmax(), points[1].argmin()
                found["L"] = (points[0].index_select(0, top[None]), points[1].index_select(0, bottom[None]))
            case other:
                raise setting_error("penalty.kind", other, "U, P, UP or L")
    return found


def _equal_shapes(layers: Sequence[Tensor]) -> Iterator[list[int]]:
    """Indices of layers that can be stacked: one group in a rectangular network."""
    groups: dict[torch.Size, list[int]] = {}
    for index, layer in enumerate(layers):
        groups.setdefault(layer.shape, []).append(index)
    yield from groups.values()


def _no_aggregate(name: str) -> SettingError:
    return setting_error("penalty.aggregate", name, "sum, mean, l2, sum_sq or balanced")


def _global_draws(constraint: str, layer: int, count: int) -> Tensor:
    return torch.randint(0, 2**32, (count,), dtype=torch.int64)
