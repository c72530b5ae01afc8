"""A network that several processes train: gradients, and the statistics of batch norms, over all of their images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from cnnlab.distributed import World

# Buffers are not sent in each step: synchronised ones are the same already, and others are averaged when they count.
_known = signature(DistributedDataParallel).parameters
_OWN_BUFFERS: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _known else "broadcast_buffers": False
}


class SyncedBatchNorm(_BatchNorm):
    """Batch norm over the images of all processes.

    torch's own has none for the CPU, and this one is the same everywhere. Its names and shapes are those of plain
    batch norm, so that weights fit one process and several. What a norm has within it comes behind it, as timm's norms
    have their activation; and hooks stay, since a network that is cut behind a norm stops by one.
    """

    def __init__(self, plain: _BatchNorm, world: World) -> None:
        super().__init__(plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats)
        for name, child in plain.named_children():
            self.add_module(name, child)
        self._forward_hooks, self._forward_pre_hooks = plain._forward_hooks, plain._forward_pre_hooks
        self.load_state_dict(plain.state_dict())
        self.to(next(plain.buffers()).device)
        self.training = plain.training
        self.world = world
        self.images = 0  # of the batch that is divided among the processes; 0: each one's batch is its own

    def _check_input_dim(self, input: Tensor) -> None:
        """Any shape N×C×..."""

    def forward(self, images: Tensor) -> Tensor:
        found = self._normalised(images) if self.training and self.images else super().forward(images)
        for child in self.children():
            found = child(found)
        return found

    def _normalised(self, images: Tensor) -> Tensor:
        # The mean first, then the variance about it: their sums at once would cancel.
        values = images.float()
        over, shape = [0, *range(2, values.dim())], [1, -1] + [1] * (values.dim() - 2)
        count = self.images * values[0, 0].numel()
        mean = _Sum.apply(values.sum(over), self.world) / count
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(over), self.world) / count
        self._keep(mean.detach(), variance.detach() * (count / (count - 1)))
        found: Tensor = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            found = found * self.weight.view(shape) + self.bias.view(shape)
        return found.to(images.dtype)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        buffers = (self.num_batches_tracked, self.running_mean, self.running_var)
        batches, running_mean, running_variance = (buffer for buffer in buffers if buffer is not None)
        batches.add_(1)
        # Without a momentum a plain mean over the batches, as torch has it; their number stays on the device.
        share = 1 / batches.float() if self.momentum is None else self.momentum
        running_mean.lerp_(mean, share)
        running_variance.lerp_(variance, share)


class _Sum(torch.autograd.Function):
    """The sum over the processes; each one's number is in the loss of all, so that gradients are summed too."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, world: World) -> Tensor:
        ctx.world = world
        return world.sum(numbers.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.world.sum(gradient.contiguous().clone()), None


class Together:
    """A network as all processes train it; alone it is the network itself.

    Args:
        fed: the network as it takes what it is fed with.
    """

    def __init__(self, network: nn.Module, world: World, fed: nn.Module) -> None:
        self.world = world
        self.own = network
        self.synced = [module for module in fed.modules() if isinstance(module, SyncedBatchNorm)]
        self.network = DistributedDataParallel(fed, **_OWN_BUFFERS) if world.joined else fed

    @contextmanager
    def batch(self, images: int, last: bool) -> Iterator[nn.Module]:
        """The network for one batch, forward and backward.

        Args:
            images: how many the processes have together.
            last: gradients are summed over the processes after the last batch of a step.
        """
        for norm in self.synced:
            norm.images = images if self.world.divides(images) else 0
        with self._gradients(last):
            yield self.network
        for norm in self.synced:
            norm.images = 0

    def scale(self, images: int) -> int:
        """What a share's loss is multiplied by: the mean over the processes, which is taken, is to be their sum."""
        return self.world.size if self.world.divides(images) else 1

    @torch.no_grad()
    def agree(self, *copies: nn.Module) -> None:
        """Take the mean of the processes' batch-norm statistics, where each has its own; and those of `copies`.

        What is frozen is the same in all, and stays as it is to the bit.
        """
        if self.world.size == 1 or self.synced:
            return
        changing = [name for name, norm in self.own.named_modules() if isinstance(norm, _BatchNorm) and norm.training]
        for network in (self.own, *copies):
            for name in changing:
                for buffer in network.get_submodule(name).buffers():
                    if buffer.is_floating_point():
                        self.world.sum(buffer).div_(self.world.size)

    def _gradients(self, last: bool) -> AbstractContextManager[Any]:
        if isinstance(self.network, DistributedDataParallel) and not last:
            return self.network.no_sync()
        return nullcontext()


def synchronise(network: nn.Module, world: World) -> None:
    """Let the batch norms of a network see the images of all processes, in place: they are other modules then."""
    if world.size == 1:
        return
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            setattr(network, name, SyncedBatchNorm(child, world))
        else:
            synchronise(child, world)
