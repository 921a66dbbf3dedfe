"""Regular expressions of RE2, matched in linear time."""
