"""What kind of JPEG a file holds: 8 bit for Pillow, 12 bit and lossless for imagecodecs; its XMP.

Archives keep 12-bit and lossless JPEG; Pillow reads neither and calls them damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crackseg.errors import UnsupportedImage
from crackseg.imagery.headers import MAX_PIECES

_NO_LENGTH = {0x01, *range(0xD0, 0xD9)}  # TEM, restart marks, start of image
_NOT_FRAMES = {0xC4, 0xC8, 0xCC}  # tables and a reserved code among the frame marks
_HIERARCHICAL = {0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF}
_XMP = b"http://ns.adobe.com/xap/1.0/\0"  # what a segment with a packet begins with
_RARE = dict.fromkeys(_HIERARCHICAL, "hierarchical JPEG") | {
    0xCB: "lossless JPEG with arithmetic coding",
    0xF7: "JPEG-LS",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The frame header: how samples are coded."""

    mark: int
    at: int  # of the precision byte
    bits: int
    channels: int
    has_adobe: bool  # Adobe's marker stands before it

    @property
    def is_deep(self) -> bool:
        """Whether imagecodecs must decode it: more than 8 bits, or lossless."""
        return self.bits != 8 or self.mark == 0xC3

    @property
    def is_baseline(self) -> bool:
        """Whether it is coded as cameras do, as a rule in one scan."""
        return self.mark == 0xC0


def read_frame(data: bytes, path: Path) -> Frame | None:
    """Return the frame header, or None where there is none before the data ends.

    Raises:
        UnsupportedImage: JPEG-LS, hierarchical, lossless with arithmetic coding, or a number of
            channels that is no picture.
    """
    has_adobe = False
    for mark, at in _segments(data):
        has_adobe = has_adobe or (mark == 0xEE and data[at + 4 : at + 9] == b"Adobe")
        if mark in _RARE or (0xC0 <= mark <= 0xCF and mark not in _NOT_FRAMES):
            frame = Frame(
                mark=mark,
                at=at + 4,
                bits=data[at + 4],
                channels=data[at + 9],
                has_adobe=has_adobe,
            )
            _refuse_rare(frame, path)
            return frame
    return None


def read_packets(data: bytes) -> list[bytes]:
    """Return the XMP packets before the picture, in order: an editor may add one to a camera's."""
    parts = (data[at + 4 : at + 2 + _length(data, at)] for m, at in _segments(data) if m == 0xE1)
    return [part.removeprefix(_XMP) for part in parts if part.startswith(_XMP)]


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the mark of each segment before the first scan, and where it begins."""
    at = 2
    for _ in range(4 * MAX_PIECES):
        if data[at : at + 1] != b"\xff" or at + 10 > len(data):
            return
        mark = data[at + 1]
        if mark == 0xFF or mark in _NO_LENGTH:
            at += 1 if mark == 0xFF else 2
            continue
        if mark == 0xDA:
            return
        yield mark, at
        at += 2 + _length(data, at)


def _length(data: bytes, at: int) -> int:
    return int.from_bytes(data[at + 2 : at + 4], "big")


def as_eight_bit(data: bytes, frame: Frame) -> bytes:
    """Return the bytes with a frame header that claims 8 bits, so that Pillow reads the rest."""
    return data[: frame.at] + b"\x08" + data[frame.at + 1 :]


def _refuse_rare(frame: Frame, path: Path) -> None:
    if frame.mark in _RARE:
        raise UnsupportedImage(
            f"`{path.name}` is a {_RARE[frame.mark]}; expected a usual JPEG, PNG or TIFF: save it "
            "as one."
        )
    if frame.channels not in (1, 3, 4):
        raise UnsupportedImage(
            f"`{path.name}` has {frame.channels} channels; expected a grey, colour or CMYK picture."
        )
