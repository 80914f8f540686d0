"""The engine: runs a row in checkpoints, measures it once, keeps and verifies it."""
