"""Brings readings of devices, needs of models and placements together into facts for decisions."""
