"""Train one network in several processes: gradients and batch-norm statistics over the images of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from cnnlab.distributed import ProcessGroup

# Buffers are not sent in each step: synchronized ones are equal, and others are averaged before evaluation.
_ddp_parameters = signature(DistributedDataParallel).parameters
_DDP_KWARGS: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _ddp_parameters else "broadcast_buffers": False
}


class SyncedBatchNorm(_BatchNorm):
    """Batch norm over the images of all processes.

    torch's SyncBatchNorm does not run on the CPU; this one runs everywhere. Names and shapes are those of plain batch
    norm, so that its state dict fits one process and several. Submodules of the replaced norm (timm's norms hold their
    activation) are applied after it, and its hooks are kept, since truncated networks stop by a hook.
    """

    def __init__(self, batchnorm: _BatchNorm, process_group: ProcessGroup) -> None:
        super().__init__(
            batchnorm.num_features, batchnorm.eps, batchnorm.momentum, batchnorm.affine, batchnorm.track_running_stats
        )
        for name, child in batchnorm.named_children():
            self.add_module(name, child)
        self._forward_hooks, self._forward_pre_hooks = batchnorm._forward_hooks, batchnorm._forward_pre_hooks
        self.load_state_dict(batchnorm.state_dict())
        self.to(next(batchnorm.buffers()).device)
        self.training = batchnorm.training
        self.process_group = process_group
        self.global_batch_size = 0  # of the batch over all processes; 0: the batch is not divided

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any shape N×C×…."""

    def forward(self, images: Tensor) -> Tensor:
        outputs = self._normalize(images) if self.training and self.global_batch_size else super().forward(images)
        for child in self.children():
            outputs = child(outputs)
        return outputs

    def _normalize(self, images: Tensor) -> Tensor:
        # Two passes: the difference of sums of squares would cancel.
        values = images.float()
        dims, shape = [0, *range(2, values.dim())], [1, -1] + [1] * (values.dim() - 2)
        count = self.global_batch_size * values[0, 0].numel()
        mean = _AllReduceSum.apply(values.sum(dims), self.process_group) / count
        centred = values - mean.view(shape)
        variance = _AllReduceSum.apply(centred.square().sum(dims), self.process_group) / count
        self._update_running_stats(mean.detach(), variance.detach() * (count / (count - 1)))
        outputs: Tensor = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            outputs = outputs * self.weight.view(shape) + self.bias.view(shape)
        return outputs.to(images.dtype)

    @torch.no_grad()
    def _update_running_stats(self, mean: Tensor, variance: Tensor) -> None:
        buffers = (self.num_batches_tracked, self.running_mean, self.running_var)
        batches, running_mean, running_variance = (buffer for buffer in buffers if buffer is not None)
        batches.add_(1)
        # Without a momentum, a plain mean over the batches, as in torch; their count stays on the device.
        weight = 1 / batches.float() if self.momentum is None else self.momentum
        running_mean.lerp_(mean, weight)
        running_variance.lerp_(variance, weight)


class _AllReduceSum(torch.autograd.Function):
    """Sum over the processes. Every process's value is in the loss of all, so the gradients are summed too."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor, process_group: ProcessGroup) -> Tensor:
        ctx.process_group = process_group
        return process_group.all_reduce(numbers.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.process_group.all_reduce(gradient.contiguous().clone()), None


class DistributedModel:
    """A network trained by all processes; with one process, the network itself.

    Args:
        train_model: the part of the network that takes the training batches.
    """

    def __init__(self, network: nn.Module, process_group: ProcessGroup, train_model: nn.Module) -> None:
        self.process_group = process_group
        self.module = network
        self.sync_batchnorms = [module for module in train_model.modules() if isinstance(module, SyncedBatchNorm)]
        self.wrapped = (
            DistributedDataParallel(train_model, **_DDP_KWARGS) if process_group.is_initialized else train_model
        )

    @contextmanager
    def batch_context(self, global_batch_size: int, is_last: bool) -> Iterator[nn.Module]:
        """Context for the forward and backward pass of one batch.

        Args:
            global_batch_size: the number of images in all processes.
            is_last: whether this is the last batch of a step, after which gradients are summed over the processes.
        """
        for norm in self.sync_batchnorms:
            norm.global_batch_size = global_batch_size if self.process_group.is_sharded(global_batch_size) else 0
        with self._gradient_sync(is_last):
            yield self.wrapped
        for norm in self.sync_batchnorms:
            norm.global_batch_size = 0

    def loss_scale(self, global_batch_size: int) -> int:
        """Return the factor for the loss of a shard, so that averaging the gradients over processes sums them."""
        return self.process_group.world_size if self.process_group.is_sharded(global_batch_size) else 1

    @torch.no_grad()
    def sync_batchnorm_stats(self, *copies: nn.Module) -> None:
        """Average batch-norm statistics over the processes where each has its own, in the network and in `copies`.

        Frozen statistics are equal in all processes and are left untouched.
        """
        if self.process_group.world_size == 1 or self.sync_batchnorms:
            return
        changing = [
            name for name, norm in self.module.named_modules() if isinstance(norm, _BatchNorm) and norm.training
        ]
        for network in (self.module, *copies):
            for name in changing:
                for buffer in network.get_submodule(name).buffers():
                    if buffer.is_floating_point():
                        self.process_group.all_reduce(buffer).div_(self.process_group.world_size)

    def _gradient_sync(self, is_last: bool) -> AbstractContextManager[Any]:
        if isinstance(self.wrapped, DistributedDataParallel) and not is_last:
            return self.wrapped.no_sync()
        return nullcontext()


def convert_sync_batchnorm(network: nn.Module, process_group: ProcessGroup) -> None:
    """Replace the batch norms of a network, in place, by ones that use the images of all processes."""
    if process_group.world_size == 1:
        return
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            setattr(network, name, SyncedBatchNorm(child, process_group))
        else:
            convert_sync_batchnorm(child, process_group)
