"""Batch to logits: pure torch."""
