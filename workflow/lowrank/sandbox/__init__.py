"""Runs programs that a model wrote, where they can reach nothing."""
