"""The errors crackseg raises, all below one root so that a caller can catch them together.

    CracksegError
    ├─ ImageError(OSError)      unreadable, too large, wrong kind
    │  └─ UnsupportedImage      of a kind that is not read; the file may be sound
    ├─ OutputError(OSError)     what stands in the way was not made by this program
    ├─ StoreError(RuntimeError) an object store refuses, or does not answer
    ├─ ScaleError(ValueError)   missing, absurd or contradictory scale
    │  └─ AbsurdScale           no crack can be measured with it
    ├─ ModelError(ValueError)   model folder incomplete, probe fails
    ├─ ConfigError(ValueError)  unknown key, value out of range
    ├─ UnknownName(ValueError)  not in a table; nearest names first
    ├─ DataError(ValueError)    manifest row or annotation broken; names file, row, column
    ├─ TrainingError(ArithmeticError) a loss or a weight is not finite
    └─ MissingExtra(ImportError) says which extra to install

Wording: argument in backticks, what was expected, what came, the nearest fix.
"""


class CracksegError(Exception):
    """Root of every error this package raises on purpose."""


class ImageError(CracksegError, OSError):
    """An image file is unreadable, too large or of a wrong kind."""


class UnsupportedImage(ImageError):
    """A file is no image, or one of a kind that is not read."""


class OutputError(CracksegError, OSError):
    """A file or folder that was not made by this program stands where results would go."""


class StoreError(CracksegError, RuntimeError):
    """An object store refuses what it is asked, or does not answer: no word on what it holds."""


class ScaleError(CracksegError, ValueError):
    """A scale is missing, absurd or contradicts another source."""


class AbsurdScale(ScaleError):
    """A scale with which no crack can be measured: out of all bounds, or known to no use."""


class ModelError(CracksegError, ValueError):
    """A model folder is incomplete, altered, or its probe fails."""


class ConfigError(CracksegError, ValueError):
    """An option is unknown or its value is out of range."""


class UnknownName(CracksegError, ValueError):
    """A name is not in its table."""


class DataError(CracksegError, ValueError):
    """A manifest row, an annotation or a data file is broken."""


class NoPartner(DataError):
    """A set without lists has a picture without a mask, or a mask without a picture."""

    def __init__(self, message: str, pair: str) -> None:
        super().__init__(message)
        self.pair = pair  # SET/STEM


class TrainingError(CracksegError, ArithmeticError):
    """A training went astray: a loss or a weight is not finite."""


class MissingExtra(CracksegError, ImportError):
    """An optional dependency is not installed."""
