"""A llama-server look-alike on the llama.cpp of PyPI's `xllamacpp` wheel.

`python -m modelswap.engine --model m.gguf --port 8080` takes the common flags of llama-server and
serves the same HTTP routes, for machines without a llama.cpp build.

`table`: the flags. `flags`: reads arguments. `params`: sets the wheel's parameters. `server`: serves.

Guarantees: it is a process of its own that starts fast and imports nothing else of modelswap. It
refuses flags that it does not know: to ignore one would serve another model than the requested one.
"""
