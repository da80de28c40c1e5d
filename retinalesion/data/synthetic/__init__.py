"""Drawn photographs: eyes with all eight lesions, known truth and known grades, for demos and tests."""

from retinalesion.data.synthetic.source import SyntheticSource

__all__ = ["SyntheticSource"]
