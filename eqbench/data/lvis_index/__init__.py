"""A columnar, memory-mapped index of an annotation file in LVIS or COCO format; no part of it needs torch."""

from eqbench.data.lvis_index.images import IndexedImages
from eqbench.data.lvis_index.index import AnnotationIndex
from eqbench.data.lvis_index.storage import open_index

__all__ = ["AnnotationIndex", "IndexedImages", "open_index"]
