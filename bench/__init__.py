"""`make bench`: what the API costs beside the bare driver doing the same, as ratios of one run."""
