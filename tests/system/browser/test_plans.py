"""Plans, devices, decisions and the last lines of a failed start, on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.server import stub_config

if TYPE_CHECKING:
    from pathlib import Path

    from support.running import StartServer
    from system.browser.conftest import Page


def broken(folder: Path) -> str:
    """A model whose server prints markup and ends."""
    script = folder / "broken.sh"
    script.write_text("echo loading; echo '<b>no such tensor</b>' >&2; exit 3\n")
    return f"  broken: {{cmd: 'sh {script} --port ${{PORT}}'}}\n"


def test_a_plan_is_shown(page: Page, modelswap_server: StartServer) -> None:
    """The row of a model leads to its plan: the server's words, each device as a bar; it follows what happens."""
    server = modelswap_server(stub_config("alpha", "beta"))
    assert server.chat("alpha").status == 200
    page.open(server.base_url, "models")
    page.click('.model[data-model="beta"] a[aria-label="Plan of beta"]')
    page.wait_for(".plan-text", 'leaves: group "(default)" runs one model at a time.')
    assert page.text(".plan-text").startswith("beta would start after alpha (idle for ")
    page.wait_for('.device[data-device="ram"] .small-text', "ram: ")
    assert page.all('.device[data-device="ram"] .shares .share')
    assert server.chat("beta").status == 200
    page.wait_for(".plan-text", "beta serves it now: it is loaded")


def test_decisions_are_listed(page: Page, modelswap_server: StartServer, tmp_path: Path) -> None:
    """The newest first, in the words of the log, with how they ended; new ones come by themselves."""
    server = modelswap_server(stub_config("alpha", "beta") + broken(tmp_path))
    page.open(server.base_url, "models")
    page.wait_for(".model", "alpha")
    assert not page.wait_for(".decisions", "").is_displayed()
    assert server.chat("alpha").status == 200
    page.click(".decisions > summary", "Last starts and swaps")
    page.wait_for(".decisions li", "none leaves; ready after ")
    assert server.chat("beta").status == 200
    page.wait_for(".decisions li .badge.good", "ready")
    page.wait_for(".decisions li:first-child", "alpha leaves (")
    server.chat("broken")
    page.wait_for(".decisions li:first-child .badge.bad", "failed")


def test_the_last_lines_of_a_failed_start(
    page: Page, modelswap_server: StartServer, tmp_path: Path
) -> None:
    """They are below the reason, as text, whatever they hold."""
    server = modelswap_server(stub_config("alpha") + broken(tmp_path))
    server.chat("broken")
    page.open(server.base_url, "models")
    page.click('.model[data-model="broken"] .failure summary', "Its last lines")
    page.wait_for('.model[data-model="broken"] .failure pre', "<b>no such tensor</b>")
    assert page.text('.model[data-model="broken"] .failure pre').splitlines()[0] == "loading"


def test_memory_is_shown_with_the_models(page: Page, modelswap_server: StartServer) -> None:
    """Each device as a bar in the list of models, with what the models hold of it."""
    server = modelswap_server(
        "routing: {router: {use: memory}}\ndevices: {ram: {capacity: 2GiB, reserve: 100MiB}}\n"
        + stub_config("alpha")
    )
    assert server.chat("alpha").status == 200
    page.open(server.base_url, "models")
    page.wait_for('.devices .device[data-device="ram"]', "2 GiB in all")
    page.wait_for(
        '.devices .device[data-device="ram"] .key + *, .devices .device .row span', "alpha"
    )


def test_when_a_model_will_be_unloaded(page: Page, modelswap_server: StartServer) -> None:
    """A model that is loaded and not used says at what time it is unloaded; one without `ttl` says nothing."""
    server = modelswap_server(
        "groups: {all: {swap: false, members: [alpha, beta]}}\n"
        + stub_config("alpha", "beta").replace("  alpha:\n", "  alpha:\n    ttl: 600\n")
    )
    page.open(server.base_url, "models")
    for model in ("alpha", "beta"):
        assert server.chat(model).status == 200
    page.wait_for('.model[data-model="alpha"] .busy', "unloads at ")
    page.wait_for('.model[data-model="beta"] .state.ready', "ready")
    assert page.text('.model[data-model="beta"] .busy') == ""
    page.go("models/alpha?tab=details")
    page.wait_for(".facts dt", "Unloads at")
