"""Firefox as Playwright drives it, by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/), and a microphone for it.

Firefox now and then forgets a promise that it awaits for a driver, while audio plays, and never answers. So Playwright
does not talk to Firefox itself but to this file, run as a program in its place: a relay, by which the page keeps what
became of each promise. Where no answer comes, the page is asked for it.
"""

import asyncio
import json
import re
import shutil
import stat
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web

PREFERENCES: Mapping[str, str | int | bool] = {
    # A microphone that is a tone, and that nobody has to allow.
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    # A loudspeaker, which machines that run tests lack; without one no audio context would run.
    "media.cubeb.force_mock_context": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "network.proxy.type": 0,
}
DOWNLOADS = ("browsingContext.downloadWillBegin", "browsingContext.downloadEnd")
START_S = 60.0
PATIENCE_S = 0.3
"""Time after which the page is asked, where Firefox has not answered."""
LOOK_S = 0.05
FIRST_OWN_ID = 2**40
"""The relay's own commands have numbers from here on, which the driver does not reach."""

KEEP = """function (...given) {{
    const kept = (globalThis[Symbol.for('kept answers')] ??= new Map());
    const answer = {{ state: 'pending' }};
    kept.set({number}, answer);
    const promise = (async () => ({function}
).apply(this, given))();
    promise.then(
        (value) => Object.assign(answer, {{ state: 'fulfilled', value }}),
        (error) => Object.assign(answer, {{ state: 'rejected', error }}),
    );
    promise.finally(() => setTimeout(() => kept.delete({number}), 60_000)).catch(() => undefined);
    return promise;
}}"""
ASK = "(number) => globalThis[Symbol.for('kept answers')]?.get(number)?.state ?? 'gone'"
TAKE = """(number) => {
    const { state, value, error } = globalThis[Symbol.for('kept answers')].get(number);
    if (state === 'rejected') throw error;
    return value;
}"""

MICROPHONE = """(() => {
    // Firefox takes no file for its fake microphone: the page is given the file's sound in that microphone's place.
    const { prototype } = globalThis.MediaDevices ?? {};
    if (!prototype) return;
    const open = prototype.getUserMedia;
    let context, sound;
    prototype.getUserMedia = async function (constraints) {
        const stream = await open.call(this, constraints);
        if (!constraints.audio) return stream;
        context ??= new AudioContext();
        sound ??= context.decodeAudioData(Uint8Array.from(atob('RECORDING'), (byte) => byte.charCodeAt(0)).buffer);
        const player = new AudioBufferSourceNode(context, { buffer: await sound, loop: true });
        const microphone = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
        player.connect(microphone);
        player.start();
        stream.getTracks().forEach((track) => track.stop());
        return microphone.stream;
    };
})()"""

COLOR_SCHEME = """(scheme, ...pages) => {
    const { NavigableManager } = ChromeUtils.importESModule(
        'chrome://remote/content/shared/NavigableManager.sys.mjs'
    );
    for (const page of pages) {
        NavigableManager.getBrowsingContextById(page).top.prefersColorSchemeOverride = scheme;
    }
}"""
"""Run in Firefox's own window: WebDriver BiDi has a command for this that Firefox does not know yet."""


def microphone_script(recording: Path) -> str:
    """Return a script that has a page's microphone play a file, over and over."""
    return MICROPHONE.replace("RECORDING", b64encode(recording.read_bytes()).decode())


def write_program(folder: Path) -> Path:
    """Write the program that Playwright starts as Firefox; return its path."""
    program = folder / "firefox"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


class Relay:
    """Pass one driver's commands to Firefox, and its answers and events back."""

    def __init__(self, driver: web.WebSocketResponse, firefox: ClientWebSocketResponse) -> None:
        self._driver = driver
        self._firefox = firefox
        self._own_ids = count(FIRST_OWN_ID)
        self._own: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._asking: dict[int, asyncio.Task[None]] = {}
        """By the number of the driver's command, until it is answered."""
        self._setting: set[asyncio.Task[None]] = set()
        """Colour schemes that are being set."""
        self._told: set[int] = set()
        """Numbers of commands that the page has answered, and Firefox not yet."""

    async def run(self) -> None:
        """Return when either side has gone."""
        sides = [asyncio.create_task(self._take_commands()), asyncio.create_task(self._take_answers())]
        _, left = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        for task in (*left, *self._asking.values(), *self._setting):
            task.cancel()

    async def _take_commands(self) -> None:
        async for message in self._driver:
            if message.type is not WSMsgType.TEXT:
                break
            command = json.loads(message.data)
            given = command["params"]
            if command["method"] == "emulation.setMediaFeaturesOverride":
                setting = asyncio.create_task(self._set_color_scheme(command["id"], given))
                self._setting.add(setting)
                setting.add_done_callback(self._setting.discard)
                continue
            # A driver's scripts are no clicks of a person.
            given.pop("userActivation", None)
            if command["method"] == "script.callFunction" and given.get("awaitPromise"):
                number = command["id"]
                declaration = KEEP.format(number=number, function=given["functionDeclaration"])
                command["params"] = {**given, "functionDeclaration": declaration}
                self._asking[number] = asyncio.create_task(self._ask(number, given))
            await self._firefox.send_json(command)

    async def _take_answers(self) -> None:
        async for message in self._firefox:
            if message.type is not WSMsgType.TEXT:
                break
            answer = json.loads(message.data)
            number = answer.get("id")
            if number in self._own:
                asked = self._own.pop(number)
                # Firefox may have answered meanwhile, and nobody asks any longer.
                if not asked.done():
                    asked.set_result(answer)
            elif number in self._asking:
                self._asking.pop(number).cancel()
                await self._driver.send_str(message.data)
            elif number in self._told:
                self._told.remove(number)
            elif answer.get("method") in DOWNLOADS:
                # By this the driver knows one from another; Firefox numbers none.
                download = uuid5(NAMESPACE_URL, answer["params"]["url"])
                await self._driver.send_json({**answer, "params": {**answer["params"], "download": str(download)}})
            else:
                await self._driver.send_str(message.data)

    async def _ask(self, number: int, given: dict[str, Any]) -> None:
        """Ask the page for an answer until there is one."""
        await asyncio.sleep(PATIENCE_S)
        while True:
            asked = await self._call(ASK, number, {"target": given["target"]})
            state = asked["result"]["result"]["value"] if asked["type"] == "success" else "gone"
            if state == "gone":
                # The page was left: Firefox itself says so.
                return
            if state != "pending":
                break
            await asyncio.sleep(LOOK_S)
        answer = await self._call(TAKE, number, given)
        del self._asking[number]
        self._told.add(number)
        await self._driver.send_json({**answer, "id": number})

    async def _call(self, function: str, number: int, given: dict[str, Any]) -> dict[str, Any]:
        arguments = [{"type": "number", "value": number}]
        params = {**given, "functionDeclaration": function, "arguments": arguments, "awaitPromise": False}
        params.pop("this", None)
        return await self._command("script.callFunction", params)

    async def _set_color_scheme(self, number: int, given: dict[str, Any]) -> None:
        """Set the scheme of pages; that of profiles, which Playwright gives as well, is left as Firefox has it."""
        answer = {"type": "success", "result": {}}
        if pages := given.get("contexts"):
            windows = await self._command("browsingContext.getTree", {"moz:scope": "chrome"})
            scheme = given["features"].get("prefers-color-scheme") or "none"
            answer = await self._command(
                "script.callFunction",
                {
                    "functionDeclaration": COLOR_SCHEME,
                    "target": {"context": windows["result"]["contexts"][0]["context"]},
                    "arguments": [{"type": "string", "value": value} for value in (scheme, *pages)],
                    "awaitPromise": False,
                },
            )
        await self._driver.send_json({**answer, "id": number})

    async def _command(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Give Firefox a command of the relay's own; return the answer."""
        own = next(self._own_ids)
        self._own[own] = asyncio.get_running_loop().create_future()
        await self._firefox.send_json({"id": own, "method": method, "params": params})
        return await self._own[own]


def relay_to(url: str) -> Callable[[web.Request], Awaitable[web.WebSocketResponse]]:
    """Return a handler that takes a driver and passes it on to Firefox at a URL."""

    async def relay(request: web.Request) -> web.WebSocketResponse:
        driver = web.WebSocketResponse(max_msg_size=0)
        await driver.prepare(request)
        async with ClientSession() as http, http.ws_connect(url, max_msg_size=0) as socket:
            await Relay(driver, socket).run()
        return driver

    return relay


async def run_firefox(arguments: list[str]) -> int:
    """Run Firefox behind a relay, and say where that listens as Firefox does; return Firefox's exit status."""
    firefox = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
    assert firefox is not None
    process = await asyncio.create_subprocess_exec(
        firefox,
        # Colour schemes are set in Firefox's own window.
        "--remote-allow-system-access",
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(START_S):
        while not (found := re.search(rb"WebDriver BiDi listening on (ws://\S+)", await process.stderr.readline())):
            assert not process.stderr.at_eof(), "Firefox did not start."
    # Later output is read and forgotten, so that Firefox never waits for a reader.
    rest = asyncio.create_task(process.stderr.read())
    app = web.Application()
    app.router.add_get("/session", relay_to(f"{found[1].decode()}/session"))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port, *_ = runner.addresses[0]
    print(f"WebDriver BiDi listening on ws://{host}:{port}", file=sys.stderr, flush=True)
    status = await process.wait()
    await rest
    await runner.cleanup()
    return status


if __name__ == "__main__":
    sys.exit(asyncio.run(run_firefox(sys.argv[1:])))
