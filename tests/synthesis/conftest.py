"""What the tests of this folder share."""

import pytest

from ece661_sparse.training import load_mnist


@pytest.fixture(scope="session")
def digits():
    return load_mnist("quick").test.x
