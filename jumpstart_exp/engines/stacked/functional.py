"""Networks of one architecture in training as one batch: the reference's network and loss, vectorised by torch.func.

What has no pass written for padded networks (`fleet.py`) trains here: whatever `networks`, `losses` and `methods` have,
as long as `torch.func.vmap` takes it. The networks agree in all but numbers that stand outside of the network: seed,
initial weights, weights of the terms, dropout, the optimizer's settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.eager.forward import evaluation_mode, layer_fractions
from jumpstart_exp.engines.eager.resets import dormant_units, is_due
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.engines.schedules import penalty_factor
from jumpstart_exp.engines.stacked.draws import Draws, TieNotes, tie_draws
from jumpstart_exp.engines.stacked.layer_rules import LayersOptimizer
from jumpstart_exp.engines.stacked.record import Array, Branches, FleetRecord, WholeSet, array, tensor
from jumpstart_exp.engines.stacked.relaxed import RelaxedValues
from jumpstart_exp.engines.training_state import TrainingState
from jumpstart_exp.losses.task import spread_of, task_of
from jumpstart_exp.methods import methods_of, relaxation_of
from jumpstart_exp.methods.interface import Batch
from jumpstart_exp.methods.regulariser import Regulariser
from jumpstart_exp.methods.relaxation import Relaxation
from jumpstart_exp.methods.separation import Separation
from jumpstart_exp.networks.build import affine_layer, build, count_parameters, dtype, parameter_shapes, running_shape
from jumpstart_exp.networks.initialisation import drawn
from jumpstart_exp.networks.mlp import RectangularMLP
from jumpstart_exp.networks.norms import NORMS

_NUMBERS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 26}
"""Numbers of all layers' activations that an evaluation has in memory: networks are evaluated in parts."""

Named = dict[str, Tensor]


class FunctionalFleet(FleetRecord):
    """Networks in training as one batch of `torch.func.vmap`.

    Args:
        cells: of one dataset and one `StackedEngine.fleet_group`.
        data: their dataset.
        device: where they are trained.
        curve_every: epochs between evaluations of the training set; None for about 100 in all.
        initial: weights by torch's names for the network of a single cell; None for the cells' own.
        states: where the cells go on from, all after the same epoch; None to begin.

    Raises:
        ValueError: a method trains something of its own beside the network.
    """

    @torch.no_grad()
    def __init__(
        self,
        cells: Sequence[Cell],
        data: Data,
        device: torch.device,
        curve_every: int | None = None,
        *,
        initial: Tensors | None = None,
        states: Sequence[TrainingState] | None = None,
    ) -> None:
        super().__init__(cells, range(len(cells)), device, curve_every)
        one = cells[0]
        self.data, self.device, self.dtype = data, device, dtype(one)
        self.x_train, self.x_val = (
            x.to(device) if data.mean else x.to(device, self.dtype) for x in (data.x_train, data.x_val)
        )
        self.task = task_of(one.dataset)
        self.score: Callable[[Any, Any, float], Any] = self.task.score  # of tensors as of numbers
        self.spreads = [spread_of(one.dataset, y) for y in (data.y_train, data.y_val)]
        self.y_train, self.y_val = (self.task.targets(y, self.dtype).to(device) for y in (data.y_train, data.y_val))
        self.methods = methods_of(one)
        for method in self.methods:
            if isinstance(method, Separation):
                method.penalty.by_indices = False
        if any(method.extra_parameters(one, data) for method in self.methods if not isinstance(method, Relaxation)):
            raise ValueError("the engine stacked trains nothing beside the network but relaxed values")
        self.weights_of_terms = {"task": torch.tensor([float(cell.task_loss) for cell in cells])}
        for name in {name for method in self.methods for name in method.weights}:
            of_cells = [
                {k: v for method in methods_of(cell) for k, v in method.weights.items()}[name] for cell in cells
            ]
            self.weights_of_terms[name] = torch.tensor(of_cells, dtype=torch.float64)
        self.weights_of_terms = {name: own.to(device, self.dtype) for name, own in self.weights_of_terms.items()}
        self.draws = Draws(cells, device)
        self.batch_count = math.ceil(len(self.x_train) / one.batch_size)
        self.steps = 0
        self._load(initial)
        self.optimizer = LayersOptimizer(cells, self.shapes, self.weights, self.gradients, self.batch_count)
        self.relaxed = None
        if relaxation_of(self.methods) is not None:
            assert isinstance(self.network, RectangularMLP)
            self.relaxed = RelaxedValues(self.cells, data, self.weights, self.network)
        self.plain: tuple[Tensor, Tensor] | None = None  # score and loss of the training points, by the plain network
        self.ties: dict[int, TieNotes] = {}  # by batch size
        self.begin(states)

    def _load(self, initial: Tensors | None) -> None:
        """The networks' initial weights, their own or those by torch's names."""
        networks = [build(cell) for cell in self.cells]
        self.network = networks[0].to(self.device).requires_grad_(False)
        self.n_params = [count_parameters(network) for network in networks]
        self.shapes = parameter_shapes(self.cells[0])
        self.numbers = sum(map(math.prod, self.shapes.values()))
        rows = []
        for network in networks:
            own = {name: value.detach() for name, value in network.named_parameters()}
            if initial is not None:
                own = {name: torch.from_numpy(np.asarray(initial[name])) for name in own}
            rows.append(torch.cat([own[name].to(self.device, self.dtype).flatten() for name in self.shapes]))
        self.weights = torch.cat(rows)
        self.gradients = torch.zeros_like(self.weights)
        self.buffers = {
            name: torch.stack([dict(network.named_buffers())[name].to(self.device) for network in networks])
            for name, _ in self.network.named_buffers()
        }

    def train_epoch(self) -> None:
        """One epoch of every network, which the validation points settle, or the evaluation of the training set."""
        epoch, n_train = self.epochs_done, len(self.x_train)
        right = loss = torch.zeros(len(self.cells), dtype=torch.float64, device=self.device)
        others = torch.zeros_like(right)
        if self.relaxed is not None and self.plain is None:  # where it begins, or goes on
            self._validate()
        plain = self.plain
        orders = None if self.batch_count == 1 else self.draws.orders(epoch, n_train)
        for batch in range(self.batch_count):
            points, size = None, n_train
            if orders is not None:
                points = orders[:, batch * self.cells[0].batch_size :][:, : self.cells[0].batch_size]
                size = points.shape[1]
            terms, found = self.step(epoch, batch, points)
            right, loss = right + found, loss + terms.pop("task").double() * size
            for term in terms.values():
                others = others + term.double()
        is_finite = (others + self.weights.view(len(self.cells), -1).mul(0).sum(1)).isfinite()
        score, loss = self.score(loss / n_train, right / n_train, self.spreads[0]), loss / n_train
        if self.relaxed is not None:
            assert plain is not None
            score, loss = plain
            is_finite &= self.relaxed.rows.mul(0).sum(1).isfinite()
        self.ledger.record_training(score, loss, is_finite)
        if not self._is_looked_at(epoch + 1):
            self.ledger.record_validation(*self._validate())

    def _is_looked_at(self, epoch: int) -> bool:
        """Whether the epoch, counted from 1, ends with an evaluation of the training set."""
        return epoch in (1, self.epochs) or epoch % self.curve_every == 0

    def step(self, epoch: int, batch: int, points: Tensor | None) -> tuple[Named, Tensor]:
        """One step of all networks; arguments and result as `compute` has them."""
        terms, right = self.compute(epoch, batch, points)
        steps = torch.tensor(self.steps, device=self.device)
        self.optimizer.step(steps)
        if self.relaxed is not None:
            self.relaxed.optimizer.step(steps)
        self.steps += 1
        if is_due(self.cells[0], self.steps):
            self._reset_dormant_units()
        return terms, right

    def _reset_dormant_units(self) -> None:
        """As `eager.resets` does it with one network, by the pre-activations of the step before."""
        cell, network, parameters = self.cells[0], self.network, self._all()
        slots = [self._named(slot) for slot in self.optimizer.slots.values()]

        def put(name: str, where: Tensor, values: Tensor) -> None:
            """Values into those places of the networks, and 0 into the slots there."""
            where = where.expand_as(parameters[name])
            parameters[name].copy_(torch.where(where, values, parameters[name]))
            for slot in slots:
                slot[name].masked_fill_(where, 0)

        dormant = []
        for layer, pre in enumerate(self.pre_activations):
            number = parameters[f"slopes.{layer}"] if network.activation.is_trained else network.number
            of = 0 if network.activation.is_trained else None
            h = vmap(network.activation.value, in_dims=(0, of))(pre, number)
            outputs = network.activation.outputs
            dormant.append(vmap(partial(dormant_units, outputs=outputs, tau=cell.reset.tau))(h))
        for layer, units in enumerate(dormant):
            names = [f"hidden.{layer}.{last}" for last in ("weight", "bias")]
            fresh = [torch.zeros_like(parameters[name]) for name in names]
            for index in units.any(1).nonzero()[:, 0].tolist():
                own, draw = self.cells[index], self.steps // cell.reset.every
                begins = drawn(
                    affine_layer(own, layer, self.shapes[names[0]], draw), own.network.init, own.network.init_source
                )
                for values, begin in zip(fresh, begins, strict=True):
                    values[index].copy_(torch.from_numpy(begin))
            for name, values in zip(names, fresh, strict=True):
                put(name, units.view(*units.shape, *[1] * (values.dim() - 2)), values)
        for layer, units in enumerate(dormant, 1):
            name = "output.weight" if layer == cell.depth else f"hidden.{layer}.weight"
            inputs, weight = units.repeat(1, network.activation.outputs), parameters[name]
            if name == "output.weight":
                inputs = inputs.repeat_interleave(weight.shape[2] // inputs.shape[1], 1)
            put(name, inputs.view(len(inputs), 1, -1, *[1] * (weight.dim() - 3)), torch.zeros_like(weight))

    def compute(self, epoch: int, batch: int, points: Tensor | None) -> tuple[Named, Tensor]:
        """Terms of a batch's loss before their weights, and how many points are right, (networks,); gradients beside.

        Args:
            epoch: counted from 0.
            batch: number of the batch in its epoch.
            points: every network's own, (networks, points); None for all in order.
        """
        indices = torch.arange(len(self.x_train), device=self.device) if points is None else points
        x, y = (self.x_train, self.y_train) if points is None else (self.x_train[points], self.y_train[points])
        x = self.data.inputs(x, self.dtype)
        draws: dict[str, Any] = {"dropout": self.draws.dropout(epoch, indices), "ties": {}}
        if self.cells[0].penalty_weight and self.cells[0].penalty.ties == "random":
            draws["ties"] = self.draws.ties(self._tie_requests(x, y, points is None), epoch, batch, indices)
        if self.relaxed is not None and self.relaxed.of.is_renewed(self.steps):
            self.relaxed.renew(self._all(), self.buffers, self.weights.view(len(self.cells), -1), x.flatten(1))
        with torch.enable_grad():
            leaves = [self.weights.view(len(self.cells), -1).detach().requires_grad_()]
            if self.relaxed is not None:
                leaves.append(self.relaxed.rows.detach().requires_grad_())
            of = None if points is None else 0  # the same points, or every network's own
            # made anew: kept, it would keep the fleet, and its memory, until Python looks for cycles
            loss = vmap(self._loss, in_dims=(0, 0, 0, of, of, 0, 0))
            total, terms, right, buffers, pre_activations = loss(
                self._named(leaves[0]), self.buffers, self._weights_now(), x, y, draws, leaves
            )
            gradients, *of_relaxed = torch.autograd.grad(total.sum(), leaves)
            for method in self.methods:
                if isinstance(method, Regulariser):
                    method.check_gradient(terms["regulariser"])
        self.gradients.view(len(self.cells), -1).copy_(gradients)
        if self.relaxed is not None:
            self.relaxed.gradients.view(len(self.cells), -1).copy_(of_relaxed[0])
        self.buffers = {name: buffer.detach() for name, buffer in buffers.items()}
        self.pre_activations = [pre.detach() for pre in pre_activations]
        return {name: term.detach() for name, term in terms.items()}, right

    def _weights_now(self) -> Named:
        """Of the loss's terms in the step to come: λ by its schedule."""
        weights = dict(self.weights_of_terms)
        if "separation" in weights:
            factor = penalty_factor(self.cells[0].penalty, self.steps, self.epochs * self.batch_count)
            weights["separation"] = weights["separation"] * factor
        if self.relaxed is not None:
            factors = self.relaxed.factors(self.steps, self.epochs * self.batch_count)
            weights["relaxation"] = weights["relaxation"] * factors
        return weights

    def _loss(
        self,
        parameters: Named,
        buffers: Named,
        weights: Named,
        x: Tensor,
        y: Tensor,
        draws: Mapping[str, Any],
        leaves: Sequence[Tensor],
    ) -> tuple[Tensor, Named, Tensor, Named, Sequence[Tensor]]:
        """One network's loss of a batch, as the reference has it: total, terms, right predictions, new buffers.

        And the pre-activations, where dormant units begin anew. `leaves` are its parameters in one vector, and z.
        """
        relaxed: Sequence[Tensor] | None = None
        if self.relaxed is None:
            outputs, pre_activations, buffers = self._forward(parameters, buffers, x, draws["dropout"])
            judged = outputs
        else:
            (flat, z), state = leaves, {**parameters, **buffers}
            outputs, pre_activations, judged, losses = self.relaxed.forward(state, flat, z, x.flatten(1))
            relaxed = losses.unbind(0)
        ties = tie_draws(draws["ties"]) if draws["ties"] else None
        seen = Batch(outputs, pre_activations, tie_draws=ties, network=parameters, relaxed=relaxed)
        terms = {"task": self.task.loss(judged, y)}
        for method in self.methods:
            terms |= method.loss_terms(seen)
        descended = [weights[name] * term for name, term in terms.items() if name != "task" or self.cells[0].task_loss]
        right = self.task.right(judged, y)
        kept = pre_activations if self.cells[0].reset.every else []
        return torch.stack(descended).sum(), terms, right, buffers, kept

    def _forward(
        self, parameters: Named, buffers: Named, x: Tensor, dropout: Sequence[Tensor] = ()
    ) -> tuple[Tensor, Sequence[Tensor], Named]:
        buffers = {name: buffer.clone() for name, buffer in buffers.items()}  # norms write into them
        state = {**parameters, **buffers}
        outputs, pre_activations = functional_call(self.network, state, (x.flatten(1), list(dropout) or None))
        return outputs, pre_activations, buffers

    def _tie_requests(self, x: Tensor, y: Tensor, is_whole: bool) -> Mapping[tuple[str, int], int]:
        """What a network draws for a batch of that size, found by doing it once."""
        size = len(y) if is_whole else y.shape[1]
        if size not in self.ties:
            notes = self.ties[size] = TieNotes()
            parameters, buffers = ({name: own[0] for name, own in of.items()} for of in (self._all(), self.buffers))
            outputs, pre_activations, _ = self._forward(parameters, buffers, x if is_whole else x[0])
            for method in self.methods:
                if isinstance(method, Separation):
                    method.loss_terms(Batch(outputs, pre_activations, tie_draws=notes, network=parameters))
        return self.ties[size].requests

    @torch.no_grad()
    def probe(self, steps: int) -> list[Probe]:
        """Every cell's next full-batch step after so many, before its update."""
        for epoch in range(steps):
            self.step(epoch, 0, None)
        terms, _ = self.compute(steps, 0, None)
        penalty = terms.get("separation", torch.zeros_like(terms["task"]))
        gradients, weights = (self._named(flat.view(len(self.cells), -1)) for flat in (self.gradients, self.weights))

        def own(of: Named, index: int) -> dict[str, Array]:
            return {name: array(values[index]).copy() for name, values in of.items()}

        probes = [
            Probe(terms["task"][index].item(), penalty[index].item(), own(gradients, index), own(weights, index))
            for index in range(len(self.cells))
        ]
        if (relaxed := self.relaxed) is None:
            return probes
        flats = (relaxed.gradients.view(len(self.cells), -1), relaxed.rows)
        gradients, values = map(relaxed.named, flats)
        return [
            replace(
                probe,
                relaxation=terms["relaxation"][index].item(),
                method_gradients=own(gradients, index),
                method_parameters=own(values, index),
            )
            for index, probe in enumerate(probes)
        ]

    def evaluate_training_set(self) -> WholeSet:
        """Penalty and census of the training points in evaluation mode; settles the epoch."""

        def look(parameters: Named, buffers: Named, x: Tensor) -> tuple[Named, Tensor, Tensor]:
            outputs, pre_activations, _ = self._forward(parameters, buffers, x)
            seen = Batch(outputs, pre_activations, tie_draws=TieNotes(), network=parameters)
            separation = {name: term for method in self.methods for name, term in method.evaluate(seen).items()}
            numbers = [parameters.get(f"slopes.{layer}", self.network.number) for layer in range(len(pre_activations))]
            return separation, *layer_fractions(self.network.activation, numbers, pre_activations)

        x = self.data.inputs(self.x_train, self.dtype)
        measured, census, dead_at_some_layer = self._evaluated(look, len(self.x_train))(self._all(), self.buffers, x)
        penalty = measured.pop("separation", None)
        if measured:
            raise ValueError(f"there is no column for what a method measures: {', '.join(measured)}")
        is_last = self.epochs_done == self.epochs
        self.ledger.record_validation(
            *self._validate(), penalty.isfinite() if is_last and penalty is not None else None
        )
        return WholeSet(
            None if penalty is None else array(penalty),
            list(array(census)),
            array(dead_at_some_layer),
            None if self.relaxed is None else array(self._measured(x)),
        )

    def _measured(self, x: Tensor) -> Tensor:
        """How far relaxed passes are from the plain ones, (networks, 2 + relaxed layers), in evaluation mode."""
        relaxed = self.relaxed
        assert relaxed is not None

        def measure(parameters: Named, rest: tuple[Named, Sequence[Tensor]], x: Tensor) -> Tensor:
            buffers, (flat, z) = rest
            plain = self._forward(parameters, buffers, x)[0]
            _, _, judged, losses = relaxed.forward({**parameters, **buffers}, flat, z, x.flatten(1))
            return relaxed.measured(plain, judged, losses, z)

        rows = [self.weights.view(len(self.cells), -1), relaxed.rows]
        found: Tensor = self._evaluated(measure, len(x))(self._all(), (self.buffers, rows), x)
        return found

    def _validate(self) -> tuple[Tensor, Tensor]:
        """Accuracy or R², and mean loss, of the validation points in evaluation mode, (networks,) each.

        With relaxed layers of the training points, too, for the epoch to come: what is told is of the plain network.
        """
        train, val = (self.data.inputs(x, self.dtype) for x in (self.x_train, self.x_val))
        if self.relaxed is None:
            return self._judged(val, [self.y_val], self.spreads[1:])[0]
        self.plain, found = self._judged(torch.cat([train, val]), [self.y_train, self.y_val], self.spreads)
        return found

    def _judged(self, x: Tensor, targets: Sequence[Tensor], spreads: Sequence[float]) -> list[tuple[Tensor, Tensor]]:
        """Score and mean loss, (networks,) each, of sets of points that follow each other, by the plain networks."""
        sizes = list(map(len, targets))

        def judge(parameters: Named, buffers: Named, x: Tensor) -> list[tuple[Tensor, Tensor]]:
            outputs = self._forward(parameters, buffers, x)[0]
            parts = zip(torch.split(outputs, sizes), targets, strict=True)
            return [(self.task.right(own, y), self.task.loss(own, y)) for own, y in parts]

        found = self._evaluated(judge, len(x))(self._all(), self.buffers, x)
        return [
            (self.score(loss.double(), right.double() / size, spread), loss)
            for (right, loss), size, spread in zip(found, sizes, spreads, strict=True)
        ]

    def _evaluated(self, what: Callable[..., Any], points: int) -> Callable[..., Any]:
        """What is computed of one network (parameters, buffers, points), of all, in evaluation mode."""
        one = self.cells[0]
        numbers = points * max(one.dataset.features, one.depth * one.width * one.positions)
        at_once = max(1, _NUMBERS_AT_ONCE[self.device.type] // numbers)
        vectorised = vmap(what, in_dims=(0, 0, None), chunk_size=at_once)

        def in_evaluation_mode(*arguments: Any) -> Any:
            with evaluation_mode(self.network.norms):
                return vectorised(*arguments)

        return in_evaluation_mode

    def branches(self) -> Callable[[int], Branches]:
        """What gives a network's branches of its training state, as they are now."""
        rows = {"parameters": self.weights.view(len(self.cells), -1), **self.optimizer.slots}
        host = {name: array(own) for name, own in rows.items()}
        running, relaxed = self._running(), None
        if self.relaxed is not None:
            relaxed = array(self.relaxed.rows)
            host |= {name: np.concatenate([host[name], own], 1) for name, own in self.relaxed.slots().items()}

        def of_network(index: int) -> Branches:
            own = {name: values[index] for name, values in host.items()}
            method = {} if relaxed is None else {"z": relaxed[index]}
            return {"parameters": own.pop("parameters"), "running": running[index]}, method, own

        return of_network

    def _running(self) -> Array:
        """Running statistics of the norms, (networks, statistics, depth, width); width 0 without any."""
        cell, networks = self.cells[0], len(self.cells)
        statistics = NORMS[cell.network.norm].statistics
        found = np.zeros((networks, *running_shape(cell)))
        for number, name in enumerate(statistics):
            for layer, width in enumerate(cell.widths):
                found[:, number, layer, :width] = array(self.buffers[f"norms.{layer}.{name}"])
        return found

    def fill(self, states: Sequence[TrainingState]) -> None:
        """The other way: every network's, in the fleet's order."""

        def of_all(vectors: Sequence[Array]) -> Tensor:
            return tensor(np.stack(vectors), self.dtype).to(self.device)

        self.weights.view(len(states), -1).copy_(of_all([own.network["parameters"] for own in states]))
        names = self.optimizer.slots
        self.optimizer.fill({name: of_all([own.optimizer[name][: self.numbers] for own in states]) for name in names})
        if self.relaxed is not None:
            self.relaxed.fill(states)
        for number, name in enumerate(NORMS[self.cells[0].network.norm].statistics):
            for layer, width in enumerate(self.cells[0].widths):
                rows = np.stack([own.network["running"][number, layer, :width] for own in states])
                self.buffers[f"norms.{layer}.{name}"].copy_(tensor(rows, self.dtype))
        self.steps = self.epochs_done * self.batch_count

    def _all(self) -> Named:
        return self._named(self.weights.view(len(self.cells), -1))

    def _named(self, rows: Tensor) -> Named:
        """Parameters by torch's names, (networks, *shape) each: views of (networks, parameters)."""
        parts = torch.split(rows, [math.prod(shape) for shape in self.shapes.values()], dim=1)
        named = zip(self.shapes.items(), parts, strict=True)
        return {name: part.view(len(rows), *shape) for (name, shape), part in named}
