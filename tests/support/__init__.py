"""Set-up shared by unit tests, system tests, the soak test and the benchmarks."""
