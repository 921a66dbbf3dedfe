"""From the configuration files to the plan: one frozen, validated record of all settings.

    source (files, YAML, environment, older forms) → macros (expansion, ports)
      → compile (typed records by the schema, names, routing, settings) → plan

`load.load` is the entry; `plan` holds the result; `diff` compares two of them.
The folders import downwards only: load; checks, describe, diff; compile, source; macros; messages,
commands, regex; redact; plan; schema; tree.

Guarantees: a mistake of the user is a value (`messages.report.Problem`); all of them are found at once.
Only this package imports the YAML library.
"""
