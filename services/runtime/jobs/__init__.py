"""Jobs: long work that outlives its call. Every daemon that has some uses this."""
