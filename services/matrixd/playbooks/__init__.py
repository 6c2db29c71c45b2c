"""What was right before, and whether it may count now."""
