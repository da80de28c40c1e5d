"""Photograph to store to batch."""
