"""Dataflow of a forward pass: the tensors that cross a cut at a given moment.

Inside a residual branch two tensors cross, whatever the names of the modules. Tensors are identified by their storage,
so all views of a tensor count once. Only activations count: tensors that depend on an input and on a weight. A tensor
of inputs alone, such as an attention mask, can be recomputed, and a tensor of weights alone is a constant.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class Dataflow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Recorder of the operations that create, read and overwrite each tensor while a module runs inside the block."""

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0  # operations so far
        self._storages: dict[int, Any] = {}  # kept alive, so that no address is reused
        self._weights = {self._key(x) for x in (*module.parameters(), *module.buffers())}
        self._inputs = {self._key(x) for x in inputs}
        self._created: dict[int, int] = {}
        self._last_read: dict[int, int] = {}
        self._last_write: dict[int, int] = {}
        self._from_input = set(self._inputs)
        self._from_weight = set(self._weights)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        outputs = func(*args, **kwargs)
        self.now += 1
        read = {self._key(x) for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        written = {self._key(x) for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor)}
        if not func._schema.is_mutable and written <= read:
            return outputs  # a view: its users read the tensor
        for key in read:
            self._last_read[key] = self.now
        for key in written:
            self._created.setdefault(key, self.now)
            if key in read:
                self._last_write[key] = self.now
            if read & self._from_input:
                self._from_input.add(key)
            if read & self._from_weight:
                self._from_weight.add(key)
        return outputs

    def crossing(self, tensor: Tensor, moment: int) -> int | None:
        """Count the tensors that cross a cut at `moment`, right after `tensor` was created.

        Returns:
            The count; None where no cut is possible, because `tensor` is not read afterwards, is no activation, or is
            overwritten in place.
        """
        key = self._key(tensor)
        crossing = {
            k
            for k, created in self._created.items()
            if created <= moment < self._last_read.get(k, 0) and k in self._from_input and k in self._from_weight
        }
        if key not in crossing or self._last_write.get(key, 0) > moment:
            return None
        return len(crossing)

    def _key(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        address = int(storage._cdata)
        self._storages[address] = storage
        return address


def without_fused_layers() -> Any:
    """Return a context in which torch's transformer layers run as single operations.

    Outside it they run as one fused operator, which neither the MAC counter nor an exporter supports.
    """
    return _NoFastPath()


class _NoFastPath:
    def __enter__(self) -> None:
        self.before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)

    def __exit__(self, *_: object) -> None:
        torch.backends.mha.set_fastpath_enabled(self.before)
