"""Datasets embedded as corpora, and kept fresh."""
