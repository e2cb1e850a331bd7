// The operators' page: what the server does now, and two buttons.

import { byId, write } from './dom.js';
import { eventData } from './event-lines.js';
import { percent } from './format.js';
import { explainError, preferredLanguage, speakLanguage, wordOf, words } from './language.js';
import { LiveRows } from './live-rows.js';
import { TokenForm } from './token-form.js';

/**
 * @typedef {{call: string, node: string, state: string, age_s: number, voices?: number,
 *   shares: Record<string, number>, latency_ms: number | null, packets_lost: number}} CallRow
 * @typedef {{node: string, sessions: number, capacity: number, load: number, draining: boolean, region: string,
 *   version: string}} NodeRow
 */

const BASE = new URL('../operators/', import.meta.url);
const RETRY_MS = 2_000;

class OperatorsPage {
  #token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
  #nodes = new LiveRows(byId('nodes'), { label: words().drain, run: (name) => this.#drain(name) });
  #calls = new LiveRows(byId('calls'), { label: words().end, run: (name) => this.#end(name) });
  #tokenForm = new TokenForm({ form: byId('token-form'), field: byId('token') }, (token) => {
    this.#token = token;
    this.follow();
  });

  /** Show the server until it asks for another token. */
  async follow() {
    for (;;) {
      const response = await this.#request('GET', 'events');
      if (response?.status === 401 || response?.status === 403) {
        const asksNobody = (await codeOf(response.clone())) === 'tokens_required';
        this.#say('failed', words().locked, await problemOf(response));
        this.#tokenForm.show(!asksNobody);
        return;
      }
      if (response?.ok && response.body) await this.#showAll(response.body);
      this.#say('reconnecting', words().reconnecting, response && !response.ok ? await problemOf(response) : '');
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** @param {NonNullable<Response['body']>} body */
  async #showAll(body) {
    this.#say('live', words().live, '');
    try {
      for await (const picture of eventData(body)) this.#show(/** @type {any} */ (picture));
    } catch {
      // The server went away; it is asked again.
    }
  }

  /** @param {{calls: CallRow[], nodes: NodeRow[]}} picture */
  #show({ calls, nodes }) {
    this.#nodes.show(nodes.map((node) => ({ name: node.node, cells: nodeCells(node), idle: node.draining })));
    this.#calls.show(calls.map((call) => ({ name: call.call, cells: callCells(call), idle: false })));
    byId('empty').hidden = calls.length > 0;
  }

  /** @param {string} node */
  async #drain(node) {
    if (!confirm(words().drainQuestion(node))) return;
    await this.#act('PUT', `nodes/${encodeURIComponent(node)}/drain`);
  }

  /** @param {string} call */
  async #end(call) {
    await this.#act('DELETE', `calls/${encodeURIComponent(call)}`);
  }

  /**
   * @param {string} method
   * @param {string} path
   */
  async #act(method, path) {
    const response = await this.#request(method, path);
    const problem = response?.ok ? '' : await problemOf(response);
    write(byId('problem'), problem);
    byId('problem').hidden = !problem;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @returns {Promise<Response | null>} null without an answer
   */
  async #request(method, path) {
    /** @type {Record<string, string>} */
    const headers = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
    return fetch(new URL(path, BASE), { method, headers, cache: 'no-store' }).catch(() => null);
  }

  /**
   * @param {string} state
   * @param {string} status
   * @param {string} problem
   */
  #say(state, status, problem) {
    document.body.dataset['state'] = state;
    write(byId('status'), status);
    write(byId('problem'), problem);
    byId('problem').hidden = !problem;
  }
}

/** @param {Response} response a problem (RFC 9457) */
async function codeOf(response) {
  const problem = await response.json().catch(() => ({}));
  return problem.code;
}

/**
 * Say in plain words why something was not done.
 * @param {Response | null} response a problem (RFC 9457); null without an answer
 */
async function problemOf(response) {
  const problem = response ? await response.json().catch(() => ({})) : { code: 'unreachable' };
  const message = String(problem.detail ?? words().serverAnswered(response?.status ?? 0));
  const { title, advice } = explainError({ code: problem.code, message });
  return title === words().somethingWrong ? message : `${title}. ${advice}`;
}

/** @param {NodeRow} node */
function nodeCells({ node, sessions, capacity, load, region, version, draining }) {
  const state = draining ? words().draining : words().takingCalls;
  return [node, words().countOf(sessions, capacity), percent(load), region || '–', version, state];
}

/** Texts for a connection's states (W3C words). */
const STATES = /** @type {const} */ ({
  new: 'connecting',
  connecting: 'connecting',
  connected: 'live',
  disconnected: 'reconnecting',
  failed: 'stopped',
  closed: 'stopped',
});

/** @param {CallRow} call */
function callCells({ call, state, age_s: ageS, voices, shares, latency_ms: latencyMs, packets_lost: lost, node }) {
  const known = Object.hasOwn(STATES, state) ? words()[STATES[/** @type {keyof typeof STATES} */ (state)]] : state;
  const labels = Object.entries(shares).map(([label, share]) => `${wordOf(label)} ${percent(share)}`);
  const latency = latencyMs === null ? '–' : words().milliseconds(Math.round(latencyMs));
  const age = words().seconds(Math.round(ageS));
  // A node of an older version does not say.
  return [call, known, age, String(voices ?? '–'), labels.join(', ') || '–', latency, String(lost), node];
}

await speakLanguage(preferredLanguage());
new OperatorsPage().follow();
