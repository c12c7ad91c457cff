import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellrim.io.exports.ring_text import RingText
from cellrim.io.polygons import trace_outlines

LABELS = arrays(
    np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 3)
)


def one_by_one(outline, text, *, closed):
    """The same notation with joins, one corner after another."""

    def ring(corners):
        corners = [*corners.tolist(), *corners[:1].tolist()] if closed else corners.tolist()
        return text.corners.join(
            text.before + str(x).encode() + text.between + str(y).encode() + text.after
            for x, y in corners
        )

    return text.parts.join(text.rings.join(map(ring, part)) for part in outline.parts)


@pytest.mark.parametrize("closed", [False, True])
@given(labels=LABELS, origin=st.tuples(st.integers(0, 5000), st.integers(0, 120)))
@settings(deadline=None)
def test_as_written_one_by_one(closed, labels, origin):
    text = RingText(b"(", b" ", b")", corners=b", ", rings=b"|", parts=b"||||", closed=closed)
    outlines = trace_outlines(labels, origin=origin)
    wanted = [one_by_one(outline, text, closed=closed) for outline in outlines]
    assert text.write(outlines) == wanted


def test_many_cells():
    labels = np.zeros((150, 150), np.int32)
    labels[::2, ::2] = np.arange(1, 75**2 + 1).reshape(75, 75)
    text = RingText(b"", b" ", b"", corners=b"L", rings=b"M", parts=b"N")
    outlines = trace_outlines(labels)
    assert text.write(outlines) == [one_by_one(o, text, closed=False) for o in outlines]
