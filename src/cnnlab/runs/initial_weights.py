"""The state that a training begins with, known again by its digest.

A run keeps no copy of it: it is drawn anew from the seed, or loaded anew. The digest tells whether what was made anew
is what the run began with, which another version of torch, another file of weights or an edited recipe would change.
"""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from cnnlab.records import InitialWeightsRecord
from cnnlab.storage.run_folder import INITIAL_WEIGHTS_FILE, RunFolder


def state_digest(network: nn.Module) -> str:
    """SHA-256 over every parameter and buffer of a network: name, type, shape and bytes, in the order of the names.

    Neither the device nor the order in memory matters.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        header = f"{name} {tensor.dtype} {tuple(tensor.shape)}\n"
        # As bytes, since NumPy knows no bfloat16.
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(header.encode() + values.numpy().tobytes())
    return digest.hexdigest()


def record_initial_weights(folder: RunFolder, network: nn.Module) -> None:
    """Write down what a training begins with; it has not taken a step yet."""
    record = InitialWeightsRecord(sha256=state_digest(network), tensors=len(network.state_dict()))
    folder.write(INITIAL_WEIGHTS_FILE, record.to_json(indent=2))
