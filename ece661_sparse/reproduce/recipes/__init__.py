"""Recipes: functions that take a dense network to a pruned one, by one method."""
