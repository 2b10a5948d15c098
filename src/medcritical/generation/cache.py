"""A key-value cache with room for tokens to come: adding one copies nothing but that token.

B rows, H heads, C columns, D head width.

Every row writes its next token into the same column, so that a row's tokens stand side by side, from the first of its
prompt to the newest; what lies left of them is masked. Rows come and go by building the cache anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

Rows = tuple[Cache, Tensor]
"""A cache, and which of its rows are wanted."""


class RoomyCache(Cache):  # type: ignore[misc]
    """Keys and values of all layers: the newest `width` columns of `parts`, rows under one another, and `room` to come.

    Columns that a narrower part lacks hold zeros: they are masked, but take part in the arithmetic.
    """

    def __init__(self, parts: Sequence[Rows], width: int, room: int) -> None:
        layers = []
        for number in range(len(parts[0][0].layers)):
            both = [(_written(cache, number), rows_B) for cache, rows_B in parts]
            keys = _stack([(keys, rows_B) for (keys, _), rows_B in both], width, room)
            values = _stack([(values, rows_B) for (_, values), rows_B in both], width, room)
            layers.append(_RoomyLayer(keys, values, width))
        super().__init__(layers=layers)

    @property
    def width(self) -> int:
        """Columns written."""
        width: int = self.layers[0].width
        return width


class _RoomyLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer: keys and values [B, H, C, D], of which `width` columns are written."""

    is_sliding = False

    def __init__(self, keys: Tensor, values: Tensor, width: int) -> None:
        super().__init__()
        self.keys, self.values, self.width = keys, values, width
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the layer is made with its tensors."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write one token per row and return keys and values of all columns written, [B, H, width, D]."""
        self.keys[:, :, self.width] = key_states[:, :, 0]
        self.values[:, :, self.width] = value_states[:, :, 0]
        self.width += 1
        return self.keys[:, :, : self.width], self.values[:, :, : self.width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that a mask covers, and the number of the first."""
        return self.width + query_length, 0

    def get_seq_length(self) -> int:
        """Columns written."""
        return self.width

    def get_max_length(self) -> int:
        """No limit that a model would have to know."""
        return -1


def _written(cache: Cache, number: int) -> tuple[Tensor, Tensor]:
    """Keys and values of one layer, without room."""
    layer = cache.layers[number]
    width = layer.get_seq_length()
    return layer.keys[:, :, :width], layer.values[:, :, :width]


def _stack(parts: Sequence[tuple[Tensor, Tensor]], width: int, room: int) -> Tensor:
    like, num_rows = parts[0][0], sum(len(rows_B) for _, rows_B in parts)
    stacked = like.new_zeros(num_rows, like.shape[1], width + room, like.shape[3])
    start = 0
    for states, rows_B in parts:
        shown = min(width, states.shape[2])
        place = stacked[start : start + len(rows_B), :, width - shown : width]
        place.copy_(states[rows_B, :, states.shape[2] - shown :])
        start += len(rows_B)
    return stacked
