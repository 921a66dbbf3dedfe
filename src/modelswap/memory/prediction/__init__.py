"""From a command and the headers of its files to bytes; pure: it opens no file.

`options`: the command line of llama.cpp's server. `shape`: what a header says of a model. `weights`,
`cache`, `compute`, `projector`: the parts. `llama_cpp`: their sum. `other_servers`: vLLM and others.

Guarantees: whatever a header says, the numbers are bounded and the time is that of its tensors.
Units: bytes, unless a name says tokens or elements.
"""
