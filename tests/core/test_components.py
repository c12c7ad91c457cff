import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cellrim.core.components import connected


@given(st.integers(1, 60), st.integers(0, 80), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_agrees_with_scipy(count, edges, seed):
    first, second = np.random.default_rng(seed).integers(0, count, (2, edges))
    graph = coo_array((np.ones(edges), (first, second)), shape=(count, count))
    expected = connected_components(graph, directed=False)[1]
    np.testing.assert_array_equal(connected(count, first, second), expected)


def test_a_long_chain_in_any_order_is_one():
    nodes = np.random.default_rng(0).permutation(100_000)
    assert not connected(len(nodes), nodes[:-1], nodes[1:]).any()


def test_no_nodes_and_no_edges():
    nothing = np.zeros(0, np.int64)
    assert connected(0, nothing, nothing).shape == (0,)
    np.testing.assert_array_equal(connected(3, nothing, nothing), [0, 1, 2])
