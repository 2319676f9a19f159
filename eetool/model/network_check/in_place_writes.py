"""Operations of a forward pass that change a tensor in place, and their places in the user's code."""

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from eetool.model.code_place import module_names, place_of, running_frames


class InPlaceWrites(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Recorder of the writes to float tensors other than a network's own, while it runs inside the block."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = module_names(net)
        self._own = {t.untyped_storage().data_ptr() for t in (*net.parameters(), *net.buffers())}
        self._writes: list[tuple[int, tuple[int, ...], str]] = []  # storage, shape, place

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.is_mutable:
            for argument, value in zip(func._schema.arguments, args, strict=False):
                written = argument.alias_info is not None and argument.alias_info.is_write
                if written and isinstance(value, Tensor) and value.is_floating_point():
                    storage = value.untyped_storage().data_ptr()
                    if storage not in self._own:
                        self._writes.append((storage, tuple(value.shape), place_of(self._names, running_frames())))
        return func(*args, **(kwargs or {}))

    def place_of_write_to(self, tensors: Sequence[Tensor]) -> str | None:
        """Return the place of the first write to one of `tensors`, as `place_of` does; None where there was none."""
        storages = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        return next((place for storage, _, place in self._writes if storage in storages), None)

    def place_of_shape_in(self, message: str) -> str:
        """Return the places of writes to tensors of the shape that torch's message about a gradient names."""
        found = re.search(r"Tensor \[([\d, ]*)\]", message)
        shape = tuple(int(size) for size in found[1].split(",") if size.strip()) if found else None
        places = dict.fromkeys(place for _, written, place in self._writes if written == shape)
        return " and".join(places)
