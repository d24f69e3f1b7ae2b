"""Convolution of a signal kept as its even and odd samples, in three quarters of the multiplications.

With x split into phases E, O and a kernel into its even and odd taps H0, H1, the two phases of the result are
H0 E + H1 O and (H0 + H1)(E + O) - H0 E - H1 O, but for shifts: three convolutions of half the taps over half the
samples instead of four. Exact but for rounding. Elementwise work does not care about phases, so a whole residual block
runs on them. A gain where multiplications are what costs (CPU), none where launches are.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from editx.engines.step.decoder.conv_kernel import ConvKernel


def split(x_bc1t: Tensor) -> Tensor:
    """(B, C, 1, T) -> the phases (2B, C, 1, ceil(T / 2)), even first, channels-last; a missing odd sample is zero."""
    batch, channels, _, length = x_bc1t.shape
    rows = x_bc1t.squeeze(2).transpose(1, 2)
    phases = rows.new_empty(2 * batch, -(-length // 2), channels)
    phases[:batch] = rows[:, ::2]
    phases[batch:, : length // 2] = rows[:, 1::2]
    if length % 2:
        phases[batch:, -1] = 0
    return phases.transpose(1, 2).unsqueeze(2)


def merge(phases: Tensor, length: int) -> Tensor:
    """What `split` was given, `length` samples."""
    even, odd = phases.squeeze(2).transpose(1, 2).chunk(2)
    return torch.stack([even, odd], dim=2).flatten(1, 2)[:, :length].transpose(1, 2).unsqueeze(2)


class HalfRateConv:
    """A length-preserving convolution of an odd kernel and an odd dilation, on phases."""

    def __init__(self, weight: Tensor, bias: Tensor, dilation: int, *, packed: bool = True) -> None:
        taps = weight.shape[2]
        middle = (taps - 1) // 2 * dilation
        if taps % 2 == 0 or dilation % 2 == 0 or middle % 2 == 0:
            raise ValueError(f"a kernel of {taps} taps with dilation {dilation} does not split into phases this way")
        both = weight[:, :, ::2].clone()
        both[:, :, 1:] += weight[:, :, 1::2]
        self._shift = (dilation - 1) // 2
        self._centre = (middle - 1) // 2
        reach = (taps // 2) * dilation
        self._padding = max(self._centre + 1, reach - self._centre + self._shift)
        self._reach, self._odd_reach = reach, reach - dilation
        kernel = partial(ConvKernel, padding=self._padding, dilation=dilation, packed=packed)
        self._even, self._odd = kernel(weight[:, :, ::2], bias), kernel(weight[:, :, 1::2], None)
        # The sum's bias is subtracted once with the even part.
        self._both = kernel(both, 2 * bias)

    @staticmethod
    def suits(taps: int, dilation: int) -> bool:
        return taps % 2 == 1 and dilation % 2 == 1 and ((taps - 1) // 2) % 2 == 1

    def __call__(self, phases: Tensor, *, odd_length: bool) -> Tensor:
        """Phases (2B, C, 1, L) -> (2B, C', 1, L). With `odd_length` the last odd sample is missing and stays zero."""
        even_x, odd_x = phases.chunk(2)
        length, shift, centre, padding = phases.shape[3], self._shift, self._centre, self._padding
        total = F.pad(odd_x, (0, shift)) if shift else odd_x.clone(memory_format=torch.preserve_format)
        total[..., shift:] += even_x
        a = self._even(even_x)[..., centre - shift - self._reach + padding :]
        b = self._odd(odd_x)[..., centre - shift - self._odd_reach + padding :]
        m = self._both(total)[..., centre - self._reach + padding :][..., :length]
        batch, channels = m.shape[:2]
        rows = m.new_empty(2 * batch, length, channels)
        y = rows.transpose(1, 2).unsqueeze(2)
        # a and b begin at centre - shift; the result's even samples are the causal filter's odd ones.
        torch.sub(m, a[..., :length], out=y[:batch]).sub_(b[..., shift : shift + length])
        torch.add(a[..., shift + 1 : shift + 1 + length], b[..., :length], out=y[batch:])
        if odd_length:
            rows[batch:, -1] = 0
        return y
