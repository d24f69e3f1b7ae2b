"""Every optimisation of the language model, each of which can be switched off."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Switches:
    """All on by default; where a device cannot do one it is off by itself."""

    joined_projections: bool = True
    """q, k and v in one product, gate and up in one."""
    packed_weights: bool = True
    """Keep plain fp32 weights on the CPU in the layout that its library multiplies them in."""
    fused_norm: bool = True
    """One kernel per RMS norm in reduced precision off the CPU; its one rounding differs from the reference's two."""
    quantized_kernels: bool = True
    """Multiply packed int4 and NF4 weights without writing them out."""
    written_out: bool = True
    """Write int4 and NF4 weights out once on the CPU and MPS where no kernel multiplies them; off: in every call."""
    cut_head: bool = True
    """Compute only the rows of the head that the structure mask allows."""
    graph: bool = True
    """Replay the decode step as a CUDA graph."""
    prefix_reuse: bool = True
    """Keep keys and values of constant beginnings of prompts."""

    @classmethod
    def none(cls) -> Switches:
        """Everything off."""
        return replace(cls(), **dict.fromkeys(cls.__slots__, False))
