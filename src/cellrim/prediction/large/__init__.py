"""Images larger than memory: the same cells as in memory, from the image's file to the labels'.

The image is looked at once: its channels, their intensity range, and the size of its cells
(:mod:`~cellrim.prediction.large.plan`). Blocks of it, which do not overlap, go through the network,
each with the context it needs, and are decoded as far as a block can be
(:mod:`~cellrim.prediction.large.work`); what the blocks say of their edges is joined
(:mod:`~cellrim.prediction.large.joining`), and the labels are brought to the size of the image
square by square and get a pyramid (:mod:`~cellrim.prediction.large.labels`). Every block and square
is a file in a folder beside the result until that is whole
(:mod:`~cellrim.prediction.large.store`), so that a run that was killed goes on where it was.

For what is made of the cells, each is cut out of the squares once, whole
(:mod:`cellrim.core.parts`): measurements (:mod:`~cellrim.prediction.large.measured`) and files that
are lists of cells (:mod:`~cellrim.prediction.large.result`). What looks at the whole of the image
sees every n-th pixel (:attr:`LargeResult.thinned`).
"""

from cellrim.prediction.large.plan import asked_hash
from cellrim.prediction.large.progress import Progress, Report
from cellrim.prediction.large.result import STREAMED, LargeResult, check_streamed
from cellrim.prediction.large.segment import segment_large
from cellrim.prediction.large.store import Store
from cellrim.prediction.loading import Model

__all__ = [
    "STREAMED",
    "LargeResult",
    "Model",
    "Progress",
    "Report",
    "Store",
    "asked_hash",
    "check_streamed",
    "segment_large",
]
