"""Publish an audio file by GStreamer's webrtcbin over WHIP; run with the system's Python, which has GStreamer.

Usage: webrtcbin.py URL FILE [PROPERTIES], those of webrtcbin. Prints the session's URL, ends with the file.
"""

import sys
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

PIPELINE = """
    webrtcbin name=peer {options}
    filesrc location="{file}" ! decodebin ! audioconvert ! audioresample ! audio/x-raw,rate=48000,channels=1 !
    identity sync=true ! opusenc ! rtpopuspay pt=111 !
    application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,encoding-params=(string)2 ! peer.
"""


def main(url: str, file: str, options: str = "") -> int:
    Gst.init(None)
    pipeline = Gst.parse_launch(PIPELINE.format(file=file, options=options))
    peer = pipeline.get_by_name("peer")
    loop = GLib.MainLoop()
    status = 0

    def offer(*_: object) -> None:
        peer.emit("create-offer", None, Gst.Promise.new_with_change_func(describe, None))

    def describe(promise: Gst.Promise, _: object) -> None:
        reply = promise.get_reply()
        peer.emit("set-local-description", reply.get_value("offer"), Gst.Promise.new())

    def gathering(*_: object) -> None:
        if peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            GLib.idle_add(post)

    def post() -> bool:
        body = peer.get_property("local-description").sdp.as_text().encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/sdp"})
        with urllib.request.urlopen(request) as response:
            answer = response.read()
            print(urllib.parse.urljoin(url, response.headers["Location"]), flush=True)
        _, sdp = GstSdp.SDPMessage.new_from_text(answer.decode())
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        peer.emit("set-remote-description", description, Gst.Promise.new())
        return False

    def told(_: Gst.Bus, message: Gst.Message) -> None:
        nonlocal status
        if message.type == Gst.MessageType.ERROR:
            print(*message.parse_error(), file=sys.stderr)
            status = 1
        if message.type in (Gst.MessageType.ERROR, Gst.MessageType.EOS):
            loop.quit()

    peer.connect("on-negotiation-needed", offer)
    peer.connect("notify::ice-gathering-state", gathering)
    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message", told)
    pipeline.set_state(Gst.State.PLAYING)
    loop.run()
    pipeline.set_state(Gst.State.NULL)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
