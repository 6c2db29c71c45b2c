"""Rows in memory and in mapped files, and the searches on them."""
