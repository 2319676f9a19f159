"""Which tensors are still needed after a moment of the forward pass: what would cross a cut made there.

A residual branch is seen from the fact that two tensors cross inside it, whatever the modules are called. Tensors are
told apart by their storage, so views of one tensor are one. Only activations count, that is tensors that depend on
both an input and a weight: what is made of the inputs alone (an attention mask) can be made again, and what is made of
the weights alone is a constant.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class Dataflow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records, while a module runs inside the block, which operation makes, reads and overwrites which tensor."""

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0  # operations so far
        self._storages: dict[int, Any] = {}  # kept alive, so that no address is used twice
        self._weights = {self._key(x) for x in (*module.parameters(), *module.buffers())}
        self._inputs = {self._key(x) for x in inputs}
        self._made: dict[int, int] = {}
        self._last_read: dict[int, int] = {}
        self._last_write: dict[int, int] = {}
        self._from_input = set(self._inputs)
        self._from_weight = set(self._weights)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        self.now += 1
        read = {self._key(x) for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        written = {self._key(x) for x in pytree.tree_leaves(made) if isinstance(x, Tensor)}
        if not func._schema.is_mutable and written <= read:
            return made  # a view: whoever uses it reads the tensor
        for key in read:
            self._last_read[key] = self.now
        for key in written:
            self._made.setdefault(key, self.now)
            if key in read:
                self._last_write[key] = self.now
            if read & self._from_input:
                self._from_input.add(key)
            if read & self._from_weight:
                self._from_weight.add(key)
        return made

    def crossing(self, tensor: Tensor, moment: int) -> int | None:
        """Number of tensors that cross a cut at `moment`, right after `tensor` was made; null where none is fit to.

        It is unfit where `tensor` itself is not read afterwards, is no activation, or is overwritten in place.
        """
        key = self._key(tensor)
        crossing = {
            k
            for k, made in self._made.items()
            if made <= moment < self._last_read.get(k, 0) and k in self._from_input and k in self._from_weight
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
    """A block in which torch's transformer layers run operation by operation, and not as one fused operator that
    neither the counter nor an exporter knows. Usable as `with one_by_one():`.
    """
    return _NoFastPath()


class _NoFastPath:
    def __enter__(self) -> None:
        self.before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)

    def __exit__(self, *_: object) -> None:
        torch.backends.mha.set_fastpath_enabled(self.before)
