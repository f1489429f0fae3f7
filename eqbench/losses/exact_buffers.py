"""Buffers whose precision is not the model's to change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn


class ExactBuffers(nn.Module):
    """A module whose floating buffers follow the device only: `module.half()` and the like keep their dtype."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in self._buffers.items():
            exact = before[name]
            if buffer is not None and exact is not None and buffer.dtype != exact.dtype:
                self._buffers[name] = exact.to(buffer.device)
        return self
