"""The design space (thesis, Chapter 3): architectures, configurations γ, methods."""
