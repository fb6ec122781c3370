"""What is taken where nothing is said; without PyTorch, for ``--help``."""

DEFAULT_EFFORT = 4
"""Of the search for better latents: see ``Codec``."""
