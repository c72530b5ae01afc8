"""Any network as the same table that a layer table gives."""

from __future__ import annotations

from torch import nn

from cnnlab.model.backbones import natural_shape, network
from cnnlab.probe.tracing import trace_network
from cnnlab.records import Table


def backbone_table(name: str, shape: tuple[int, int, int] | None = None, classes: int | None = None) -> Table:
    """A torchvision or timm network by name, followed for one image without computing anything.

    Args:
        name: as `cnnlab.model.backbones.network` takes it.
        shape: (C, H, W) of the images; those that the network was made for where it is left out.
        classes: K; the library's own number where it is left out.

    Raises:
        SpecError: an unknown name, or images that the network can't take.
    """
    return network_table(network(name, classes), shape or natural_shape(name))


def network_table(network: nn.Module, shape: tuple[int, int, int]) -> Table:
    """Any network for images of `shape` (C, H, W), as `trace_network` follows it.

    `parameters` is all that the network has, also those of parts that don't run when it predicts, which have no row
    (the auxiliary classifiers of Inception v3). `macs` is the sum of the rows.

    Raises:
        SpecError: images that the network can't take.
    """
    rows = trace_network(network, shape)
    return Table(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        macs=sum(row.macs for row in rows),
        layers=rows,
        warnings=(),
    )
