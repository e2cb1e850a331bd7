/**
 * Texts of errors by their codes, in English: what happened, and what to do.
 * @type {Readonly<Record<string, readonly [title: string, advice: string]>>}
 */
export const ERROR_WORDS = {
  insecure_origin: [
    'This page cannot use the microphone',
    'Browsers give it to secure pages only. Open this page over https, or as localhost.',
  ],
  denied: ['The microphone is blocked', 'Allow it for this page in the address bar, then press Start again.'],
  withheld: [
    'This page is not given the microphone',
    'Its maker has to: by allow="microphone" on the frame that it is in, and in its server’s Permissions-Policy. If both do, allow it in the address bar.',
  ],
  interrupted: ['The microphone is muted', 'A telephone call, another program or the system has it just now.'],
  silent: ['The microphone gives no sound', 'It may be muted at the device or in the system’s settings, or have hung.'],
  not_found: ['No microphone found', 'Plug one in, then press Start again.'],
  busy: ['The microphone is busy', 'Another program may be holding it. Close that one, then press Start again.'],
  unplugged: ['The microphone was unplugged', 'Plug one in, then press Start again.'],
  unauthorized: ['This server asks for a token', 'Type it into the token field. Its operator has it.'],
  at_capacity: ['The server is full', 'All its places are taken just now.'],
  overloaded: ['The server is busy', 'It does not keep up with the calls that it has.'],
  starting: ['The server is starting', 'It is still loading its model.'],
  draining: ['The server is restarting', 'It takes no new calls just now.'],
  shutting_down: ['The server is restarting', 'The call goes on as soon as it is back.'],
  unreachable: ['The server cannot be reached', 'It may be down, or this device may be offline.'],
  cross_origin: [
    'The server does not let this site call',
    'Its operator can allow this page’s origin (--allow-origin).',
  ],
  mixed_content: ['A secure page cannot reach this server', 'The server’s address has to begin with https.'],
  local_network: [
    'The browser blocks the way to your local network',
    'Allow “local network access” for this page in the address bar, then press Start again.',
  ],
  lost: ['Connection lost', 'The network went away for a moment.'],
  unheard: ['Nothing is heard of the server', 'The way to it has changed or is blocked. Another call is being made.'],
  no_media_path: [
    'No way through for audio',
    'The server answers, but audio does not get there. A firewall may be blocking UDP.',
  ],
  no_websocket: [
    'No way through for audio',
    'The server answers, but no WebSocket to it opens. A proxy or a firewall may be blocking it.',
  ],
  content_policy: [
    'This page may not reach the server',
    'Its maker has to allow the server in the page’s Content-Security-Policy: in connect-src, and for capture-worklet.js in script-src.',
  ],
  asleep: ['The browser waits for you', 'Click or press a key anywhere on this page.'],
  no_worklet: [
    'This page lacks a part of voxgender',
    'Its maker has to serve capture-worklet.js: from the page’s own server, or with CORS headers.',
  ],
  unsupported: [
    'This browser lacks what a call needs',
    'Use another browser or a newer one. Some have it on https pages only, or where it has not been switched off.',
  ],
  no_relay: [
    'No way through the relay',
    'The TURN server did not answer, or did not take the login that this server gave.',
  ],
  no_token: ['Signing in failed', 'The page could not get a token for the server.'],
  too_many_sessions: ['You are in too many calls', 'Stop one of them, in another tab or on another device.'],
  too_many_requests: ['Too many calls were placed from here', 'The next one is taken in a moment.'],
  keys_unavailable: ['The server cannot check tokens', 'It cannot reach those who issue them.'],
  consent_expired: ['Connection lost', 'This device did not answer the server for a while.'],
  dtls_failed: [
    'The connection could not be secured',
    'Something between here and the server may change what passes through it.',
  ],
  no_node: ['The server has no node to take the call', 'All are down just now, or are being restarted.'],
  analysis_failed: ['The server had a fault', 'Another call is being made.'],
  silent_peer: ['The server heard nothing for a while', 'The connection may have been asleep.'],
};

/**
 * Plain words for an error.
 * @param {Error} error
 * @returns {{title: string, advice: string}}
 */
export function explain(error) {
  const [title, advice] = ERROR_WORDS[/** @type {{code?: string}} */ (error).code ?? ''] ?? [
    'Something went wrong',
    error.message,
  ];
  return { title, advice };
}
