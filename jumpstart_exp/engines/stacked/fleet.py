"""Networks in training as one batch of padded matrices.

Training and validation points go through the network together: what the training of an epoch sees of the validation
points is how the epoch before it validates. So an epoch is settled in the step after it, or with the whole set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.probe import Probe, Tensors
from jumpstart_exp.engines.replay import Replayed
from jumpstart_exp.engines.stacked.layers import Stack
from jumpstart_exp.engines.stacked.optimizers import optimizer_of
from jumpstart_exp.engines.stacked.parameters import Blocks
from jumpstart_exp.engines.stacked.penalty import Penalty
from jumpstart_exp.engines.stacked.record import Array, Branches, FleetRecord, WholeSet, array, tensor
from jumpstart_exp.engines.stacked.task import task_of
from jumpstart_exp.engines.training_state import TrainingState


class Fleet(FleetRecord):
    """Networks in training as one batch.

    Args:
        cells: of one dataset and one `StackedEngine.fleet_group`.
        data: their dataset.
        device: where they are trained.
        curve_every: epochs between evaluations of the training set; None for about 100 in all.
        initial: weights by torch's names for the network of a single cell; None for the cells' own.
        states: where the cells go on from, all after the same epoch; None to begin.
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
        places = sorted(range(len(cells)), key=lambda index: -cells[index].depth)
        super().__init__(cells, places, device, curve_every)
        cells = self.cells
        self.anneal_epochs = max(cell.dropout.anneal_epochs if cell.dropout.rate else 0 for cell in cells)
        self.stack = Stack(cells, data, device)
        self.n_params = self.stack.load(initial)
        self.penalty = Penalty(self.stack) if cells[0].penalty_weight else None
        self.optimizer = optimizer_of(cells, self.stack.weights.flat, self.stack.gradients.flat, self.stack.owners)
        self.task = task_of(cells, data, device, self.stack.dtype)
        self.replayed = Replayed(device) if device.type == "cuda" else None
        self.begin(states)

    def train_epoch(self) -> None:
        """One epoch of every network; it is settled by the next step or evaluation."""
        dropout = self.epochs_done < self.anneal_epochs
        if self.replayed is None:
            self.step(dropout)
        else:
            self.replayed(partial(self.step, dropout), dropout)

    @torch.no_grad()
    def probe(self, steps: int) -> list[Probe]:
        """Every cell's next step after so many, before its update."""
        for epoch in range(steps):
            self.step(epoch < self.anneal_epochs)
        _, terms = self.compute(steps < self.anneal_epochs)
        task, penalty = terms["task"], terms.get("separation", torch.zeros_like(terms["task"]))
        weights, gradients = self.stack.weights, self.stack.gradients
        probes = {
            place: Probe(
                task[index].item(), penalty[index].item(), self._named(gradients, index), self._named(weights, index)
            )
            for index, place in enumerate(self.places)
        }
        return [probes[place] for place in sorted(probes)]

    def _named(self, blocks: Blocks, index: int) -> dict[str, Array]:
        return {name: array(value).copy() for name, value in self.stack.named(blocks, index).items()}

    def step(self, dropout: bool) -> None:
        """One epoch of every network: calls on fixed tensors that neither wait for the device nor ask it anything."""
        train_acc, terms = self.compute(dropout)
        self.optimizer.step(self.ledger.epochs_done)
        is_finite = self.stack.finite_networks()
        for name, term in terms.items():
            if name != "task":  # of which validation sees to it
                is_finite &= term.isfinite()
        self.ledger.record_training(train_acc, terms["task"], is_finite)

    def compute(self, dropout: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Training accuracy and loss terms before their weights, by name, of every network; their losses' gradients.

        What the validation points give settles the epoch before.
        """
        stack, epoch = self.stack, self.ledger.epochs_done
        if dropout:
            stack.drop(epoch)
        stack.forward(training=True, dropout=dropout)
        (train_acc, train_loss), validation = self.task.judge(stack.logits)
        self.ledger.record_validation(*validation)
        terms = {"task": train_loss}
        if self.penalty is not None:
            stack.grad_pre.zero_()
            terms["separation"] = self.penalty(stack.pre_train, stack.by_channel(stack.grad_pre), epoch)
        stack.backward(self.task.gradient(stack.logits), has_penalty=self.penalty is not None, dropout=dropout)
        return train_acc, terms

    def evaluate_training_set(self) -> WholeSet:
        """Penalty and census of the training points in evaluation mode; settles the epoch."""
        stack = self.stack
        stack.forward(training=False, dropout=False)
        penalty = None if self.penalty is None else self.penalty(stack.pre_train)
        is_last = self.epochs_done == self.epochs
        self.ledger.record_validation(
            *self.task.judge(stack.logits)[1], penalty.isfinite() if is_last and penalty is not None else None
        )
        rows, dead_at_some_layer = map(array, stack.census())
        rows_of = stack.rows_of.cpu().numpy()
        census = [rows[:, rows_of[index, : cell.depth]] for index, cell in enumerate(self.cells)]
        return WholeSet(None if penalty is None else array(penalty), census, dead_at_some_layer)

    def branches(self) -> Callable[[int], Branches]:
        """What gives a network's branches of its training state, as they are now."""
        stack = self.stack
        flats = {"parameters": stack.weights.flat, **self.optimizer.slots}
        parts = {name: Blocks.of(flat.cpu(), stack.block_shapes) for name, flat in flats.items()}
        running = None if stack.norm is None else torch.stack([stack.norm.mean, stack.norm.variance]).cpu()[..., 0, 0]

        def of_network(index: int) -> Branches:
            cell, rows = self.cells[index], stack.rows_of[index, : self.cells[index].depth].cpu()
            own = {name: array(stack.flat(blocks, index)) for name, blocks in parts.items()}
            network = {
                "parameters": own.pop("parameters"),
                "running": np.zeros((2, cell.depth, 0)) if running is None else array(running[:, rows, : cell.width]),
            }
            return network, {}, own

        return of_network

    def fill(self, states: Sequence[TrainingState]) -> None:
        """The other way: every network's, in the fleet's order."""
        stack = self.stack
        self._fill(stack.weights.flat, [own.network["parameters"] for own in states])
        for name, slot in self.optimizer.slots.items():
            self._fill(slot, [own.optimizer[name] for own in states])
        if stack.norm is None:
            return
        host_running = torch.stack([stack.norm.mean, stack.norm.variance]).cpu()
        for index, own in enumerate(states):
            rows = stack.rows_of[index, : self.cells[index].depth].cpu()
            host_running[:, rows, : self.cells[index].width, 0, 0] = tensor(own.network["running"], stack.dtype)
        stack.norm.mean.copy_(host_running[0])
        stack.norm.variance.copy_(host_running[1])

    def _fill(self, target: Tensor, vectors: Sequence[Array]) -> None:
        """A number for every parameter, from each network's vector."""
        host = Blocks.zeros(self.stack.block_shapes, torch.device("cpu"), self.stack.dtype)
        for index, own in enumerate(vectors):
            self.stack.fill(host, index, own)
        target.copy_(host.flat)
