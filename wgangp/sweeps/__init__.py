"""Sweeps: their jobs, tables, pages and searches."""
