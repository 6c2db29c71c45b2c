"""What of an index is on disk and in storage."""
