"""Published layouts: the only code that knows how a set lies on disk."""
