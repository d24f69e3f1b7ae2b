"""Where the files of a variant are (spec 10 §1, 30 §1, 40 §1), and what is wrong with those that are not right.

Imports no torch, so that programs which only look for files stay small.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from editx import remedies
from editx.engines.shards import indexed_files
from editx.errors import LoadFailed

TOKENIZER_DIRECTORY = "Step-Audio-Tokenizer"
WEIGHT_DIRECTORIES = {
    "base": "Step-Audio-EditX",
    "awq": "Step-Audio-EditX-AWQ-4bit",
    "bnb": "Step-Audio-EditX-bnb-4bit",
}

DECODER_DIRECTORY = "CosyVoice-300M-25Hz"
PARAFORMER_DIRECTORY = "dengcunqin/speech_paraformer-large_asr_nat-zh-cantonese-en-16k-vocab8501-online"
WEIGHT_INDEX = "model.safetensors.index.json"

MODEL_FILES = ("config.json", "tokenizer.model")
DECODER_FILES = ("cosyvoice.yaml", "flow.pt", "hift.pt", "campplus.onnx")
TOKENIZER_FILES = ("linguistic_tokenizer.npy", "speech_tokenizer_v1.onnx")
PARAFORMER_FILES = ("config.yaml", "am.mvn", "model.pt")

_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_MAX_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """One file that is not as it should be."""

    path: Path
    what: str

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Every file the engine reads of one variant. `weights`: the safetensors shards of the language model."""

    model: Path
    config: Path
    weights: tuple[Path, ...]
    text_tokenizer: Path
    decoder_config: Path
    flow: Path
    vocoder: Path
    speaker: Path
    centroids: Path
    semantic: Path
    linguistic: Path
    linguistic_config: Path
    linguistic_cmvn: Path

    @property
    def without_sums(self) -> tuple[Path, ...]:
        """The files that hold no checksums of their own contents."""
        index = self.model / WEIGHT_INDEX
        return (
            self.text_tokenizer, self.config, *([index] if index.is_file() else []), self.decoder_config, self.speaker,
            self.centroids, self.linguistic_config, self.linguistic_cmvn, self.semantic,
        )  # fmt: skip

    @property
    def directories(self) -> tuple[Path, Path]:
        """The model's own, and the one of the audio tokenizers."""
        return self.model, self.semantic.parent


def find_files(model_path: Path, variant: str) -> ModelFiles:
    """All files of `variant` under `model_path`.

    Raises LoadFailed that names every file that is missing, empty or a git-LFS pointer, and the remedy.
    """
    problems = problems_of(model_path, variant)
    if problems:
        raise LoadFailed(
            f"variant {variant} cannot be loaded: {'; '.join(map(str, problems))}; {remedy(variant, model_path)}"
        )
    model = model_path / WEIGHT_DIRECTORIES[variant]
    decoder = model / DECODER_DIRECTORY
    tokenizer = model_path / TOKENIZER_DIRECTORY
    paraformer = paraformer_directory(tokenizer)
    return ModelFiles(
        model=model,
        config=model / "config.json",
        weights=weight_files(model),
        text_tokenizer=model / "tokenizer.model",
        decoder_config=decoder / "cosyvoice.yaml",
        flow=decoder / "flow.pt",
        vocoder=decoder / "hift.pt",
        speaker=decoder / "campplus.onnx",
        centroids=tokenizer / "linguistic_tokenizer.npy",
        semantic=tokenizer / "speech_tokenizer_v1.onnx",
        linguistic=paraformer / "model.pt",
        linguistic_config=paraformer / "config.yaml",
        linguistic_cmvn=paraformer / "am.mvn",
    )


def problems_of(model_path: Path, variant: str) -> list[Problem]:
    """What keeps `variant` from being loaded, as far as names and sizes tell. Reads no weights; takes milliseconds."""
    model = model_path / WEIGHT_DIRECTORIES[variant]
    tokenizer = model_path / TOKENIZER_DIRECTORY
    missing = [Problem(path, "is missing") for path in (model, tokenizer) if not path.is_dir()]
    if missing:
        return missing
    paraformer = paraformer_directory(tokenizer)
    wanted = [
        *(model / name for name in MODEL_FILES),
        *(model / DECODER_DIRECTORY / name for name in DECODER_FILES),
        *(tokenizer / name for name in TOKENIZER_FILES),
        *(paraformer / name for name in PARAFORMER_FILES),
    ]
    try:
        wanted.extend(weight_files(model))
    except LoadFailed:
        missing.append(Problem(model / "model.safetensors", f"is missing, and so are {WEIGHT_INDEX} and shards"))
    return missing + [Problem(path, what) for path in wanted if (what := _what_is_wrong(path))]


def weight_files(model: Path) -> tuple[Path, ...]:
    """The language model's weights: what the index names, else `model.safetensors`, else every `model-*.safetensors`.

    The files an index names need not be there. Raises LoadFailed when there is none, or the index is not one.
    """
    index = model / WEIGHT_INDEX
    if index.is_file():
        return indexed_files(index)
    single = model / "model.safetensors"
    found = (single,) if single.is_file() else tuple(sorted(model.glob("model-*.safetensors")))
    if not found:
        raise LoadFailed(
            f"{model} holds no weights: neither {WEIGHT_INDEX} nor model.safetensors nor model-*.safetensors"
        )
    return found


def paraformer_directory(tokenizer: Path) -> Path:
    """The directory of the linguistic encoder: the published one, else the only one with its three files."""
    published = tokenizer / PARAFORMER_DIRECTORY
    if not published.is_dir():
        found = [
            path.parent
            for path in tokenizer.rglob("model.pt")
            if all((path.parent / name).is_file() for name in PARAFORMER_FILES)
        ]
        if len(found) == 1:
            return found[0]
    return published


def is_pointer(path: Path) -> bool:
    """Whether a file is what git leaves of a large file that was not fetched."""
    try:
        if path.stat().st_size > _POINTER_MAX_BYTES:
            return False
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def remedy(variant: str, model_path: Path) -> str:
    """What to do about files that are missing or damaged."""
    instead = make_instead(WEIGHT_DIRECTORIES[variant])
    return remedies.fetch(variant, model_path) + (f"; if they are not to be had, {instead}" if instead else "")


def make_instead(directory: str) -> str:
    """How the weights of a directory can be made; empty for those that nothing makes."""
    variant = next((name for name, found in WEIGHT_DIRECTORIES.items() if found == directory and name != "base"), "")
    return (
        f"make them of those of base: `editx pull --variant base`, then `editx quantize {variant}`" if variant else ""
    )


def _what_is_wrong(path: Path) -> str:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not path.is_file():
        return "is not a file"
    if size == 0:
        return "is empty"
    return "is a git-LFS pointer, not the file itself" if is_pointer(path) else ""
