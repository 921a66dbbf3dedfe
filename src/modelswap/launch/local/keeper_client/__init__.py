"""The launcher's session with the keeper: connected or started, watched, ended.

link       one connection: how a keeper is found or started, and its frames
watchdog   notices a keeper that executes no orders
session    both together, as the launcher uses them
"""
