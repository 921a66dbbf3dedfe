"""From typed records to the frozen plan."""
