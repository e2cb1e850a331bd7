import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import { end, isAlive, parseIceServers, parseRetryAfter, publish, sdpFragment, trickle } from '../src/whip.js';

test('a STUN server needs no credentials', () => {
  assert.deepEqual(parseIceServers('<stun:stun.example.net>; rel="ice-server"'), [{ urls: 'stun:stun.example.net' }]);
});

test('several servers of one header are told apart, each with its credentials', () => {
  const header =
    '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="17:user"; credential="a,b;c=="; ' +
    'credential-type="password", <turns:turn.example.net:443?transport=tcp>;rel=ice-server;username=u;credential=p';
  assert.deepEqual(parseIceServers(header), [
    { urls: 'turn:turn.example.net?transport=udp', username: '17:user', credential: 'a,b;c==' },
    { urls: 'turns:turn.example.net:443?transport=tcp', username: 'u', credential: 'p' },
  ]);
});

test('a quoted value may hold escaped quotes', () => {
  const [server] = parseIceServers('<turn:t>; rel="ice-server"; username="a\\"b"; credential="c\\\\d"');
  assert.deepEqual(server, { urls: 'turn:t', username: 'a"b', credential: 'c\\d' });
});

test('links of other relations are left alone', () => {
  assert.deepEqual(parseIceServers('</events>; rel="urn:ietf:params:whip:ext:core:server-sent-events"'), []);
  assert.deepEqual(parseIceServers('<stun:s>; rel="alternate ice-server"'), [{ urls: 'stun:s' }]);
});

test('no header means no servers', () => assert.deepEqual(parseIceServers(null), []));

test('Retry-After is read as seconds, as a date, and not at all where it is neither', () => {
  const nowMs = Date.parse('Wed, 21 Oct 2026 07:28:00 GMT');
  assert.equal(parseRetryAfter('7'), 7000);
  assert.equal(parseRetryAfter('Wed, 21 Oct 2026 07:28:03 GMT', nowMs), 3000);
  assert.equal(parseRetryAfter('Wed, 21 Oct 2026 07:27:00 GMT', nowMs), 0);
  assert.equal(parseRetryAfter('soon'), null);
  assert.equal(parseRetryAfter(null), null);
});

test('a fragment carries the credentials, the first media line and the candidates', () => {
  const offer =
    'v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:uf\r\na=ice-pwd:secret\r\na=mid:0\r\nm=application\r\na=mid:1\r\n';
  const candidate = /** @type {any} */ ({ candidate: 'candidate:1 1 udp 2 192.0.2.1 5 typ host' });
  assert.equal(
    sdpFragment(offer, [candidate, null]),
    'a=ice-ufrag:uf\r\na=ice-pwd:secret\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n' +
      'a=candidate:1 1 udp 2 192.0.2.1 5 typ host\r\na=end-of-candidates\r\n',
  );
});

/** @type {(request: import('node:http').IncomingMessage & {text: string}, response: import('node:http').ServerResponse) => void} */
let answer = (_, response) => response.end();
const server = createServer(async (request, response) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  answer(Object.assign(request, { text }), response);
});
let endpoint = '';
before(async () => {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  endpoint = `http://127.0.0.1:${server.address().port}/whip`;
});
after(() => server.close());

test('publishing sends the offer and the token, and reads the resource', async () => {
  let seen = {};
  answer = (request, response) => {
    seen = { type: request.headers['content-type'], token: request.headers.authorization, offer: request.text };
    response.writeHead(201, {
      Location: '/whip/abc',
      ETag: '"e"',
      Link: ['<stun:a>; rel="ice-server"', '<stun:b>; rel="ice-server"'],
    });
    response.end('answer');
  };
  const resource = await publish(endpoint, 'offer', { token: 'secret' });
  assert.deepEqual(seen, { type: 'application/sdp', token: 'Bearer secret', offer: 'offer' });
  assert.equal(resource.url, new URL('/whip/abc', endpoint).href);
  assert.equal(resource.answer, 'answer');
  assert.deepEqual(resource.iceServers, [{ urls: 'stun:a' }, { urls: 'stun:b' }]);
});

test('a Location that is no URL is no answer of a WHIP endpoint', async () => {
  answer = (_, response) => {
    response.writeHead(201, { 'Content-Type': 'application/sdp', Location: 'http://a[]@/whip/abc' });
    response.end('answer');
  };
  await assert.rejects(publish(endpoint, 'offer'), { code: 'not_whip' });
});

test('a bracket in a Link header begins anew', () => {
  // It was searched to the end from each of them, and a header of brackets held the page for half a minute.
  assert.deepEqual(parseIceServers('<<<stun:a>; rel=ice-server'), [{ urls: 'stun:a' }]);
});

test('a problem becomes an error with its code, its words and its wait', async () => {
  answer = (_, response) => {
    response.writeHead(503, { 'Content-Type': 'application/problem+json', 'Retry-After': '3' });
    response.end('{"status":503,"code":"at_capacity","title":"Full","detail":"All 50 places are taken"}');
  };
  await assert.rejects(publish(endpoint, ''), {
    name: 'ServerError',
    status: 503,
    code: 'at_capacity',
    message: 'All 50 places are taken',
    heals: true,
    retryAfterMs: 3000,
  });
});

for (const status of [400, 401, 404, 415, 422]) {
  test(`waiting does not heal a ${status}`, async () => {
    answer = (_, response) => response.writeHead(status).end('<html>');
    await assert.rejects(publish(endpoint, ''), { status, code: `http_${status}`, heals: false });
  });
}

test('an endpoint that is no WHIP endpoint is called that', async () => {
  answer = (_, response) => response.end('<html>');
  await assert.rejects(publish(endpoint, ''), { code: 'not_whip', heals: false });
});

test('a server that is not there may be back later', async () => {
  await assert.rejects(publish('http://127.0.0.1:1/whip', ''), {
    name: 'ConnectionError',
    code: 'unreachable',
    heals: true,
  });
});

test('trickling names the version that it belongs to', async () => {
  let seen = {};
  answer = (request, response) => {
    seen = { method: request.method, type: request.headers['content-type'], match: request.headers['if-match'] };
    response.writeHead(204).end();
  };
  await trickle({ url: endpoint, etag: '"e"', answer: '', iceServers: [] }, 'a=mid:0');
  assert.deepEqual(seen, { method: 'PATCH', type: 'application/trickle-ice-sdpfrag', match: '"e"' });
});

test('candidates are told again to a server that has no time for them', async () => {
  let asked = 0;
  answer = (_, response) => {
    asked += 1;
    response.writeHead(asked === 1 ? 503 : 204, { 'Retry-After': '0' }).end();
  };
  assert.equal(await trickle({ url: endpoint, etag: null, answer: '', iceServers: [] }, 'a=mid:0'), true);
  assert.equal(asked, 2);
});

for (const [status, there] of [
  [404, false],
  [410, false],
  [412, true],
  [422, true],
  [500, true],
]) {
  test(`a ${status} to candidates says that the session is ${there ? 'there' : 'gone'}`, async () => {
    answer = (_, response) => response.writeHead(status).end();
    assert.equal(await trickle({ url: endpoint, etag: null, answer: '', iceServers: [] }, 'a=mid:0'), there);
  });
}

test('ending says whether there was anything to end', async () => {
  const resource = { url: endpoint, etag: null, answer: '', iceServers: [] };
  answer = (_, response) => response.writeHead(200).end();
  assert.equal(await end(resource), true);
  answer = (_, response) => response.writeHead(404).end();
  assert.equal(await end(resource), false);
  assert.equal(await end({ ...resource, url: 'http://127.0.0.1:1/' }), false);
});

test('a session is alive as long as the server knows it', async () => {
  const resource = { url: endpoint, etag: null, answer: '', iceServers: [] };
  answer = (_, response) => response.end('{}');
  assert.equal(await isAlive(resource), true);
  for (const [status, alive] of [
    [404, false],
    [410, false],
    [503, true],
    [500, true],
  ]) {
    answer = (_, response) => response.writeHead(status).end();
    assert.equal(await isAlive(resource), alive);
  }
  assert.equal(await isAlive({ ...resource, url: 'http://127.0.0.1:1/' }), false);
});
