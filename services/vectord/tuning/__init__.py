"""Which parameters serve an index best: questions, trials, the choice among them, and who goes looking by itself."""
