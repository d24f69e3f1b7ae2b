"""The nearest entry is found, and the lowest of several."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from editx.engines.step.tokenizers.codebook import nearest
from tests import golden
from tests.engines.step.tokenizers.helpers import rule
from tests.golden import Golden


@pytest.mark.parametrize("file", golden.family("rules"), ids=repr)
def test_both_codebooks(file: Golden) -> None:
    assert torch.equal(nearest(file["kmeans_features"], rule(file.metadata["kmeans"], file.salt)), file["kmeans_codes"])
    features = F.normalize(file["vq06_features"])
    assert torch.equal(nearest(features, rule(file.metadata["vq06"], file.salt)), file["vq06_codes"])


def test_the_lowest_of_equals() -> None:
    codebook = torch.tensor([[3.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert nearest(torch.tensor([[0.0, 2.0], [0.9, 0.0], [9.0, 0.0]]), codebook).tolist() == [1, 2, 0]
    assert nearest(torch.zeros(0, 2), codebook).shape == (0,)
