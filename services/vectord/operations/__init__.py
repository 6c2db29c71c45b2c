"""Long work on whole indexes."""
