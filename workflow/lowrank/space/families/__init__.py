"""Families of architectures, a file each; `registry` has those that are supported."""
