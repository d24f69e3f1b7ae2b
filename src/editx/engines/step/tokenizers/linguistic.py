"""vq02, the linguistic tokenizer: 16.67 codes a second, 1024 entries (spec 30 §5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.lib.format as npy
import torch

from editx.engines.step.tokenizers.codebook import nearest
from editx.engines.step.tokenizers.hook import Hook, no_hook
from editx.engines.step.tokenizers.linguistic_features import Cmvn, linguistic_features
from editx.engines.step.tokenizers.packing import pack
from editx.engines.step.tokenizers.sanm import LinguisticNetwork
from editx.engines.step.tokenizers.windows import windows
from editx.errors import LoadFailed


def read_centroids(path: Path) -> torch.Tensor:
    """Read `linguistic_tokenizer.npy`: float32 (entries, width). Raises LoadFailed for anything else.

    Read by hand, since `np.load` also opens zip archives and allocates whatever a header asks for.
    """
    try:
        with path.open("rb") as file:
            read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
            shape, is_fortran, dtype = read_header(file)
            content = file.read()
    except (OSError, ValueError, KeyError) as error:
        raise LoadFailed(f"{path} cannot be read as npy: {error}; fetch the published file again") from error
    if len(shape) != 2 or dtype != np.float32 or not len(content) == math.prod(shape) * 4 > 0:
        raise LoadFailed(
            f"{path} holds {len(content)} bytes as {dtype} {shape}, not a float32 matrix of centroids; it is damaged "
            "or truncated, fetch the published file again"
        )
    values = np.frombuffer(content, np.float32).reshape(shape, order="F" if is_fortran else "C")
    if not np.isfinite(values).all():
        raise LoadFailed(f"{path} holds numbers that are not finite; fetch the published file again")
    return torch.from_numpy(np.array(values, order="C"))


class LinguisticTokenizer:
    """Turns sound into linguistic codes. Holds no state between calls, so any number may be under way at once.

    `network` in float32 on its device; `codebook_kd` float32 (entries, 512). `packed`: give up the network's matrices
    for packed copies, see `packing.py`.
    """

    def __init__(
        self, network: LinguisticNetwork, cmvn: Cmvn, codebook_kd: torch.Tensor, *, packed: bool = True
    ) -> None:
        if codebook_kd.shape[1] != network.config.output_size:
            raise LoadFailed(
                f"the linguistic centroids are {codebook_kd.shape[1]} wide, and the encoder's output is "
                f"{network.config.output_size} wide; fetch linguistic_tokenizer.npy and model.pt of one release"
            )
        self.network = network
        self.device = next(network.parameters()).device
        self._cmvn = cmvn.to(self.device)
        self._codebook_kd = codebook_kd.to(self.device)
        if packed:
            pack(network)

    def encode(self, x_n: torch.Tensor, on_progress: Hook = no_hook) -> torch.Tensor:
        """Codes of one prepared clip: float32 (n,) at 16 kHz to int64 (code_count(n),), on the device."""
        return self.encode_batch([x_n], on_progress)[0]

    @torch.no_grad()
    def encode_batch(self, waves: Sequence[torch.Tensor], on_progress: Hook = no_hook) -> list[torch.Tensor]:
        """Codes of several clips in one pass; each gets what it would get alone."""
        features = [linguistic_features(x_n.to(self.device), self._cmvn) for x_n in waves]
        lengths = [len(rows) for rows in features]
        codes_t = nearest(self.hidden(features, on_progress), self._codebook_kd)
        return list(codes_t.split(lengths))

    @torch.no_grad()
    def hidden(self, features: Sequence[torch.Tensor], on_progress: Hook = no_hook) -> torch.Tensor:
        """Encoder output of clips given as feature rows (t_i, 560), one after the other: (Σt_i, 512)."""
        lengths = [len(rows) for rows in features]
        if not sum(lengths):
            return self._codebook_kd.new_zeros(0, self._codebook_kd.shape[1])
        at = windows(lengths, self.device)
        hidden_td: torch.Tensor = self.network.encoder(torch.cat(list(features)), at, lengths, on_progress)
        return hidden_td
