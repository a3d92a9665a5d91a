"""The readers of annotations by the name of their tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from crackseg.imagery.masks import MaskRule
from crackseg.training.annotation_readers import (
    Annotated,
    read_coco,
    read_cvat,
    read_labelme,
    read_masks,
)
from crackseg.training.label_studio import read_label_studio
from crackseg.training.via_and_yolo import read_via, read_yolo

Reader = Callable[[Path, MaskRule], Iterator[Annotated]]
READERS: dict[str, Reader] = {
    "coco": read_coco,
    "cvat": read_cvat,
    "labelme": read_labelme,
    "labelstudio": read_label_studio,
    "masks": read_masks,
    "via": read_via,
    "yolo": read_yolo,
}
