"""Firefox, driven by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/) with nothing in between."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

PREFERENCES = {
    # A microphone that is a tone, and that nobody has to allow.
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    # A loudspeaker, which machines that run tests lack; without one no audio context would run.
    "media.cubeb.force_mock_context": True,
    # Nothing goes out that the test did not ask for.
    "app.normandy.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.type": 0,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.server": "data:,",
    "remote.active-protocols": 1,
}
START_S = 60.0
ANSWER_S = 60.0
LOOK_S = 0.02


class FirefoxPage:
    """One tab."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = count(1)
        self._context = ""
        self.errors: list[str] = []
        """Exceptions of its scripts that nobody caught."""

    async def open(self) -> None:
        await self._command("session.new", {"capabilities": {}})
        await self._command("session.subscribe", {"events": ["log.entryAdded"]})
        self._context = (await self._command("browsingContext.create", {"type": "tab"}))["context"]

    async def goto(self, url: str) -> None:
        await self._command("browsingContext.navigate", {"context": self._context, "url": url, "wait": "complete"})

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression, or of the promise that it gives.

        The promise is not left to WebDriver: while audio is played, Firefox now and then forgets the one that it awaits
        and never answers. The page keeps what became of it, and is asked.

        Raises:
            AssertionError: it threw.
            TimeoutError: the promise stayed open.
        """
        number = next(self._ids)
        await self._evaluate(f"""
            globalThis.answers ??= {{}};
            (async () => ({expression}))().then(
                (value) => (answers[{number}] = {{ value }}),
                (error) => (answers[{number}] = {{ error: `${{error}}` }}),
            );
            null""")
        async with asyncio.timeout(ANSWER_S):
            while (text := await self._evaluate(f"JSON.stringify(answers[{number}])")) is None:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_S)
        await self._evaluate(f"delete answers[{number}]")
        answer = json.loads(text)
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    async def wait_for(self, condition: str, timeout_s: float = 30.0) -> None:
        """Wait until an expression is true.

        Raises:
            TimeoutError: it never was.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not await self.evaluate(condition):  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise TimeoutError(f"This never came true: {condition}") from None

    async def close(self) -> None:
        await self._command("browser.close", {})

    async def _evaluate(self, script: str) -> Any:
        """The value that a script ends with: a string, a number or nothing."""
        result = await self._command(
            "script.evaluate",
            {
                "expression": script,
                "target": {"context": self._context},
                "awaitPromise": False,
                "userActivation": True,
            },
        )
        assert result["type"] == "success", result["exceptionDetails"]["text"]
        return result["result"].get("value")

    async def _command(self, method: str, parameters: dict[str, Any]) -> Any:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(ANSWER_S):
            while (answer := await self._socket.receive_json()).get("id") != number:
                if answer.get("method") == "log.entryAdded" and answer["params"]["type"] == "javascript":
                    self.errors.append(answer["params"]["text"])
        assert answer["type"] == "success", answer
        return answer["result"]


@asynccontextmanager
async def a_firefox(profile: Path, **preferences: Any) -> AsyncIterator[FirefoxPage]:
    """A Firefox of its own with one tab, gone afterwards. A script's error on the page fails the test.

    Dots in the names of further preferences are written as double underscores.
    """
    firefox = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
    assert firefox is not None, "The browser tests need Firefox; make test installs it."
    _write_profile(profile, {name.replace("__", "."): value for name, value in preferences.items()})
    process = await asyncio.create_subprocess_exec(
        firefox,
        *("--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", str(profile), "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(START_S):
            while not (found := re.search(rb"WebDriver BiDi listening on (ws://\S+)", await process.stderr.readline())):
                assert not process.stderr.at_eof(), "Firefox did not start."
        # Later output is read and forgotten, so that Firefox never waits for a reader.
        rest = asyncio.create_task(process.stderr.read())
        async with ClientSession() as http, http.ws_connect(f"{found[1].decode()}/session", max_msg_size=0) as socket:
            page = FirefoxPage(socket)
            await page.open()
            yield page
            errors = list(page.errors)
            await page.close()
        await asyncio.wait_for(process.wait(), START_S)
        await rest
        assert not errors, errors
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _write_profile(profile: Path, preferences: dict[str, Any]) -> None:
    profile.mkdir()
    lines = [
        f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in {**PREFERENCES, **preferences}.items()
    ]
    (profile / "user.js").write_text("\n".join(lines))
