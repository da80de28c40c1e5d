"""Readings of graded photographs to a rule: what is fitted, and what it is worth on eyes never seen."""
