"""The launcher's session with the keeper: connected or started, watched, ended."""
