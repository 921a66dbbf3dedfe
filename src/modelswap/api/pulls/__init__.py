"""What clients hear of pulls: events, log lines, and words for those who wait."""
