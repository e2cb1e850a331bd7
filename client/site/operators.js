// The operators' page: what the server does now, and two buttons.

import { byId, write } from './dom.js';
import { eventData } from './event-lines.js';
import { LiveRows } from './live-rows.js';
import { TokenForm } from './token-form.js';

/**
 * @typedef {{call: string, node: string, state: string, age_s: number, shares: Record<string, number>,
 *   latency_ms: number | null, packets_lost: number}} CallRow
 * @typedef {{node: string, sessions: number, capacity: number, load: number, draining: boolean, region: string,
 *   version: string}} NodeRow
 */

const BASE = new URL('../operators/', import.meta.url);
const RETRY_MS = 2_000;

class OperatorsPage {
  #token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
  #nodes = new LiveRows(byId('nodes'), { label: 'Drain', run: (name) => this.#drain(name) });
  #calls = new LiveRows(byId('calls'), { label: 'End', run: (name) => this.#end(name) });
  #tokenForm = new TokenForm({ form: byId('token-form'), field: byId('token') }, (token) => {
    this.#token = token;
    this.follow();
  });

  /** Show the server until it asks for another token. */
  async follow() {
    for (;;) {
      const response = await this.#request('GET', 'events');
      if (response?.status === 401 || response?.status === 403) {
        this.#say('failed', 'Locked', await detail(response));
        this.#tokenForm.show(true);
        return;
      }
      if (response?.ok && response.body) await this.#showAll(response.body);
      this.#say('reconnecting', 'Reconnecting', response && !response.ok ? await detail(response) : '');
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** @param {NonNullable<Response['body']>} body */
  async #showAll(body) {
    this.#say('live', 'Live', '');
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
    if (!confirm(`Drain ${node}? It takes no more calls until it is started again.`)) return;
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
    const problem = response ? (response.ok ? '' : await detail(response)) : 'The server cannot be reached.';
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

/** @param {Response} response that is a problem (RFC 9457) */
async function detail(response) {
  const problem = await response.json().catch(() => ({}));
  return String(problem.detail ?? `The server answered ${response.status}.`);
}

/** @param {NodeRow} node */
function nodeCells({ node, sessions, capacity, load, region, version, draining }) {
  const used = `${Math.round(load * 100)} %`;
  return [node, `${sessions} of ${capacity}`, used, region || '–', version, draining ? 'Draining' : 'Taking calls'];
}

/** @param {CallRow} call */
function callCells({ call, state, age_s: ageS, shares, latency_ms: latencyMs, packets_lost: lost, node }) {
  const labels = Object.entries(shares).map(([label, share]) => `${label} ${Math.round(share * 100)} %`);
  const latency = latencyMs === null ? '–' : `${Math.round(latencyMs)} ms`;
  return [call, state, `${Math.round(ageS)} s`, labels.join(', ') || '–', latency, String(lost), node];
}

new OperatorsPage().follow();
