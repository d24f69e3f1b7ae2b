"""The NF4 kernel where there is no GPU: run by Triton's interpreter, and compiled for the GPUs it is meant for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton is for Linux")

INTERPRETED = """
import json
import torch
from editx.engines.step.lm import nf4_triton
from editx.engines.step.lm.nf4 import Nf4Linear

found = []
for dtype in (torch.float32, torch.bfloat16):
    for out, inside, rows in ((40, 256, 3), (48, 768, 1), (17, 512, 5)):
        layer = Nf4Linear(inside, out, device=torch.device("cpu"), dtype=dtype, kernel=False)
        layer.stated_dtype = dtype
        random = torch.Generator().manual_seed(out)
        for name, buffer in layer.named_buffers():
            buffer.copy_(torch.rand(buffer.shape, generator=random) * (255 if buffer.dtype == torch.uint8 else 0.1))
        x = torch.randn(rows, inside, generator=random).to(dtype)
        expected = x.double() @ layer.dequantized().double().T
        y = nf4_triton.multiply(x, layer.packed, layer._scales(), layer.quant_map)
        assert y.dtype == dtype and y.shape == (rows, out)
        found.append([str(dtype), float((y.double() - expected).abs().max() / expected.abs().max())])
print(json.dumps(found))
"""

COMPILED = """
import json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from editx.engines.step.lm import nf4_triton

capability, pointer = int(sys.argv[1]), sys.argv[2]
kinds = {"x": pointer, "packed": "*u8", "absmax": "*fp32", "quant_map": "*fp32", "y": pointer}
kinds |= {"OUT": "i32", "IN": "i32"}
sizes = {"BLOCK_OUT": nf4_triton.BLOCK_OUT, "BLOCK_IN": nf4_triton.BLOCK_IN}
source = ASTSource(nf4_triton._multiply, kinds | dict.fromkeys(sizes, "constexpr"), sizes)
made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4})
print(json.dumps({"binary": len(made.asm["cubin"]), "shared": made.metadata.shared}))
"""


def run(program: str, *arguments: str, cache: Path, **environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"TRITON_CACHE_DIR": str(cache)} | environment,
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_multiplies_by_the_weights_as_they_are_written_out(tmp_path: Path) -> None:
    found = run(INTERPRETED, cache=tmp_path, TRITON_INTERPRET="1")
    assert [kind for kind, _ in found] == ["torch.float32"] * 3 + ["torch.bfloat16"] * 3
    for kind, difference in found:  # the interpreter cuts numbers off where a GPU rounds them to bfloat16
        assert difference < (1e-6 if kind == "torch.float32" else 2**-6)


@pytest.mark.parametrize("capability", ["80", "120"])
@pytest.mark.parametrize("pointer", ["*bf16", "*fp32"])
def test_it_compiles_for_old_and_new_gpus(tmp_path: Path, capability: str, pointer: str) -> None:
    made = run(COMPILED, capability, pointer, cache=tmp_path)
    assert made["binary"] > 1000
    assert made["shared"] <= 48 * 1024
