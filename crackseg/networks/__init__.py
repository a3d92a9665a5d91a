"""The networks by name; needs the extra ``train``.

Every entry is a function that returns a module (N, 3, H, W) float -> (N, 1, H, W) crack logits at
full size, for any H and W. A module with skip branches returns a tuple in training mode, the
fused map first. ``smp:ARCH:ENCODER`` names any segmentation-models-pytorch pair,
``classifier:NAME`` a torchvision tile classifier.
"""

from __future__ import annotations

from typing import Any

from crackseg.names import look_up

NETWORKS: dict[str, str] = {
    "cdds_lite": "crackseg.networks.cdds_lite:cdds_lite",
}


def build(name: str, **arguments: Any) -> Any:
    """Return the network ``name`` with fresh weights.

    Args:
        name: a key of ``NETWORKS``.
        arguments: keyword arguments of the network's function.

    Raises:
        UnknownName: no such network.
        MissingExtra: torch or a library of networks is not installed.
    """
    return look_up(NETWORKS, name, what="network", extra="train")(**arguments)
