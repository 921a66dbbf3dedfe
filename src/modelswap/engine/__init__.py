"""A llama-server look-alike on the llama.cpp that PyPI's `xllamacpp` wheel holds.

`python -m modelswap.engine --model m.gguf --port 8080` takes the common flags of
llama-server and serves the same HTTP routes, for machines without a llama.cpp build.

Law: a process of its own, which starts fast; nothing else of modelswap is imported.
It refuses flags it cannot honour: silently ignoring one would serve another model
than the one asked for.
"""
