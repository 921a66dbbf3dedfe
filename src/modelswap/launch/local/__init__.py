"""The launcher of this machine, a client of the keeper.

launcher         `LocalLauncher`: orders to the keeper, news from it
keeper_client    the session with the keeper
server           what is known of each server
exits            how a server ended, in words
readiness        waits until it is the server that answers
ports            which ports are free, which process holds one, which a server is given
state            the state directory and its lock
fronts           which fronts run, and what they say of themselves
pid1             the duties of process 1
"""
