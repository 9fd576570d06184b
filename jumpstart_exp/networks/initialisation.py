"""Initial weights: each affine layer's from its own stream of random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from jumpstart_exp.late import LateModule
from jumpstart_exp.networks.blocks import block
from jumpstart_exp.settings import is_function_name
from jumpstart_exp.user_functions import UserFunction

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from jumpstart_exp.randomness import InitialDraws
else:
    np = LateModule("numpy")
    torch = LateModule("torch")

Array: TypeAlias = "npt.NDArray[np.float64]"


@dataclass(frozen=True)
class AffineLayer:
    """An affine layer before its parameters are drawn.

    Attributes:
        seed: of its stream.
        index: hidden layers from 0, the output layer last; of its stream, too.
        shape: of its weights, (outputs, inputs, *taps).
        biases: their number.
        is_output: whether it is the output layer.
        leak: slope below 0 of the activation, as the gain of He et al. 2015 reckons with it.
        gain: factor of orthogonal weights before the activation.
        hyperplane: `network.init_norm`, `init_at` and `init_gain`; None where the initialisation has none.
        factor: of weights and biases, when all is drawn.
        draw: how often it was drawn before.
    """

    seed: int
    index: int
    shape: tuple[int, ...]
    biases: int
    is_output: bool = False
    leak: float = 0.0
    gain: float = 1.0
    hyperplane: tuple[float, float, float] | None = None
    factor: float = 1.0
    draw: int = 0

    @property
    def rows(self) -> int:
        """Outputs that have weights."""
        return self.shape[0]

    @property
    def taps(self) -> int:
        """Kernel positions; 1 of a matrix."""
        return math.prod(self.shape[2:])

    @property
    def fan_in(self) -> int:
        """Inputs times kernel positions."""
        return self.shape[1] * self.taps

    @property
    def fan_out(self) -> int:
        """Outputs times kernel positions."""
        return self.rows * self.taps

    @cached_property
    def draws(self) -> InitialDraws:
        """Its stream."""
        from jumpstart_exp.randomness import InitialDraws

        return InitialDraws(self.seed, self.index, self.draw)


Drawn: TypeAlias = "tuple[Array, Array]"
"""Weights of the layer's shape, or flat, and biases."""


@dataclass(frozen=True)
class Initialisation:
    """How an affine layer begins: its weights and then its biases, each number from the layer's stream in order.

    Attributes:
        draw: weights and biases.
        native: whether the C++ engine draws them itself; it is given those of the others.
    """

    draw: Callable[[AffineLayer], Drawn]
    native: bool = False


def drawn(layer: AffineLayer, init: str, source: str | None = None) -> Drawn:
    """Weights of the layer's shape and biases (biases,), in float64.

    Args:
        layer: whose they are.
        init: a name in `INITIALISATIONS`, or of a function of the user's.
        source: of that function.

    Raises:
        SettingError: there is no such initialisation.
        UserFunctionError: the function fails, or what it gives are not the layer's weights.
    """
    if is_function_name(init):
        weights, biases = _by_function(layer, UserFunction("network.init", init, source))
    else:
        weights, biases = block(INITIALISATIONS, "network.init", init).draw(layer)
    if layer.factor == 0:
        return np.zeros(layer.shape), np.zeros(layer.biases)
    return layer.factor * weights.reshape(layer.shape), layer.factor * biases


def _by_function(layer: AffineLayer, function: UserFunction) -> Drawn:
    """The user's own: function(shape, fan_in, fan_out, generator, layer) → weights of that shape; biases are 0.

    The generator is NumPy's, of the layer's own stream; layers count from 0, the output layer last.
    """
    found = function(layer.shape, layer.fan_in, layer.fan_out, layer.draws.generator, layer.index)
    try:
        weights = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        raise function.wrong(f"gives a {type(found).__name__}, not an array of numbers") from None
    if weights.shape != layer.shape:
        raise function.wrong(f"gives weights of shape {weights.shape}, not of {layer.shape}")
    if not np.isfinite(weights).all():
        raise function.wrong("gives weights that are not finite")
    return weights, np.zeros(layer.biases)


def _uniform(layer: AffineLayer, weights: float, biases: float = 0.0) -> Drawn:
    """Within these bounds."""
    of_weights = weights * layer.draws.symmetric(math.prod(layer.shape))
    return of_weights, biases * layer.draws.symmetric(layer.biases) if biases else np.zeros(layer.biases)


def _glorot(layer: AffineLayer) -> Drawn:
    """Glorot and Bengio, 2010."""
    return _uniform(layer, math.sqrt(6 / (layer.fan_in + layer.fan_out)))


def _glorot_2x1(layer: AffineLayer) -> Drawn:
    """The first layer with the fans of a 'valid' convolution whose filters cover all features, one input channel.

    As many weights in the same places, but each feature is a tap, so fan_out = features · width.
    """
    inputs = layer.shape[1] if layer.index == 0 else 1
    return _uniform(layer, math.sqrt(6 / (layer.fan_in + layer.fan_out * inputs)))


def _kaiming(layer: AffineLayer) -> Drawn:
    """Torch's layer default."""
    bound = 1 / math.sqrt(layer.fan_in)
    return _uniform(layer, bound, bound)


def _normal(layer: AffineLayer, variance: float) -> Drawn:
    return math.sqrt(variance) * layer.draws.normal(math.prod(layer.shape)), np.zeros(layer.biases)


def _he(layer: AffineLayer) -> Drawn:
    """He et al. 2015, equation 15."""
    return _normal(layer, 2 / ((1 + layer.leak**2) * layer.fan_in))


def _orthogonal_matrix(layer: AffineLayer, rows: int, columns: int) -> Array:
    """Orthonormal rows, or columns where there are fewer of them, uniform among all such (Saxe et al. 2014).

    Q of the QR decomposition with a positive diagonal of the longer side × the shorter side normal numbers, transposed
    where the rows are the fewer.
    """
    longer, shorter = max(rows, columns), min(rows, columns)
    q = _positive_qr(layer.draws.normal(longer * shorter).reshape(longer, shorter))
    return q if rows >= columns else q.T


def _positive_qr(matrix: Array) -> Array:
    """Q of the QR decomposition whose R has no negative diagonal entry: the only one of full rank."""
    threads = torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)  # bits must not depend on their number
    try:
        q, r = torch.linalg.qr(torch.from_numpy(np.ascontiguousarray(matrix)))
    finally:
        if threads > 1:
            torch.set_num_threads(threads)
    found: Array = (q * torch.where(r.diagonal() < 0, -1.0, 1.0)).numpy()
    return found


def _orthogonal(layer: AffineLayer) -> Drawn:
    gain = 1.0 if layer.is_output else layer.gain
    return gain * _orthogonal_matrix(layer, layer.rows, layer.fan_in), np.zeros(layer.biases)


def _looks_linear(layer: AffineLayer) -> Drawn:
    """Balduzzi et al. 2017: what the positive parts add the negative parts take away, by orthogonal weights."""
    if layer.index == 0:
        weights = _orthogonal_matrix(layer, layer.rows, layer.fan_in)
    else:
        half = _orthogonal_matrix(layer, layer.rows, layer.fan_in // 2)
        weights = np.concatenate([half, -half], axis=1)  # inputs come before taps: positive parts are the first half
    return weights, np.zeros(layer.biases)


def _block_orthogonal(layer: AffineLayer) -> Drawn:
    """Burkholz and Dubatovka, NeurIPS 2019: [[W, −W], [−W, W]] with orthogonal W; without the second half at the ends.

    The last of an odd number of units has the weights of He et al., those that lead away from it too.
    """
    rows = layer.rows if layer.is_output else layer.rows // 2
    columns = layer.fan_in if layer.index == 0 else layer.fan_in // 2
    half = _orthogonal_matrix(layer, rows, columns) if rows and columns else np.zeros((rows, columns))
    mirrored = half if layer.index == 0 else np.concatenate([half, -half], axis=1)
    if not layer.is_output:
        mirrored = np.concatenate([mirrored, -mirrored])
    weights = np.zeros((layer.rows, layer.fan_in))
    if mirrored.shape != weights.shape:
        weights = _he(layer)[0].reshape(weights.shape)
    weights[: mirrored.shape[0], : mirrored.shape[1]] = mirrored
    return weights, np.zeros(layer.biases)


def _asymmetric(layer: AffineLayer) -> Drawn:
    """Lu et al. 2020, randomized asymmetric: in each row, bias included, one entry is from Beta(2, 1), above 0.

    The others are normal of standard deviation 0.6007/√fan_in. Numbers of the stream: all entries row by row, which of
    every row is positive, and the root of what makes it a beta.
    """
    entries = layer.fan_in + 1
    rows = layer.draws.normal(layer.rows * entries).reshape(layer.rows, entries) * (0.6007 / math.sqrt(layer.fan_in))
    chosen = (layer.draws.open_unit(layer.rows) * entries).astype(np.int64)
    rows[np.arange(layer.rows), chosen] = np.sqrt(layer.draws.open_unit(layer.rows))
    return rows[:, :-1], rows[:, -1]


def _deep_narrow(layer: AffineLayer) -> Drawn:
    """Lee et al. 2024: Q_out·I·Q_inᵀ with Q of the QR decomposition of 11ᵀ + 0.1·I; nothing in it is random."""
    q_out, q_in = (_positive_qr(np.ones((n, n)) + 0.1 * np.eye(n)) for n in (layer.rows, layer.fan_in))
    shared = min(layer.rows, layer.fan_in)
    return q_out[:, :shared] @ q_in[:, :shared].T, np.zeros(layer.biases)


def _hyperplane(layer: AffineLayer) -> Drawn:
    """Paper Geometry, section 5.1 and equation 12: one unit whose hyperplane is to be moved; nothing in it is random.

    The first layer is norm·(1, 0.3)/√1.09 through the point (at, 0): the paper's b is A·(at, 0), its layers being
    ν(Ax − b), and the bias here is −b. Later units have the weight `gain`, the two classes −gain and gain; one output,
    the log-odds of class 1, has their difference.
    """
    if layer.hyperplane is None:
        raise ValueError("a hyperplane has a norm, a place and a gain")
    norm, at, gain = layer.hyperplane
    if layer.index == 0:
        weights = norm * np.array([[1.0, 0.3]]) / math.sqrt(1.09)
        return weights, -at * weights[:, 0]
    weights = (
        np.array([[gain]]) if not layer.is_output else np.array({1: [[2 * gain]], 2: [[-gain], [gain]]}[layer.rows])
    )
    return weights, np.zeros(layer.biases)


INITIALISATIONS: dict[str, Initialisation] = {
    "glorot_uniform": Initialisation(_glorot, native=True),
    # the authors' MOONS runs at 50×4, which read the two coordinates by a 'valid' 2×1 convolution
    "glorot_uniform_2x1": Initialisation(_glorot_2x1, native=True),
    "kaiming_uniform": Initialisation(_kaiming, native=True),
    "he_normal": Initialisation(_he),
    # Klambauer et al. 2017
    "lecun_normal": Initialisation(lambda layer: _normal(layer, 1 / layer.fan_in)),
    "orthogonal": Initialisation(_orthogonal),
    "block_orthogonal": Initialisation(_block_orthogonal),
    "looks_linear": Initialisation(_looks_linear),
    "asymmetric": Initialisation(_asymmetric),
    "deep_narrow": Initialisation(_deep_narrow),
    "hyperplane": Initialisation(_hyperplane),
    # SepCons, section 3
    "zero": Initialisation(lambda layer: (np.zeros(layer.shape), np.zeros(layer.biases)), native=True),
}
"""Every initialisation under its name among the choices of `network.init`."""
