"""Which files a variant needs, and what is said of those that are not right."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from editx.engines.layout import find_files, paraformer_directory, problems_of, weight_files
from editx.errors import LoadFailed

PARAFORMER = "Step-Audio-Tokenizer/dengcunqin/speech_paraformer-large_asr_nat-zh-cantonese-en-16k-vocab8501-online"
FILES = [
    *(f"Step-Audio-EditX/{name}" for name in ("config.json", "tokenizer.model", "model-00001.safetensors")),
    *(
        f"Step-Audio-EditX/CosyVoice-300M-25Hz/{name}"
        for name in ("cosyvoice.yaml", "flow.pt", "hift.pt", "campplus.onnx")
    ),
    "Step-Audio-Tokenizer/linguistic_tokenizer.npy",
    "Step-Audio-Tokenizer/speech_tokenizer_v1.onnx",
    *(f"{PARAFORMER}/{name}" for name in ("config.yaml", "am.mvn", "model.pt")),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    return tmp_path


def test_a_whole_root_has_no_problems(root: Path) -> None:
    assert problems_of(root, "base") == []
    files = find_files(root, "base")
    assert files.weights == (root / "Step-Audio-EditX" / "model-00001.safetensors",)
    assert files.linguistic == root / PARAFORMER / "model.pt"


@pytest.mark.parametrize("name", FILES)
def test_each_missing_file_is_named_with_the_remedy(root: Path, name: str) -> None:
    (root / name).unlink()
    with pytest.raises(LoadFailed, match="is missing") as error:
        find_files(root, "base")
    expected = name.replace("model-00001.safetensors", "model.safetensors")
    assert str(root / expected) in error.value.message
    assert f"editx pull --variant base --model-path {root}" in error.value.message


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git-LFS pointer")],
)
def test_files_without_content_are_told_apart(root: Path, content: bytes, said: str) -> None:
    names = ["Step-Audio-EditX/CosyVoice-300M-25Hz/flow.pt", "Step-Audio-Tokenizer/linguistic_tokenizer.npy"]
    for name in names:
        (root / name).write_bytes(content)
    problems = list(map(str, problems_of(root, "base")))
    assert len(problems) == 2
    assert all(name in problem and said in problem for name, problem in zip(names, problems, strict=True))


def test_a_folder_in_a_files_place_is_a_problem(root: Path) -> None:
    path = root / "Step-Audio-EditX" / "tokenizer.model"
    path.unlink()
    path.mkdir()
    assert [problem.what for problem in problems_of(root, "base")] == ["is not a file"]


def test_missing_directories_are_named_alone(root: Path) -> None:
    assert [str(problem) for problem in problems_of(root, "awq")] == [f"{root}/Step-Audio-EditX-AWQ-4bit is missing"]


def test_a_shard_that_the_index_names_must_be_there(root: Path) -> None:
    index = root / "Step-Audio-EditX" / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model-00001.safetensors", "b": "model-00002.safetensors"}}')
    assert [problem.path.name for problem in problems_of(root, "base")] == ["model-00002.safetensors"]
    assert len(weight_files(root / "Step-Audio-EditX")) == 2


def test_the_linguistic_encoder_is_found_under_another_name(root: Path) -> None:
    shutil.move(root / PARAFORMER, root / "Step-Audio-Tokenizer" / "paraformer")
    assert find_files(root, "base").linguistic == root / "Step-Audio-Tokenizer" / "paraformer" / "model.pt"
    shutil.copytree(root / "Step-Audio-Tokenizer" / "paraformer", root / "Step-Audio-Tokenizer" / "another")
    assert paraformer_directory(root / "Step-Audio-Tokenizer") == root / PARAFORMER
    with pytest.raises(LoadFailed, match="vocab8501-online"):
        find_files(root, "base")


def test_looking_for_files_imports_no_torch() -> None:
    code = "import sys, editx.engines.layout, editx.hub.pull; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
