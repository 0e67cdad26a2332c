"""`make bench`: what the API costs beside those who do less or the same, as ratios of one run."""
