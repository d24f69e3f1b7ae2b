"""What the linears of the language model are fed by prompts, found layer by layer.

The prompts' hidden states are all that is kept between layers, so that the model never is in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.lm.model import Step1, chunk_size
from editx.engines.step.lm.switches import Switches
from editx.engines.step.quantize_scales import SITES

ROWS = 512
"""Rows of each input that are kept, chosen evenly from all prompts: the search for scales costs in proportion."""


class LayerInputs:
    """Carries prompts through one layer after the other, in fp32; `quantize.Inputs`.

    `prompts`: ids; `embeddings_td`: of all of them, one after the other, (tokens, hidden). `tick` is called many times
    a layer; what it raises ends the work.
    """

    def __init__(
        self,
        config: LanguageModelConfig,
        prompts: Sequence[Sequence[int]],
        embeddings_td: Tensor,
        *,
        rows: int = ROWS,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._lengths = [len(prompt) for prompt in prompts]
        self._hidden_td = embeddings_td.float()
        # q, k and v apart, so that each is a module which can be watched; one row of vocabulary, since none is needed.
        self._model = Step1(
            replace(config, layers=1, vocab_size=1),
            device="cpu",
            dtype=torch.float32,
            switches=replace(Switches(), joined_projections=False),
            max_tokens=max(self._lengths),
        )
        self._tick = tick
        tokens = sum(self._lengths)
        chosen = torch.randperm(tokens, generator=torch.Generator().manual_seed(0))[:rows]
        self._chosen_t = torch.zeros(tokens, dtype=torch.bool).index_fill_(0, chosen, True)

    @torch.no_grad()
    def __call__(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the next layer's linears are fed: by name within the layer, one for each site, fp32 (rows, in).

        `weights`: the layer's, by key within the layer.
        """
        layer = self._model.model.layers[0]
        layer.load_state_dict(dict(weights))
        taken: dict[str, list[Tensor]] = {site.observed: [] for site in SITES}
        chunk_t = slice(0, 0)

        def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            return lambda module, given: taken[name].append(given[0][0, self._chosen_t[chunk_t]])

        hooks = [layer.get_submodule(name).register_forward_pre_hook(watch(name)) for name in taken]
        cache = self._model.new_cache(1)
        try:
            first = 0
            for length in self._lengths:
                step = chunk_size(self._model, length)
                for at in range(0, length, step):
                    self._tick()
                    count = min(step, length - at)
                    chunk_t = slice(first + at, first + at + count)
                    bias_bgrt = self._model.bias.at(torch.arange(at, at + count)[None], at + count)
                    x_bsd = self._hidden_td[None, chunk_t]
                    self._hidden_td[chunk_t] = layer(x_bsd, 0, cache.chunk(0, at, count), bias_bgrt)[0]
                first += length
        finally:
            for hook in hooks:
                hook.remove()
        return {name: torch.cat(rows) for name, rows in taken.items()}
