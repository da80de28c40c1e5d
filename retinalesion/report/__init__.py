"""Readings to something to look at."""
