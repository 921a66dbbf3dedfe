"""The need of each model: what it declares, what was learned of it, and what is predicted."""
