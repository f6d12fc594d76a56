"""Readers: one module per launch format; `resolve.py` turns what they read into a Run."""
