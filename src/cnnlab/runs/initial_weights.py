"""The digest of a network's initial weights.

A run stores no copy of its initial weights: they are initialised again from the seed, or loaded again. The digest shows
whether the result is the same; another version of torch, another weights file or an edited recipe would change it.
"""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from cnnlab.records import InitialWeightsRecord
from cnnlab.storage.run_folder import INITIAL_WEIGHTS_FILE, RunFolder


def state_digest(network: nn.Module) -> str:
    """SHA-256 of every parameter and buffer of a network: name, dtype, shape and bytes, sorted by name.

    It does not depend on the device or the memory format.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        header = f"{name} {tensor.dtype} {tuple(tensor.shape)}\n"
        # As bytes, since NumPy has no bfloat16.
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(header.encode() + values.numpy().tobytes())
    return digest.hexdigest()


def record_initial_weights(folder: RunFolder, network: nn.Module) -> None:
    """Write the digest of a network that has not been trained yet."""
    record = InitialWeightsRecord(sha256=state_digest(network), tensors=len(network.state_dict()))
    folder.write(INITIAL_WEIGHTS_FILE, record.to_json(indent=2))
