"""Thin a pixel list to lines one pixel wide (Zhang and Suen), alike in all eight orientations."""

from __future__ import annotations

import numpy as np

from crackseg.metrology.pixels import Pixels
from crackseg.records import Array


def _rule(side: int) -> Array:
    """Return the (256,) table: neighbourhood code -> whether the pixel goes in this half pass.

    Bit k is the neighbour in direction k, from N clockwise.

    Source: Zhang and Suen 1984, conditions (a)-(d) and (c')-(d'), with three neighbours at least
        after Lü and Wang 1986: with two, diagonal lines of even width vanish whole.
    """
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    neighbours = bits.sum(axis=1)
    rises = ((bits == 0) & (np.roll(bits, -1, axis=1) == 1)).sum(axis=1)
    n, e, s, w = bits[:, 0], bits[:, 2], bits[:, 4], bits[:, 6]
    sides = (
        (n * e * s == 0) & (e * s * w == 0) if side == 0 else (n * e * w == 0) & (n * s * w == 0)
    )
    rule: Array = (neighbours >= 3) & (neighbours <= 6) & (rises == 1) & sides
    return rule


def _corner(turn: int) -> Array:
    """Return the (256,) table: code -> whether the pixel is the inside of a stair step.

    Its neighbours on two sides touch each other diagonally, so the line holds without it.
    """
    bits = (np.arange(256)[:, None] >> ((np.arange(8) + turn) % 8)) & 1
    rule: Array = (bits[:, 0] & bits[:, 2] & (1 - (bits[:, 4] | bits[:, 5] | bits[:, 6]))) == 1
    return rule


_RULES = (_rule(0), _rule(1))
_CORNERS = tuple(_corner(turn) for turn in (0, 2, 4, 6))


def thin(table: Array) -> Array:
    """Return the (N,) bool skeleton of the pixels of an (N, 8) neighbour table."""
    count = len(table)
    alive = np.ones(count + 1, dtype=bool)
    alive[count] = False
    remaining = np.arange(count)
    before = -1
    while before != len(remaining):
        before = len(remaining)
        for rule in _RULES:
            remaining = _delete(rule, table, alive, remaining)
    for rule in _CORNERS:
        remaining = _delete(rule, table, alive, remaining)
    return alive[:count]


def _delete(rule: Array, table: Array, alive: Array, remaining: Array) -> Array:
    """Clear in ``alive`` the pixels that ``rule`` takes, all at once, and return the others."""
    code = np.packbits(alive[table[remaining]], axis=1, bitorder="little")[:, 0]
    gone = rule[code]
    alive[remaining[gone]] = False
    return remaining[~gone]


def pose_table(pixels: Pixels, label: Array, count: int) -> Array:
    """Return the neighbour table with each component's directions as seen in its own pose.

    Zhang-Suen takes north-west borders before south-east ones, so a flipped crack would get
    another skeleton. Seen in its own pose (two flips, then a transposition, chosen by moments
    that change sign or place with the crack), a flip or quarter turn changes nothing.

    Args:
        pixels: the mask.
        label: (N,) component of each pixel.
        count: number of components.
    """
    pose = _pose(pixels, label, count)[label]
    table = np.empty_like(pixels.table)
    for number in np.unique(pose):
        directions = np.arange(8)
        if number & 1:
            directions = (6 - directions) % 8  # rows and columns change places
        if number & 2:
            directions = (8 - directions) % 8  # E and W change places
        if number & 4:
            directions = (4 - directions) % 8  # N and S change places
        chosen = np.flatnonzero(pose == number)
        table[chosen] = pixels.table[chosen][:, directions]
    return table


def _pose(pixels: Pixels, label: Array, count: int) -> Array:
    """Return the (count,) pose of each component: bit 2 flips rows, 1 columns, 0 transposes."""
    u, v = _centred(pixels.rows, label, count), _centred(pixels.cols, label, count)
    uu, vv = u * u, v * v

    def moment(weights: Array) -> Array:
        return np.bincount(label, weights=weights, minlength=count)

    # Sums of whole numbers, exact below 2**53, so a symmetric crack gives a true zero.
    odd_u = (moment(u), moment(uu * u), moment(u * vv))
    odd_v = (moment(v), moment(vv * v), moment(uu * v))
    sign_u, sign_v = _first_sign(*odd_u), _first_sign(*odd_v)
    flip_u, flip_v = sign_u < 0, sign_v < 0
    skew = moment(u * v) * np.where(flip_u == flip_v, 1, -1)
    flip_u ^= (sign_u == 0) & (skew < 0)
    flip_v ^= (sign_u != 0) & (sign_v == 0) & (skew < 0)
    longer = [moment(uu) - moment(vv)]
    longer += [np.abs(a) - np.abs(b) for a, b in zip(odd_u, odd_v, strict=True)]
    pose: Array = flip_u * 4 + flip_v * 2 + (_first_sign(*longer) < 0)
    return pose


def _centred(position: Array, label: Array, count: int) -> Array:
    """Return twice the distance of each pixel from the middle of its component's extent."""
    low = np.full(count, np.iinfo(np.int64).max)
    high = np.full(count, -1)
    np.minimum.at(low, label, position)
    np.maximum.at(high, label, position)
    centred: Array = (2 * position - (low + high)[label]).astype(np.float64)
    return centred


def _first_sign(*values: Array) -> Array:
    """Return the sign of the first value that is not zero, element by element."""
    sign = np.zeros_like(values[0])
    for value in values:
        sign = np.where(sign == 0, np.sign(value), sign)
    return sign
