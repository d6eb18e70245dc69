"""Speed as ratios: each row compares two ways in one run on one machine, so that the machine cancels out."""
