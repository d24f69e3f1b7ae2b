"""EditX serves Step-Audio-EditX: voice cloning and speech editing on one port, loaded on demand, gone when idle."""

from editx.lifecycle import LazyModelManager, ModelPool
from editx.recipe import Clone, Denoise, Emotion, Paralinguistic, Recipe, Speed, Style, Vad

__version__ = "0.1.0"

__all__ = [
    "Clone",
    "Denoise",
    "Emotion",
    "LazyModelManager",
    "ModelPool",
    "Paralinguistic",
    "Recipe",
    "Speed",
    "Style",
    "Vad",
    "__version__",
]
