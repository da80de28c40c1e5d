"""What listens to a fit or a test: draws, writes, keeps checkpoints, sees to a good end."""
