"""Configuration: the files, what they may say, and the plan they amount to.

    source (files, YAML, environment) → legacy (older forms) → expansion (macros,
    ports) → decode (types, by the schema) → models, names, routing, settings → Plan

`load.load` is the door in; `plan` holds what comes out. Only this package
imports the YAML library. Mistakes are values (`node.Problem`), all at once.
"""
