"""The native Step-Audio-EditX engine: PyTorch code of our own for the published checkpoints."""
