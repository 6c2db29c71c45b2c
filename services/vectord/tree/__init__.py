"""An index as a tree of segments: written, sealed, merged, named, kept tidy."""
