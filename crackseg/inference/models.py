"""A model folder becomes a checked record; a missing, altered or incomplete folder is refused.

- ``card.json``: what the model is and says of itself, with the digest of each file below.
- ``model.onnx``: `image` (n, h, w, 3) uint8 RGB -> `probability` (n, h, w) float32; holds the
  weights by name, for the torch runtime and for further training.
- ``weights.safetensors``: only where the graph does not hold them all.
- ``probe.npz``: `image` (n, h, w, 3) uint8 with its expected `probability`.
- ``model.int8.onnx``: optional, model.onnx in 8 bit, and ``probe.int8.npz``, what it gives.

Normalisation and the final sigmoid are inside model.onnx; nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crackseg import __version__
from crackseg.config import MaskOptions, read_options, to_plain
from crackseg.errors import ModelError, UnknownName
from crackseg.folders import sha256_of
from crackseg.metrology.ranking import FEATURES
from crackseg.model_card import refuse_newer
from crackseg.names import nearest
from crackseg.records import Array, ModelCard

CARD = "card.json"
GRAPHS = {"float": "model.onnx", "int8": "model.int8.onnx"}  # by precision
PROBES = {"float": "probe.npz", "int8": "probe.int8.npz"}
SAFETENSORS = "weights.safetensors"
FILES = (*GRAPHS.values(), *PROBES.values(), SAFETENSORS)  # that a card tells of
REQUIRED = (GRAPHS["float"], PROBES["float"])
SHIPPED = Path(__file__).parent.parent / "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model folder whose files match its card."""

    card: ModelCard
    folder: Path


def is_classifier(network: str) -> bool:
    """Tell whether a network of this name decides on whole tiles and draws no outline."""
    return network.startswith("classifier:")


def is_detector(network: str) -> bool:
    """Tell whether a network of this name finds boxes and draws no outline."""
    return network.startswith("detector:")


def shipped_models() -> dict[str, Path]:
    """Return the models that come with the package, by name."""
    return {card.parent.name: card.parent for card in sorted(SHIPPED.glob(f"*/{CARD}"))}


def default_model() -> str:
    """Return the name of the model to use when none is asked for.

    It is the one named in ``models/default.txt``, or the only one there is.

    Raises:
        ModelError: the package holds no model, or several and no ``default.txt``.
    """
    names = list(shipped_models())
    choice = SHIPPED / "default.txt"
    if choice.is_file():
        return choice.read_text(encoding="utf-8").strip()
    if len(names) == 1:
        return names[0]
    raise ModelError(
        f"no default model: expected one folder or `default.txt` in `{SHIPPED}`, got "
        f"{', '.join(names) or 'none'}; name a model folder."
    )


def load_model(name_or_folder: str | Path) -> Model:
    """Return the model of a shipped name or of a folder, after comparing every file's digest.

    Args:
        name_or_folder: "default", the name of a shipped model, or the path of a model folder.

    Raises:
        UnknownName: neither a shipped name nor an existing folder.
        ModelError: the folder is incomplete, or a file does not match the card.
    """
    folder = find_folder(name_or_folder)
    card = read_card(folder)
    missing = [name for name in REQUIRED if name not in card.sha256]
    if missing:
        raise ModelError(
            f"`{folder / CARD}` must give the sha256 of {', '.join(REQUIRED)}; "
            f"{', '.join(missing)} is missing. Export the model again."
        )
    for name, expected in card.sha256.items():
        _check_file(folder / name, expected)
    return Model(card=card, folder=folder)


def read_card(folder: Path) -> ModelCard:
    """Return the card of a model folder; digests are not compared here.

    Raises:
        ModelError: the card is missing, is not JSON, says something impossible, or is of a later
            release.
    """
    path = folder / CARD
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"model folder `{folder}` has no readable {CARD}: {error.strerror}."
        ) from error
    except (ValueError, RecursionError) as error:  # JSON's and UTF-8's errors are ValueErrors
        raise ModelError(f"`{path}` is not a model card: {error}") from error
    if isinstance(values, dict):  # first: of a later card this release does not know every key
        refuse_newer(values.get("needs"), __version__, str(path))
    try:
        card = read_options(ModelCard, values, where="card")
    except (ValueError, RecursionError) as error:  # ConfigError and ModelError are ValueErrors
        raise ModelError(f"`{path}` is not a model card: {error}") from error
    strange = set() if card.certainty is None else set(card.certainty.weights) - set(FEATURES)
    if strange:
        raise ModelError(
            f"`{path}`: `certainty.weights` must name features of this release, "
            f"{', '.join(FEATURES)}, got {', '.join(sorted(strange))}; run `crackseg calibrate`."
        )
    return card


def own_files(folder: Path, card: ModelCard) -> set[str]:
    """Return the files of a model's folder that its card tells of, as they are.

    Raises:
        ModelError: a file has the name of one of a model's and is another.
    """
    made = {
        name
        for name, digest in card.sha256.items()
        if (folder / name).is_file() and sha256_of(folder / name) == digest
    }
    for name in FILES:
        if os.path.lexists(folder / name) and name not in made:
            raise ModelError(
                f"`{folder / name}` is not the file that {CARD} beside it tells of and would be "
                "replaced; move it away or choose a new folder."
            )
    return made


def write_card(folder: Path, card: ModelCard) -> ModelCard:
    """Write ``card.json`` with this release and the digest of each file of a model.

    What else lies in the folder is somebody's own.

    Returns:
        That card.
    """
    digests = {n: sha256_of(folder / n) for n in sorted(FILES) if (folder / n).is_file()}
    card = replace(card, sha256=digests, needs=__version__)
    text = json.dumps(to_plain(card), indent=2, ensure_ascii=False, allow_nan=False)
    temporary = folder / f"{CARD}.tmp"
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(folder / CARD)
    return card


def has_eight_bit(card: ModelCard) -> bool:
    """Tell whether a model's folder holds its 8-bit graph with a probe and scores."""
    files = (GRAPHS["int8"], PROBES["int8"])
    return card.eight_bit is not None and all(name in card.sha256 for name in files)


def thresholds(options: MaskOptions, card: ModelCard) -> tuple[float, float]:
    """Return the threshold and the lower one of the hysteresis: the options', else the card's."""
    high = card.threshold if options.threshold is None else options.threshold
    low = card.threshold_low if options.threshold_low is None else options.threshold_low
    return high, min(low, high)


def lowered(options: MaskOptions, card: ModelCard) -> str:
    """Return a sentence where the lower threshold that was asked for was not used, or ""."""
    high, low = thresholds(options, card)
    if options.threshold_low is None or options.threshold_low <= high:
        return ""
    return (
        f"`threshold_low` must be at most `threshold` ({high:g}), got {options.threshold_low:g}: "
        f"{low:g} was used, so that no mark runs on below the threshold."
    )


def write_probe(folder: Path, image: Array, probability: Array, precision: str = "float") -> None:
    """Write ``probe.npz``, or that of another precision.

    Args:
        folder: the model folder.
        image: (n, h, w, 3) uint8 RGB.
        probability: (n, h, w) float32, what the network gives for it.
        precision: of the graph that gives it.
    """
    np.savez_compressed(
        folder / PROBES[precision], image=image, probability=probability.astype(np.float32)
    )


def read_probe(folder: Path, precision: str = "float") -> tuple[Array, Array]:
    """Return input and expected probability of a model's probe, as ``write_probe`` takes them.

    Raises:
        ModelError: the probe is unreadable.
    """
    path = folder / PROBES[precision]
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as probe:
            image, probability = probe["image"], probe["probability"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ModelError(f"`{path}` is not a probe: {error}.") from error
    if image.ndim == 3:
        image, probability = image[None], probability.reshape(1, *image.shape[:2])
    return image, probability


def find_folder(name_or_folder: str | Path) -> Path:
    """Return the folder of a model by the name of a shipped one, or its path.

    Raises:
        UnknownName: neither a shipped name nor an existing folder.
        ModelError: the default is asked for, and there is none.
    """
    shipped = shipped_models()
    name = default_model() if name_or_folder == "default" else name_or_folder
    if isinstance(name, str) and name in shipped:
        return shipped[name]
    folder = Path(name)
    if folder.is_dir():
        return folder
    raise UnknownName(
        f"unknown model `{name}`; shipped: {nearest(str(name), shipped) or 'none'}. "
        "Any model folder can be given by its path."
    )


def _check_file(path: Path, expected: str) -> None:
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise ModelError(
            f"model file `{path}` cannot be read: {error.strerror}. Fetch the folder again."
        ) from error
    if digest != expected:
        raise ModelError(
            f"model file `{path}` was altered: its card expects sha256 {expected}, got {digest}. "
            "Fetch the folder again, or export the model anew."
        )
