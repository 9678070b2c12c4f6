"""Scores of a generator."""
