"""Changes of ranking, tried in shadow and promoted with evidence."""
