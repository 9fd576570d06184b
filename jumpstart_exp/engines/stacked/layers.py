"""The networks of a fleet as tensors: forward and backward pass, dropout, census.

A *row* is a hidden layer of a network. Networks are sorted deepest first, so that layer l is a batched matrix product
over the first n_l networks, and all rows lie in one tensor, layer after layer. Units are padded to the widest network:
padded weights are zero, so padded units are zero and stay so. The 2×1 layout is an MLP of width·2 units, unit =
channel·2 + position, whose matrices are put together from the kernels. A bias is a weight of an input that is 1.
The backward pass is written out, so that all of a step's work is a fixed list of calls on fixed tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jumpstart_exp.cell import Cell
from jumpstart_exp.data.loading import Data
from jumpstart_exp.engines.probe import Tensors
from jumpstart_exp.engines.stacked.layout import LayerLayout
from jumpstart_exp.engines.stacked.norm import BatchNorm
from jumpstart_exp.engines.stacked.parameters import Blocks, fold, unfold
from jumpstart_exp.engines.stacked.random_bits import draws_of_rows
from jumpstart_exp.networks.activations import ACTIVATIONS
from jumpstart_exp.networks.blocks import block
from jumpstart_exp.networks.build import build
from jumpstart_exp.networks.norms import NORMS
from jumpstart_exp.randomness import Stream
from jumpstart_exp.result import DORMANT_TAU
from jumpstart_exp.settings import setting_error

_MOST_PRODUCTS = 65_535
"""Matrix products of one call: a dimension of a CUDA kernel's grid ends there."""


class Leaving(NamedTuple):
    """What some of a layer's networks hand on, (networks, units, points) each."""

    pre: Tensor
    post: Tensor  # where their activations go
    kept: Tensor | None  # their dropout
    padding: Tensor | None  # (networks, units, 1): what has an activation without being a unit; None where nothing has


@dataclass(frozen=True)
class Layer:
    """A hidden layer of the networks that have it: views of the stack's tensors, (networks, units, points) each."""

    rows: slice
    weights: Tensor  # (networks, units, inputs + 1)
    weights_transposed: Tensor  # (networks, inputs, units)
    entering: Tensor | None  # the layer's inputs; None for the points themselves
    kept: Tensor | None  # their dropout
    affine: Tensor
    pre_train: Tensor
    leaving: Sequence[Leaving]
    grad_pre: Tensor
    grad_out: Tensor


class Stack(LayerLayout):
    """The networks' tensors, and what runs through them: dropout, forward and backward pass, census.

    Args:
        cells: of one `StackedEngine.fleet_group`, deepest first.
        data: their dataset.
        device: where the networks are.
    """

    def __init__(self, cells: Sequence[Cell], data: Data, device: torch.device) -> None:
        super().__init__(cells, len(data.x_train), device)
        one = cells[0]
        self.features = one.dataset.features
        self.outputs = one.dataset.outputs
        self.activation = block(ACTIVATIONS, "network.activation", one.network.activation)
        self.has_norm = bool(block(NORMS, "network.norm", one.network.norm).parameters)
        self.has_dropout = one.dropout.rate > 0
        x = torch.cat([data.x_train, data.x_val]).to(device, self.dtype).T
        self.x = torch.cat([x, torch.ones_like(x[:1])])
        self._allocate(self.x.shape[1])
        self.norm: BatchNorm | None
        match one.network.norm:
            case "none":
                self.norm = None
            case "batch":
                self.norm = BatchNorm(
                    self, self.weights.norm, self.gradients.norm, self.affine, self.pre, self.grad_pre
                )
            case other:
                raise setting_error("network.norm", other, "none or batch for the engine stacked")
        self.layers = [self._layer(index) for index in range(one.depth)]

    def _allocate(self, points: int) -> None:
        networks, rows, units = len(self.cells), self.n_rows, self.units

        def new(*shape: int) -> Tensor:
            return torch.ones(shape, device=self.device, dtype=self.dtype)

        self.inputs, self.last = new(rows - networks, units + 1, points), new(networks, units + 1, points)
        self.pre, self.logits = new(rows, units, points), new(networks, self.outputs, points)
        self.affine = new(rows, units, points) if self.has_norm else self.pre
        self.pre_train = self.by_channel(self.pre)[..., : self.n_train]
        self.grad_pre, self.grad_out = new(rows, units, self.n_train), new(networks, units, self.n_train)
        if self.has_dropout:
            self.kept, self.dropped_x = new(rows - networks, units, points), self.x.expand(networks, -1, -1).clone()
            rates = (cell.dropout.rate for cell in self.cells)
            epochs = (float(cell.dropout.anneal_epochs) for cell in self.cells)
            self.rates, self.anneal_epochs = self.numbers(rates), self.numbers(epochs)
        self.block_shapes = [
            (networks, self.width, self.features + 1),
            (rows - networks, self.width, units + 1),
            (2, rows, self.width if self.has_norm else 0),
            (networks, self.outputs, units + 1),
        ]
        self.weights, self.gradients = (Blocks.zeros(self.block_shapes, self.device, self.dtype) for _ in range(2))
        # the matrices over units, first and hidden: the blocks' own, or room for those made of kernels
        self.matrices = [self.weights.first, self.weights.hidden]
        self.matrix_gradients = [self.gradients.first, self.gradients.hidden]
        if self.positions > 1:
            shapes = [(len(block), units, block.shape[2]) for block in self.matrices]
            self.matrices, self.matrix_gradients = ([new(*shape).zero_() for shape in shapes] for _ in range(2))

    def _layer(self, index: int) -> Layer:
        networks, count, train = len(self.cells), self.counts[index], slice(0, self.n_train)
        deeper = self.counts[index + 1] if index + 1 < len(self.counts) else 0
        rows = slice(self.starts[index], self.starts[index] + count)
        here = slice(rows.start - networks, rows.stop - networks)  # among the rows of later layers
        onward = slice(here.stop, here.stop + deeper)
        pre = self.pre[rows]
        leaving: list[Leaving] = []
        if deeper:
            kept = self.kept[onward] if self.has_dropout else None
            leaving.append(Leaving(pre[:deeper], self.inputs[onward, :-1], kept, self._padding(rows, 0, deeper)))
        if deeper < count:
            padding = self._padding(rows, deeper, count)
            leaving.append(Leaving(pre[deeper:], self.last[deeper:count, :-1], None, padding))
        weights = self.matrices[1][here] if index else self.matrices[0]
        return Layer(
            rows=rows,
            weights=weights,
            weights_transposed=weights[:, :, :-1].transpose(1, 2),
            entering=self.inputs[here] if index else None,
            kept=self.kept[here, :, train] if index and self.has_dropout else None,
            affine=self.affine[rows],
            pre_train=pre[..., train],
            leaving=leaving,
            grad_pre=self.grad_pre[rows],
            grad_out=self.grad_out[:count],
        )

    def _padding(self, rows: slice, first: int, end: int) -> Tensor | None:
        """Where padded units, of which all pre-activations are 0, would reach the next layer's weights."""
        if not self.is_padded or self.activation.value(torch.zeros(1), 0.0).item() == 0:
            return None
        return ~self.is_real[rows][first:end].repeat_interleave(self.positions, 1)[:, :, None]

    def named(self, blocks: Blocks, index: int) -> dict[str, Tensor]:
        """A network's parts of the blocks by torch's names and in torch's shapes: views."""
        cell, networks, found = self.cells[index], len(self.cells), {}
        width, units = cell.width, cell.width * self.positions
        for layer in range(cell.depth):
            row = self.starts[layer] + index
            block = blocks.hidden[row - networks] if layer else blocks.first[index]
            weight = block[:width, : units if layer else self.features]
            found[f"hidden.{layer}.weight"] = weight.view(width, -1, 2) if self.positions > 1 else weight
            found[f"hidden.{layer}.bias"] = block[:width, -1]
            if self.has_norm:
                found[f"norms.{layer}.weight"], found[f"norms.{layer}.bias"] = blocks.norm[:, row, :width]
        found["output.weight"], found["output.bias"] = blocks.output[index, :, :units], blocks.output[index, :, -1]
        return found

    def owners(self) -> Tensor:
        """The network of every number in `weights.flat`."""
        networks = len(self.cells)
        first, later, rows = self.owner[:networks, None, None], self.owner[networks:, None, None], self.owner[:, None]
        blocks = zip((first, later, rows, first), self.block_shapes, strict=True)
        return torch.cat([owner.expand(shape).flatten() for owner, shape in blocks])

    def load(self, initial: Tensors | None) -> list[int]:
        """Give the networks their initial weights, the cells' own or those by torch's names: how many each has."""
        host, counts = Blocks.zeros(self.block_shapes, torch.device("cpu"), self.dtype), []
        for index, cell in enumerate(self.cells):
            own = {name: value.detach() for name, value in build(cell).named_parameters()}
            for name, view in self.named(host, index).items():
                view.copy_(own[name] if initial is None else torch.from_numpy(np.asarray(initial[name])))
            counts.append(sum(value.numel() for value in own.values()))
        self.weights.flat.copy_(host.flat)
        return counts

    def flat(self, blocks: Blocks, index: int) -> Tensor:
        """A network's parts of the blocks as one vector, in torch's order."""
        return torch.cat([view.flatten() for view in self.named(blocks, index).values()])

    def fill(self, blocks: Blocks, index: int, numbers: npt.NDArray[np.float64]) -> None:
        """The other way: a vector in torch's order into a network's parts of the blocks."""
        first = 0
        for view in self.named(blocks, index).values():
            view.copy_(torch.from_numpy(numbers[first : first + view.numel()]).view(view.shape))
            first += view.numel()

    def drop(self, epoch: Tensor) -> None:
        """Draw what the networks' inputs and hidden layers lose in an epoch (counted from 0)."""
        rate = (self.rates * (1 - epoch / self.anneal_epochs)).clamp_min(0)  # in float64
        threshold, factor = (rate * 2**32).floor().long(), (1 / (1 - rate)).to(self.dtype)

        def keep(layers: Tensor, owner: Tensor, units: int) -> Tensor:
            drawn = draws_of_rows(Stream.DROPOUT, self.seeds[owner], epoch, layers, self.training_points, units)
            return (drawn >= threshold[owner, None, None]) * factor[owner, None, None]

        networks, train = len(self.cells), slice(0, self.n_train)
        x = self.x[:-1, train]
        torch.mul(x, keep(self.layer_of[:networks], self.owner[:networks], len(x)), out=self.dropped_x[:, :-1, train])
        for rows in self.chunks():
            later = slice(max(rows.start, networks), rows.stop)
            if later.start < later.stop:
                here = slice(later.start - networks, later.stop - networks)
                self.kept[here, :, train] = keep(self.layer_of[later], self.owner[later], self.units)

    def forward(self, *, training: bool, dropout: bool) -> None:
        """From the points to `pre` and `logits`; in training mode with the training points' own statistics."""
        if self.positions > 1:
            for block, matrix in zip((self.weights.first, self.weights.hidden), self.matrices, strict=True):
                unfold(block, matrix)
        if self.norm is not None:
            self.norm.prepare()
        for layer in self.layers:
            if layer.entering is not None:
                torch.bmm(layer.weights, layer.entering, out=layer.affine)
            elif dropout:
                torch.bmm(layer.weights, self.dropped_x, out=layer.affine)
            else:
                torch.mm(layer.weights.flatten(0, 1), self.x, out=layer.affine.flatten(0, 1))
            if self.norm is not None:
                self.norm.forward(layer.rows, training=training)
            for leaving in layer.leaving:
                self.activation.write(leaving.pre, leaving.post)
                if leaving.padding is not None:
                    leaving.post.masked_fill_(leaving.padding, 0)
                if dropout and leaving.kept is not None:
                    leaving.post.mul_(leaving.kept)
        torch.bmm(self.weights.output, self.last, out=self.logits)
        if self.norm is not None and training:
            self.norm.update()

    def backward(self, grad_logits: Tensor, *, has_penalty: bool, dropout: bool) -> None:
        """All gradients, from the logits' (networks, outputs, training points) and, in `grad_pre`, the penalty's."""
        train = slice(0, self.n_train)
        torch.bmm(grad_logits, self.last[:, :, train].transpose(1, 2), out=self.gradients.output)
        torch.bmm(self.weights.output[:, :, :-1].transpose(1, 2), grad_logits, out=self.grad_out)
        if self.norm is not None:
            self.norm.normalise()
        for layer in reversed(self.layers):
            # `grad_out` holds the gradients of this layer's outputs, the output layer's own where a network ends here
            passed = layer.grad_out if has_penalty else layer.grad_pre
            self.activation.backward(layer.grad_out, layer.pre_train, passed)
            if has_penalty:
                layer.grad_pre.add_(layer.grad_out)
            if self.norm is not None:
                self.norm.backward(layer.rows)
            if layer.entering is not None:
                torch.bmm(layer.weights_transposed, layer.grad_pre, out=layer.grad_out)
                if dropout and layer.kept is not None:
                    layer.grad_out.mul_(layer.kept)
        networks = len(self.cells)
        first, hidden = self.matrix_gradients
        grad_pre = self.grad_pre[:networks]
        if dropout:
            torch.bmm(grad_pre, self.dropped_x[:, :, train].transpose(1, 2), out=first)
        else:
            torch.mm(grad_pre.flatten(0, 1), self.x[:, train].T, out=first.flatten(0, 1))
        for first_row in range(0, len(hidden), _MOST_PRODUCTS):
            part = slice(first_row, first_row + _MOST_PRODUCTS)
            inputs = self.inputs[part, :, train].transpose(1, 2)
            torch.bmm(self.grad_pre[networks:][part], inputs, out=hidden[part])
        if self.positions > 1:
            for block, matrix in zip((self.gradients.first, self.gradients.hidden), (first, hidden), strict=True):
                fold(matrix, block)

    def finite_networks(self) -> Tensor:
        """Which networks have finite parameters only; the gradients' place serves as scratch."""
        torch.mul(self.weights.flat, 0, out=self.gradients.flat)
        return (self.by_network(self.gradients.row_sums()) + self.gradients.output.sum((1, 2))).isfinite()

    def census(self) -> tuple[Tensor, Tensor]:
        """Of the training points, (6, rows) in the order of `CENSUS`, then `ACTIVITY`; NaN for what it has not.

        And the fractions of the points that are dead at some layer, (networks,).
        """
        above = self.padding_bias(math.inf)
        found = []
        dead_layers = torch.zeros(len(self.cells), self.n_train, dtype=torch.int64, device=self.device)
        for rows in self.chunks():
            pre, is_real = self.pre_train[rows], self.is_real[rows]
            raised = pre if above is None else pre + above[rows]
            width = self.row_width[rows]
            sizes = self.activation.value(pre, 0.0).abs().double().mean((2, 3))
            dormant = (sizes <= DORMANT_TAU * (sizes.sum(1) / width + 1e-9)[:, None]) & is_real
            fires = ((pre > 0).sum((2, 3)) * is_real).sum(1).double()
            activity = [dormant.sum(1).double() / width, fires / (width * pre[0, 0].numel())]
            if self.activation.is_smooth:
                found.append(torch.stack([torch.full_like(activity[0], math.nan)] * 4 + activity))
                continue
            has_no_slope = self.activation.has_no_slope(pre)
            units = has_no_slope.all(3).all(2) & is_real, (pre.amin((2, 3)) > 0) & is_real
            points = has_no_slope.all(2).all(1), raised.amin((1, 2)) > 0
            dead_layers.index_add_(0, self.owner[rows], points[0].long())
            shares = [fulfilled.sum(1).double() / width for fulfilled in units]
            shares += [fulfilled.double().mean(1) for fulfilled in points]
            found.append(torch.stack(shares + activity))
        somewhere = (dead_layers > 0).double().mean(1)
        return torch.cat(found, 1), torch.full_like(somewhere, math.nan) if self.activation.is_smooth else somewhere
