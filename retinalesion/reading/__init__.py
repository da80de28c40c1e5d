"""Photograph and checkpoint to reading."""
