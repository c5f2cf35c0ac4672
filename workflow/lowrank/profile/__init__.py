"""Latency, energy and memory of a compressed model beside the dense one."""
