"""Quantization of dense and compressed models, and what it takes in bytes."""
