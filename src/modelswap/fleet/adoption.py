"""Which servers found running this fleet takes over, and how.

One that is what the configuration would start is taken over whole. One that is not, or whose model
is gone from the configuration, is taken over only to finish the requests of another front.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from modelswap.config.plan import Model
from modelswap.core.spec import ModelId, ModelSpec

from .servers import ModelServer, launch_spec_of, upstream_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.config.plan import Plan
    from modelswap.launch.protocol import Launcher, LaunchSpec, RunningServer

    from .ports import Ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What another front still did with the model servers when it gave them to this one."""

    leases: Mapping[ModelId, int] = field(default_factory=dict[ModelId, int])
    """How many requests of it run on each model."""
    ready: frozenset[ModelId] = frozenset()


NOTHING_INHERITED: Final = Inherited()


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    model: Model
    """At the port that its server has."""
    job: LaunchSpec
    is_same: bool
    """It is what the configuration would start."""
    in_flight: int
    is_ready: bool
    pid: int

    @property
    def facts(self) -> dict[str, bool]:
        """For the room."""
        return {"is_ready": self.is_ready, "is_leaving": not self.is_same}

    def carry_out(
        self, launcher: Launcher, servers: dict[ModelId, ModelServer], ports: Ports
    ) -> bool:
        """Enter the server in *servers* and take it over; say whether that was possible."""
        model = self.model
        servers[model.id] = ModelServer(model, upstream_of(model), self.pid)
        if not launcher.adopt(self.job, as_it_is=not self.is_same):
            del servers[model.id]
            return False
        if self.is_same and model.port is not None:
            ports.keep(model.id, model.port)
        return True


def adoption_of(plan: Plan, found: RunningServer, inherited: Inherited) -> Adoption | None:
    """Say how to take the server over; None: nobody needs it."""
    name = ModelId(found.model)
    used = inherited.leases.get(name, 0)
    model = plan.models.get(name) or _unknown(name)
    if found.port is not None and model.port is not None:
        model = model.at_port(found.port)
    job = launch_spec_of(model)
    is_same = job.fingerprint == found.fingerprint
    if not is_same and not used:
        return None
    return Adoption(
        model=model,
        job=job if is_same else replace(job, check=None),  # its probe may be another one
        is_same=is_same,
        in_flight=used,
        is_ready=name in inherited.ready or not is_same,
        pid=found.pid,
    )


def _unknown(name: ModelId) -> Model:
    """Return what stands for a model that is not configured any more, while its server finishes."""
    return Model(
        id=name,
        spec=ModelSpec(id=name),
        cmd="",
        argv=(),
        proxy="http://127.0.0.1:1",
        check_endpoint=None,
    )
