"""The model servers that run: started through the launcher, and followed by its news.

Guarantees: each start ends with one `SPAWN_FAILED` or `EXITED`; a start that the launcher calls
retryable is tried again before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from modelswap.core.failure import Cause, failure
from modelswap.core.models.lifecycle import Event, Phase

from .adoption import adopt
from .model_server import LaunchSpecs, ModelServer, model_of, server_id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from modelswap.config.plan import Plan
    from modelswap.core.failure import Failure, ProbeObservation
    from modelswap.core.placement.policy import Placement
    from modelswap.core.spec import ModelId, ServerId
    from modelswap.devices.memory import DeviceMemory
    from modelswap.launch.protocol import Exit, Handle, Launcher, Listener

    from .adoption import Adoption, Inherited
    from .observers import SafeObserver

    Report = Callable[[ModelId, Event, str | Failure], None]

MOST_STARTS: Final = 4
"""How often a server is started when each start fails for a reason that the launcher can avoid; ports
next to each other are rarely all taken."""


class RunningServers:
    """A launcher's `Listener`; what it learns goes to *report*."""

    def __init__(
        self,
        plan: Plan,
        launcher: Callable[[Listener], Launcher],
        observer: SafeObserver,
        report: Report,
        phase: Callable[[ModelId], Phase],
    ) -> None:
        self.by_model: dict[ModelId, ModelServer] = {}
        self.killed = 0
        """How often a server did not exit when asked, so far."""
        self.devices: Callable[[], Sequence[DeviceMemory]] = tuple
        """Returns this machine's devices as they were read last; nothing until somebody reads them."""
        self._plan = plan
        self._specs = LaunchSpecs(plan.models)
        self._observer = observer
        self._report = report
        self._phase = phase
        self._launcher = launcher(self)

    async def open(self, inherited: Inherited, on_adopted: Callable[[Adoption], None]) -> None:
        """Open the launcher, take over what it found running, and stop the rest of that."""
        await self._launcher.open()
        others: list[ServerId] = []
        for found in self._launcher.found_servers():
            adoption = adopt(found, self._launcher, self._plan, self._specs, inherited)
            if adoption is None:
                others.append(found.server)
                continue
            name = model_of(found.server)
            self.by_model[name] = adoption.server
            self._observer.on_note("info", f"<{name}> found running, {found.handle.text}")
            on_adopted(adoption)
        if others:
            await self._launcher.discard(*others)

    async def close(self, *, stop_servers: bool) -> None:
        await self._launcher.close(stop_servers=stop_servers)

    def replace(self, plan: Plan, changed: AbstractSet[ModelId]) -> None:
        """Go on with another configuration; servers of models that did not change run on."""
        self._plan, self._specs = plan, LaunchSpecs(plan.models)
        for name, server in self.by_model.items():
            if name in plan.models and name not in changed:
                server.on_reload(plan.models[name])

    def start(self, name: ModelId, placement: Placement) -> None:
        model = self._plan.models[name]
        if model.argv:
            spec = self._specs.of(model, placement, self.devices())
            self._start(ModelServer(model, spec))
            return
        said = "the command is empty: set `cmd`"
        why = failure(Cause.CANNOT_START, said, brief=said, is_lasting=True)
        self._report(name, Event.SPAWN_FAILED, why)

    def _start(self, server: ModelServer) -> None:
        self.by_model[server.model.id] = server
        assert server.spec is not None
        self._launcher.start(server.spec)

    def terminate(self, name: ModelId) -> None:
        server = self.by_model.get(name)
        if server is not None:
            server.close()
        self._launcher.terminate(server_id_of(name))

    def kill(self, name: ModelId) -> None:
        self.killed += 1
        self._launcher.kill(server_id_of(name))

    def last_observation(self, name: ModelId) -> ProbeObservation | None:
        return self._launcher.last_observation(server_id_of(name))

    def on_started(self, server: ServerId, handle: Handle) -> None:
        found = self.by_model.get(model_of(server))
        if found is not None:
            found.on_started(handle)
            self._observer.on_note("debug", f"<{model_of(server)}> started, {handle.text}")

    def on_ready(self, server: ServerId, address: str) -> None:
        found = self.by_model.get(model_of(server))
        if found is not None:
            found.on_address(address)
            self._report(model_of(server), Event.PROBE_PASSED, "")

    def on_output(self, server: ServerId, data: bytes) -> None:
        self._observer.on_output(model_of(server), data)

    def on_trouble(self, server: ServerId, what: str) -> None:
        self._observer.on_note("warn", f"<{model_of(server)}> {what}")

    def on_exited(self, server: ServerId, ending: Exit) -> None:
        name = model_of(server)
        found = self.by_model.pop(name, None)
        if found is not None:
            found.on_exited()
            if self._may_retry(found, ending):
                why = ending.reason if ending.failure is None else ending.failure.brief
                self._observer.on_note("warn", f"<{name}> {why}; starting it again")
                self._start(
                    ModelServer(self._plan.models[name], found.spec, starts=found.starts + 1)
                )
                return
        self._report(name, Event.EXITED, ending.failure or ending.reason)

    def _may_retry(self, server: ModelServer, ending: Exit) -> bool:
        return (
            ending.retryable
            and server.starts < MOST_STARTS
            and self._phase(server.model.id) is Phase.STARTING
        )
