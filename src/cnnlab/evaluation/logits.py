"""A network's logits on a whole split of the data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cnnlab.data.loader import Loader
from cnnlab.distributed import SINGLE_PROCESS, ProcessGroup
from cnnlab.models.pretrained.transfer import max_resize
from cnnlab.models.train_mode import eval_mode


def predict_logits(
    network: nn.Module, loader: Loader, process_group: ProcessGroup = SINGLE_PROCESS
) -> npt.NDArray[np.float32]:
    """Compute the N×K logits in the order of the split's images; several processes each compute their shard.

    In eval mode and 32-bit floats whatever the training used, so that figures are comparable between machines.
    The network's mode is restored.
    """
    with eval_mode(network), torch.inference_mode():
        batches = loader.with_input_size(max_resize(network)).eval_batches(shard=process_group.shard)
        logits = torch.cat([network(images) for images, _ in batches])
    return process_group.all_gather(logits.float(), len(loader)).cpu().numpy()
