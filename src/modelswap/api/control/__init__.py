"""Control routes: models, configuration, logs, activity, figures.

control_request   what a handler gets and returns
models            list, load, unload, profiles, configuration, health
model_loading     loading and unloading
observability     logs, events, activity, captures, metrics
"""
