"""The identity of a client: its name and its rights."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from modelswap.config.schema.schema import KeyScope
from modelswap.deferred import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    name: str
    """The key's name; empty where no keys are configured."""
    scopes: frozenset[str] = frozenset(KeyScope)
    models: tuple[str, ...] = ()
    """Shell patterns of the models it may use; empty: all."""
    background: bool = False
    no_swap: bool = False
    """Its requests are refused where another model would have to leave for them."""
    is_named: bool = True
    """The user gave the name, so it names a client; a generated name only says which key."""

    def may(self, scope: KeyScope) -> bool:
        """Tell whether a scope is granted; `admin` includes the others, `read` not inference."""
        return scope in self.scopes or KeyScope.ADMIN in self.scopes

    def may_use(self, *names: str) -> bool:
        """Tell whether a model may be used, known by any of these names (id, requested alias)."""
        return not self.models or any(
            fnmatchcase(name, pattern) for name in names for pattern in self.models
        )


ANONYMOUS: Final = Identity("")
"""Every client where no keys are configured."""
