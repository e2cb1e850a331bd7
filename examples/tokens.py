"""Let those call whom your own server knows: it signs each a token that ends in five minutes.

    python examples/tokens.py

Sign in as ada, with the password lovelace. voxgender and this program share a secret; the page gets tokens only.
"""

import argparse
import asyncio
import hmac
import secrets
import time

import jwt
from aiohttp import BasicAuth, web
from aiohttp.typedefs import Handler
from running import page, run, serving, voxgender

TOKEN_S = 300
USERS = {"ada": "lovelace"}
"""Passwords of users. Your program has its own way to know who asks."""
SIGN_IN = {"WWW-Authenticate": 'Basic realm="voices", charset="UTF-8"'}


@web.middleware
async def sign_in(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let known users in, and ask all others who they are."""
    try:
        login = BasicAuth.decode(request.headers.get("Authorization", ""), encoding="utf-8")
    except ValueError:
        login = BasicAuth("", "")
    password = USERS.get(login.login, "")
    if not password or not hmac.compare_digest(login.password.encode(), password.encode()):
        raise web.HTTPUnauthorized(headers=SIGN_IN)
    request["user"] = login.login
    return await handler(request)


def tokens(secret: str) -> web.RouteDef:
    """Serve each user a token of their own."""

    async def answer(request: web.Request) -> web.Response:
        claims = {"sub": request["user"], "aud": "voxgender", "exp": int(time.time()) + TOKEN_S}
        return web.Response(text=jwt.encode(claims, secret, "HS256"), headers={"Cache-Control": "no-store"})

    return web.get("/voxgender-token", answer)


async def main(port: int) -> None:
    """Serve the page and its tokens beside a server of voxgender that asks for one."""
    secret = secrets.token_hex(32)
    async with voxgender("serve", "--port", "0", VOXGENDER_JWT_SECRET=secret) as server:
        app = web.Application(middlewares=[sign_in])
        app.add_routes([page("tokens.html", server=server), tokens(secret)])
        async with serving(app, port) as url:
            print(f"open {url}, and sign in as ada, with the password lovelace", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8090, help="port of the page")
    run(main(parser.parse_args().port))
