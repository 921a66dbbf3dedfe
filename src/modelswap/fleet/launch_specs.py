"""How the models of one configuration become launch specifications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelswap.config.compile.addresses import fixed_ports
from modelswap.core.placement.policy import ANYWHERE
from modelswap.launch.protocol import LaunchSpec

from .model_server import server_id_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelswap.config.plan import Model
    from modelswap.core.placement.policy import Placement
    from modelswap.core.spec import ModelId


class LaunchSpecs:
    """Knows which ports the models of a configuration have, so that no server is given another's."""

    def __init__(self, models: Mapping[ModelId, Model]) -> None:
        self._usual = frozenset(m.port for m in models.values() if m.port is not None)
        self._fixed = fixed_ports(models)

    def of(self, model: Model, placement: Placement = ANYWHERE) -> LaunchSpec:
        """Say to the launcher what the configuration says of one model."""
        reserved = self._fixed if model.port is None else self._usual - {model.port} | self._fixed
        return LaunchSpec(
            server=server_id_of(model.id),
            argv=model.argv,
            env=model.env,
            stop_command=model.stop_argv,
            url=model.proxy,
            check=model.check_endpoint,
            key="" if model.api_key is None else model.api_key.reveal(),
            port=model.port,
            reserved_ports=reserved,
            placement=placement,
            render=None
            if model.render is None
            else lambda port: self.of(model.at_port(port), placement),
        )
