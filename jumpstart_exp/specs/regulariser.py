"""A regulariser of the user's own as data."""

from dataclasses import dataclass

from jumpstart_exp.settings import setting


@dataclass(frozen=True)
class RegulariserSpec:
    """A term of the loss that a function of the user's computes, beside the separation penalty or without one.

    `function(pre_activations, parameters, **settings)` gives a scalar, in torch: of a batch's pre-activations, a list
    of (points, units) tensors, a hidden layer each, and of the network's parameters, tensors by torch's names.
    """

    function: str | None = setting(None, functions=True, about="as module:name, a file in this folder", role="method")
    weight: float = setting(1.0, about="of the regulariser in the loss", role="method", tunes=True)
    settings: str | None = setting(
        None, mapping=True, about="what it is called with by name: {scale: 2}", role="method", tunes=True
    )
    source: str | None = setting(None, about="hash of its module's source, filled in by itself", role="method")
