"""Logits to loss, score and step."""
