"""A step as CUDA graphs."""

import gc
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

_WARM_UP = 3


@lru_cache
def shared_stream(device: torch.device) -> Any:
    """The stream of all captures on a device: for every stream cuBLAS keeps its own workspace, up to 32 MiB."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Replayed:
    """A step as CUDA graphs: run as it is a few times on a stream of its own, then captured and replayed.

    What a step depends on lies in tensors on the device; what changes its list of calls is its kind, and each kind
    has a graph of its own.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.warm_up: dict[Hashable, int] = {}
        self.stream = shared_stream(device)
        self.graphs: dict[Hashable, Any] = {}
        self.is_capturing = False
        """Whether the step is being captured: then nothing is computed."""

    def __call__(self, step: Callable[[], None], kind: Hashable) -> None:
        """One step, always the same one of its kind."""
        with torch.cuda.device(self.device):
            left = self.warm_up.setdefault(kind, _WARM_UP)
            if left:
                self.warm_up[kind] = left - 1
                self.stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(self.stream):
                    step()
                torch.cuda.current_stream().wait_stream(self.stream)
                return
            if kind not in self.graphs:
                self.graphs[kind] = self._captured(step)
            self.graphs[kind].replay()

    def _captured(self, step: Callable[[], None]) -> Any:
        graph = torch.cuda.CUDAGraph()
        # the outer block: torch's own leaves its stream the current one where a capture fails
        with torch.cuda.stream(self.stream), _no_collection():
            self.is_capturing = True
            try:
                with torch.cuda.graph(graph, stream=self.stream):
                    step()
            finally:
                self.is_capturing = False
        return graph


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector: what it frees on the device would end a capture."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
