"""What a network says of a whole part of the data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from cnnlab.data.loader import Supply
from cnnlab.distributed import ALONE, World
from cnnlab.models.pretrained.transfer import resized
from cnnlab.models.train_mode import evaluating


def logits(network: nn.Module, feed: Supply, world: World = ALONE) -> npt.NDArray[np.float32]:
    """N×K logits, in the order of the part's images; where there are several processes each computes its share.

    In eval mode and 32-bit floats whatever the training used, so that the figures of a run hold on every machine.
    The network is left in the mode in which it was.
    """
    with evaluating(network), torch.inference_mode():
        batches = feed.enlarged(resized(network)).evaluation(share=world.share)
        found = torch.cat([network(images) for images, _ in batches])
    return world.gather(found.float(), len(feed)).cpu().numpy()
