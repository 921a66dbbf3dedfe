"""One model server as the fleet holds it: how it is started, its handle, its connections."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from modelswap.config.commands.addresses import fixed_ports
from modelswap.core.models.lifecycle import ALIVE
from modelswap.core.placement.policy import ANYWHERE
from modelswap.core.spec import ModelId, ServerId
from modelswap.deferred import dataclass
from modelswap.http import Address, UpstreamPool
from modelswap.launch.protocol import LaunchSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modelswap.config.plan import Model
    from modelswap.core.models.lifecycle import Phase
    from modelswap.core.placement.policy import Placement
    from modelswap.devices.memory import DeviceMemory
    from modelswap.launch.protocol import Handle


def server_id_of(model: ModelId) -> ServerId:
    """Return the id of a model's server. Adoption and the keeper rely on it: it is the model's own."""
    return ServerId(model)


def model_of(server: ServerId) -> ModelId:
    """Return the model that a server serves."""
    return ModelId(server)


class LaunchSpecs:
    """Knows which ports the models of a configuration have, so that no server is given another's."""

    def __init__(self, models: Mapping[ModelId, Model]) -> None:
        self._usual = frozenset(m.port for m in models.values() if m.port is not None)
        self._fixed = fixed_ports(models)

    def of(
        self,
        model: Model,
        placement: Placement = ANYWHERE,
        devices: Sequence[DeviceMemory] = (),
    ) -> LaunchSpec:
        """Say to the launcher what the configuration says of one model.

        *devices* are this machine's, by which the GPUs of the placement are shown to the server.
        """
        reserved = self._fixed if model.port is None else self._usual - {model.port} | self._fixed
        return LaunchSpec(
            server=server_id_of(model.id),
            argv=model.argv,
            env=model.env,
            stop_command=model.stop_command,
            url=model.proxy,
            check=model.check_endpoint,
            key="" if model.api_key is None else model.api_key.reveal(),
            port=model.port,
            reserved_ports=reserved,
            placement=placement,
            device_env=_device_environment(model, placement, devices),
            render=None
            if model.render is None
            else lambda port: self.of(model.at_port(port), placement, devices),
        )


def _device_environment(
    model: Model, placement: Placement, devices: Sequence[DeviceMemory]
) -> tuple[str, ...]:
    if not placement.devices:
        return ()
    from modelswap.devices.visibility import (  # noqa: PLC0415 - most machines have one GPU, or none
        visible_environment,
    )

    by_id = {device.id: device for device in devices}
    chosen = [by_id[name] for name in placement.devices if name in by_id]
    return visible_environment(chosen, model.argv, model.env)


@dataclass(slots=True, eq=False)
class ModelServer:
    """One model server, from its start to its exit."""

    model: Model
    """As it runs: at its port and its address, as far as the launcher has told them."""
    spec: LaunchSpec | None = None
    """How it was started; `None` when another front did that."""
    handle: Handle | None = None
    starts: int = 1
    """How often the launcher was asked to start it, the retries included."""
    address: str = ""
    """Empty until the launcher has told it."""
    upstream: UpstreamPool = field(init=False)
    """There as soon as the address is known, so before any lease is granted."""

    @property
    def pid(self) -> int | None:
        return None if self.handle is None else self.handle.pid

    def on_started(self, handle: Handle) -> None:
        self.handle = handle
        self._show(self.model)

    def on_address(self, address: str) -> None:
        """Learn where the server answers; no connection is open yet.

        Raises:
            ValueError: it is not a URL that can be connected to.
        """
        if address != self.address:
            self.upstream = UpstreamPool(Address.parse(address), self.model.timeouts)
            self.address = address
            self._show(self.model)

    def on_reload(self, model: Model) -> None:
        """Go on with what a reload says about the same server: name, priority, timeouts."""
        self._show(model)
        if self.address:
            self.upstream.timeouts = model.timeouts

    def _show(self, model: Model) -> None:
        port = None if self.handle is None else self.handle.port
        model = model if port is None else model.at_port(port)
        self.model = replace(model, proxy=self.address) if self.address else model

    def close(self) -> None:
        """Close its connections: an open one delays the server's exit."""
        if self.address:
            self.upstream.close()

    def on_exited(self) -> None:
        """Let running exchanges read what it still sent."""
        if self.address:
            self.upstream.close_after_exit()


def running(
    models: Mapping[ModelId, Model],
    servers: Mapping[ModelId, ModelServer],
    phase_of: Callable[[ModelId], Phase],
) -> list[tuple[Model, Phase, int | None]]:
    """Return (model as it runs, phase, pid) of every model that is not down, by id."""
    found: list[tuple[Model, Phase, int | None]] = []
    for name in sorted({*models, *servers}):  # removed ones may still finish
        phase = phase_of(name)
        if phase in ALIVE:
            server = servers.get(name)
            shown = models[name] if server is None else server.model
            found.append((shown, phase, None if server is None else server.pid))
    return found
