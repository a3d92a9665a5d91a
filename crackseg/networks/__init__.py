"""The networks by name; needs the extra ``train``.

Every entry is a function that returns a module (N, 3, H, W) float -> (N, 1, H, W) crack logits at
full size, for any H and W, or (N, 2, H, W) with those of other lines second. What else a module
may bring, each left out where it is not needed:

- with skip branches it returns a tuple in training mode, the final map first;
- an attribute ``encoder``: its weights learn at ``encoder_lr_ratio`` of the others' rate;
- an argument ``encoder_weights``: a file of weights to begin with, by its path beside the run file;
- a class attribute ``multiple``: what the sides of its graph divide by; 32 without it;
- a class attribute ``one_by_one`` that is True: its graph takes a batch picture by picture;
- ``loss(x, mask)`` of its own, where its targets are not pixels (classifiers, detectors).

``smp:ARCHITECTURE:ENCODER`` names any pair of
segmentation-models-pytorch, ``classifier:NAME`` a tile classifier, ``detector:NAME`` a detector of
boxes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from crackseg.errors import ConfigError, CracksegError
from crackseg.names import look_up
from crackseg.networks.arguments import check_arguments

NETWORKS: dict[str, str] = {
    "cdds": "crackseg.networks.cdds:cdds",
    "cdds_lite": "crackseg.networks.cdds_lite:cdds_lite",
    "cdds_site": "crackseg.networks.cdds_site:cdds_site",
    "fcn": "crackseg.networks.fcn:fcn",
    "fcn_lite": "crackseg.networks.fcn:fcn_lite",
    "icnet": "crackseg.networks.icnet:icnet",
    "mask_rcnn": "crackseg.networks.mask_rcnn:mask_rcnn",
    "resnet152": "crackseg.networks.smp_networks:resnet152",
    "segnet": "crackseg.networks.segnet:segnet",
    "unet": "crackseg.networks.unet:unet",
}
FAMILIES = {
    "classifier": "crackseg.networks.classifiers:classifier",  # classifier:NAME
    "detector": "crackseg.networks.detectors:detector",  # detector:NAME
    "smp": "crackseg.networks.smp_networks:smp_network",  # smp:ARCHITECTURE:ENCODER
}

_REFUSALS = (  # of libraries, for an encoder that has no such maps, a value they cannot take
    TypeError, ValueError, ArithmeticError, RuntimeError, LookupError, AttributeError,
    AssertionError,
)  # fmt: skip


def build(name: str, **arguments: Any) -> Any:
    """Return the network ``name`` with fresh weights.

    Args:
        name: a key of ``NETWORKS``, or a family of ``FAMILIES`` with its members by colon.
        arguments: keyword arguments of the network's function.

    Raises:
        UnknownName: no such network.
        ConfigError: a member of the family is missing, or an argument is unknown, of another type,
            out of range or refused by a library.
        MissingExtra: torch or a library of networks is not installed.
    """
    function, members = find(name)
    try:
        signature = inspect.signature(function)
        signature.bind(*members, **arguments)
    except TypeError as error:
        known = ", ".join(
            f"`{argument}`" for argument in list(signature.parameters)[len(members) :]
        )
        raise ConfigError(
            f"`arguments` of network `{name}`: {error}; it takes {known or 'none'}."
        ) from error
    check_arguments(name, function, arguments)
    try:
        return function(*members, **arguments)
    except CracksegError:
        raise
    except _REFUSALS as error:
        given = ", ".join(f"{key} = {value!r}" for key, value in arguments.items())
        raise ConfigError(f"network `{name}` cannot be built with {given}: {error}.") from error


def find(name: str) -> tuple[Callable[..., Any], list[str]]:
    """Return the function of a network, its libraries loaded, and the members after the colon.

    Raises:
        UnknownName: no such network or family.
        MissingExtra: torch or a library of networks is not installed.
    """
    family, *members = name.split(":")
    table, what = (FAMILIES, "family of networks") if members else (NETWORKS, "network")
    return look_up(table, family, what=what, extra="train"), members
