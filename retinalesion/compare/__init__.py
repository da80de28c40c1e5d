"""Tested runs to the tables of the paper, with intervals and tests."""
