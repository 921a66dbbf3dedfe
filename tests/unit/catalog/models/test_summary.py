"""What a header's chat template tells of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelswap.catalog.gguf.header import read_header
from modelswap.catalog.models.summary import summarize
from support.gguf_builder import chat_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("template", "tools", "reasoning"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", False, False),
        ("{% if tools %}{{ tools | tojson }}{% endif %}", True, False),
        ("{%- if message.tool_calls %}x{% endif %}", True, False),
        ("{% if enable_thinking is false %}<think>\n\n</think>{% endif %}", False, True),
        ("[THINK]{{ x }}[/THINK]", False, True),
        ("{{ reasoning_effort }}<|channel|>analysis", False, True),
        ("the stools of a bethinking man", False, False),
    ],
)
def test_abilities_are_in_the_template(
    template: str, tmp_path: Path, *, tools: bool, reasoning: bool
) -> None:
    """Templates that take tools name them; those that make a model think mark its thoughts."""
    builder = chat_model(tokenizer__chat_template=template)
    found = summarize(read_header(builder.write(tmp_path / "m.gguf")))
    assert (found.tools, found.reasoning) == (tools, reasoning)


def test_a_template_for_tools_alone(tmp_path: Path) -> None:
    """Some models keep a second template for requests with tools."""
    builder = chat_model()
    builder.metadata = {**builder.metadata, "tokenizer.chat_template.tool_use": "{{ x }}"}
    assert summarize(read_header(builder.write(tmp_path / "m.gguf"))).tools
