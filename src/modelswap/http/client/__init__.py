"""The sending side: connections to upstreams, pooled, and the relay between both sides."""
