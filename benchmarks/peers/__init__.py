"""Serving engines that a user would pick instead, each serving the bare transforms of our model.

Their servers run in virtual environments of their own and import nothing of Kompakt: the transforms
come to them as ONNX files, and run in ONNX Runtime on one thread.
"""

TRANSFORMS = {"compress": "analysis", "decompress": "synthesis"}
"""Which transform stands for which direction."""
ITEM_SHAPES = {"analysis": (28, 28), "synthesis": (24,)}
"""What one item of a transform's batch is: an image, or the latents of mnist-vae."""
ITEM_TYPES = {"analysis": "uint8", "synthesis": "int8"}
