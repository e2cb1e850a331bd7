"""Choose the way of a call's media to a server: from this machine's own addresses, or by a TURN server."""

from typing import Literal

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCIceServer, RTCIceTransportPolicy, RTCPeerConnection

from voxgender.errors import CallError
from voxgender.peer.relay import working_relay
from voxgender.peer.whip import WhipClient, is_loopback

Route = Literal["direct", "any", "relay"]
"""Ways to the server: from this machine's own addresses; also by the server's TURN server; by that alone."""


async def relay_for(route: Route, whip: WhipClient) -> RTCIceServer | None:
    """Return a TURN server of the server's that works, or None if the call needs none.

    Raises:
        CallError: the call needs one, and there is none that works.
    """
    if route == "direct" or (route == "any" and is_loopback(whip.endpoint)):
        return None
    servers = [server for server in await whip.ice_servers() if str(server.urls).startswith("turn")]
    if not servers and route == "relay":
        raise CallError(
            f"{whip.endpoint}: the server tells this caller of no TURN server; "
            "it needs an --ice-server turn:HOST, and the caller the token where one is asked for"
        )
    try:
        return await working_relay(servers) if servers else None
    except CallError as error:
        if route == "relay":
            raise CallError(f"{whip.endpoint}: {error}") from None
        return None


def new_connection(route: Route, relay: RTCIceServer | None) -> RTCPeerConnection:
    """Return a connection that tries a route."""
    policy = RTCIceTransportPolicy.RELAY if route == "relay" else RTCIceTransportPolicy.ALL
    # One transport for everything, as RFC 9725 section 4.4.1 asks; no STUN server to wait for.
    return RTCPeerConnection(
        RTCConfiguration([relay] if relay else [], policy, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
    )


def no_path(route: Route, whip: WhipClient) -> CallError:
    """Return the error of a call that the server has answered, and whose media does not come through."""
    if route == "relay":
        return CallError(
            f"{whip.endpoint}: the server answered, but no media path by the TURN server came up; "
            "may that relay to the server's --ice-address?"
        )
    return CallError(
        f"{whip.endpoint}: the server answered, but no media path to it came up; "
        "is UDP open on the way, and its --ice-address one that this machine reaches?"
    )
