"""Builds the program from its parts, and runs it: start, reload, hand-over, shutdown.

options          what the command line asked for
program          builds every object, and serves
reload           applies a changed configuration to the running program
handover_runner  hands over to a new process
shutdown         ends the program in order
systemd          notifies the service manager
"""
