"""Images to bytes and back: models, entropy coding, frames, checkpoints, baselines, metrics."""
