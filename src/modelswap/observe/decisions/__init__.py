"""The log of decisions: each start of a model, who left for it, why, and how it ended.

decision  one of them, as it is kept and shown
log       those of this process: open ones, and the newest that ended
events    tells them: log, events, counters, store
table     those in the store's file
"""
