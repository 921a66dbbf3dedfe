"""How other programs decide, on the same machine; each by its own rules, with the kindest settings.

Does not: crash, hang, refuse or time out, which each of them does in ways that are on record
(`field.md` §1.2, §2.3, §3.4). Every rival knows exactly how much memory a model takes, loads it in the
same time, and unloads nothing because it was idle for long.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.scheduling.machine import Machine, Request


class LlamaSwap:
    """llama-swap without groups: one model at a time (`runtime.md` §3, §4).

    A request for the loaded model is served at once, whatever waits (rule 4). Others queue in the
    order of their arrival; those that wait for a model which is being loaded are served together when
    it is ready (rule 3). The queue is walked when a swap ends and when the loaded model has no request
    left: the first one that can be decided starts its swap (§3.2). `concurrencyLimit` is unlimited.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._queue: list[Request] = []
        self._loaded = ""
        self._target = ""

    def on_request(self, request: Request) -> None:
        self._queue.append(request)
        self._walk()

    def on_end(self, request: Request) -> None:
        if not self._machine.in_use(request.model):
            self._walk()

    def on_loaded(self, model: str) -> None:
        self._loaded, self._target = model, ""
        self._walk()

    def on_unloaded(self, model: str) -> None:
        del model
        self._machine.load(self._target)

    def _walk(self) -> None:
        if self._target:
            return
        waiting, self._queue = self._queue, []
        for request in waiting:
            if request.model == self._loaded and not self._target:
                self._machine.serve(request)
            else:
                self._queue.append(request)
                self._swap(request.model)

    def _swap(self, model: str) -> None:
        if self._target or (self._loaded and self._machine.in_use(self._loaded)):
            return
        self._target = model
        if self._loaded:
            self._machine.unload(self._loaded)
            self._loaded = ""
        else:
            self._machine.load(model)


class Router:
    """llama.cpp's router: at most N models, the least recently used idle one leaves.

    `server_lru_sched` of `tools/server/server-models.cpp` (PR #26572, `field.md` §2.3). N is the
    largest number of models that fits whichever they are, as it counts and does not weigh them. Those
    that wait for one model are one entry of the queue; only the first entry loads. A model is given up
    for an entry when that joins the queue (the least recently used idle one), or when it becomes idle
    itself, unless an entry wants it. A request for a loaded model is served at once.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        sizes = sorted((m.size for m in machine.trace.models.values()), reverse=True)
        self._most = max(n for n in range(len(sizes) + 1) if sum(sizes[:n]) <= machine.trace.memory)
        self._entries: dict[str, list[Request]] = {}
        self._waiting: list[str] = []
        """Models whose entry has not begun to load, in order."""
        self._promised: set[str] = set()
        """Of those, the ones for which a model leaves already."""
        self._used: dict[str, float] = {}

    def on_request(self, request: Request) -> None:
        model = request.model
        if self._machine.is_ready(model):
            self._used[model] = self._machine.now
            self._machine.serve(request)
            return
        if model in self._entries:
            self._entries[model].append(request)
            return
        self._entries[model] = [request]
        self._waiting.append(model)
        self._claim()
        if model in self._waiting and model not in self._promised:
            idle = [m for m in self._machine.loaded() if self._is_idle(m)]
            if idle:
                self._promised.add(model)
                self._machine.unload(min(idle, key=lambda m: self._used[m]))

    def on_end(self, request: Request) -> None:
        model = request.model
        self._used[model] = self._machine.now
        unserved = [m for m in self._waiting if m not in self._promised]
        if unserved and model not in self._entries and self._is_idle(model):
            self._promised.add(unserved[0])
            self._machine.unload(model)

    def on_loaded(self, model: str) -> None:
        self._used[model] = self._machine.now
        for request in self._entries.pop(model):
            self._machine.serve(request)
        self._claim()

    def on_unloaded(self, model: str) -> None:
        del model
        self._claim()

    def _is_idle(self, model: str) -> bool:
        return self._machine.is_ready(model) and not self._machine.in_use(model)

    def _claim(self) -> None:
        """Let the first entries load while there is room."""
        while self._waiting and len(self._machine.loaded()) < self._most:
            model = self._waiting.pop(0)
            self._promised.discard(model)
            self._machine.load(model)


class Ollama:
    """Ollama: as many models as fit; when one does not, idle ones leave until it does.

    `processPending`, `getRunner` and `findRunnerToUnload` of `server/sched.go` (`field.md` §3.1). A
    request for a loaded model is served at once. All others are one queue, and only its first request
    is worked on: one load at a time. A victim is idle, or will leave when it is.

    Kinder than it is: a request for the model that loads is served when that is ready, as in the releases
    before it ran llama-server (since then it joins the queue); the victim is the least recently used runner,
    not the first by name; the limit of three models for each GPU is off; a model has all slots, not one.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._pending: deque[Request] = deque()
        self._victim = ""
        """Leaves as soon as it is idle."""
        self._loading = ""
        self._joined: list[Request] = []
        """Wait for the model that loads."""
        self._leaving = ""
        self._used: dict[str, float] = {}

    def on_request(self, request: Request) -> None:
        if self._machine.is_ready(request.model):
            self._machine.serve(request)
            return
        if request.model == self._loading:
            self._joined.append(request)
            return
        self._pending.append(request)
        self._work()

    def on_end(self, request: Request) -> None:
        self._used[request.model] = self._machine.now
        self._expire()

    def on_loaded(self, model: str) -> None:
        self._used[model] = self._machine.now
        self._loading = ""
        joined, self._joined = self._joined, []
        for request in (self._pending.popleft(), *joined):
            self._machine.serve(request)
        self._work()

    def on_unloaded(self, model: str) -> None:
        del model
        self._leaving = ""
        self._work()

    def _expire(self) -> None:
        if self._victim and not self._machine.in_use(self._victim):
            self._leaving, self._victim = self._victim, ""
            self._machine.unload(self._leaving)

    def _work(self) -> None:
        while self._pending and not (self._loading or self._leaving or self._victim):
            first = self._pending[0].model
            if self._machine.is_ready(first):
                self._machine.serve(self._pending.popleft())
                continue
            models, loaded = self._machine.trace.models, self._machine.loaded()
            held = sum(models[m].size for m in loaded)
            if held + models[first].size <= self._machine.trace.memory:
                self._loading = first
                self._machine.load(first)
                return
            order = sorted(loaded, key=lambda m: (self._machine.in_use(m) > 0, self._used[m]))
            self._victim = order[0]
            self._expire()
