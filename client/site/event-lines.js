/**
 * Read the events of a stream that `fetch` opened. `EventSource` cannot send a token.
 * @param {NonNullable<Response['body']>} body
 * @returns {AsyncGenerator<unknown>} the JSON of each event's data
 */
export async function* eventData(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + decoder.decode(value, { stream: true })).split('\n\n');
    rest = events.pop() ?? '';
    for (const event of events) if (event.startsWith('data: ')) yield JSON.parse(event.slice(6));
  }
}
