/**
 * A client of a notification hub for browsers: a WebSocket and one timer around the rules of `protocol.js`.
 *
 *     import { BellhubClient } from "./static/client.js";
 *     const bell = new BellhubClient({ url: "ws/v1", apiKey: "pk_…", channel: "inbox", getToken });
 *     bell.addEventListener("inbox", ({ detail }) => draw(detail.entries, detail.counts));
 *     bell.connect();
 * @module
 */

import { active } from "./inbox.js";
import { Connection, SUBPROTOCOL } from "./protocol.js";

/** A hub said no, or the client was closed before it could answer. `code` as in the protocol, or `closed`. */
export class BellhubError extends Error {
  /** @param {{code: string, message: string, temporary: boolean, details?: object}} frame */
  constructor({ code, message, temporary, details = {} }) {
    super(message);
    this.name = "BellhubError";
    this.code = code;
    this.temporary = temporary;
    this.details = details;
  }
}

/**
 * One user's feed on one channel, kept up to date until `close()`.
 *
 * Events, all of them `CustomEvent`s:
 * - `state`: `{state, code?, reason?}`; `idle`, `connecting`, `connected`, `reconnecting` or `closed`. Not every
 *   lost connection means `closed`: only `close()`, or a hub that says stay away.
 * - `inbox`: `{entries, counts, cursor, more}`; entries newest first, `more`: `older()` has some.
 * - `frame`: `{direction: "in" | "out", frame, size}` in bytes; tokens are blotted out.
 * - `error`: `{error}`; what no call is waiting for.
 */
export class BellhubClient extends EventTarget {
  #url;
  #getToken;
  #WebSocket;
  #rules;
  #socket = null;
  #timer = null;
  #listening = null;
  #steps = [];
  #busy = false;
  /** The frame of each call that waits for its answer. */
  #calls = new Map();

  /**
   * @param {object} options
   * @param {string} [options.url] of the hub's socket, relative to the page; `http` becomes `ws`
   * @param {string} options.apiKey the project's public key, `pk_…`
   * @param {string} options.channel UUID or handle
   * @param {() => Promise<string>} [options.getToken] fetches a user token; called again only when it has expired
   * @param {string} [options.user] instead of a token, on a hub in development mode
   * @param {typeof WebSocket} [options.WebSocket]
   * @param {() => number} [options.random] in [0, 1); spreads reconnects
   */
  constructor({
    url = "ws/v1",
    apiKey,
    channel,
    getToken = null,
    user = null,
    WebSocket = globalThis.WebSocket,
    random = Math.random,
  }) {
    super();
    if ((getToken === null) === (user === null)) throw new TypeError("exactly one of getToken and user is needed");
    this.#url = socketAddress(url);
    this.#getToken = getToken;
    this.#WebSocket = WebSocket;
    this.#rules = new Connection({ apiKey, channel, user, random, name: uniqueName() });
  }

  get state() {
    return this.#rules.state;
  }

  /** What the last `inbox` event told. */
  get inbox() {
    const { counts, cursor, after } = this.#rules.inbox;
    return { entries: active(this.#rules.inbox), counts, cursor, more: after !== null };
  }

  /** Connect and stay connected; while waiting to come back, try at once. */
  connect() {
    this.#listen();
    this.#do((now) => this.#rules.start(now));
  }

  /** Close for good. Calls without an answer fail with the code `closed`. */
  close() {
    this.#listening?.abort();
    this.#listening = null;
    this.#do(() => this.#rules.stop());
  }

  /**
   * Mark entries. Resolves when it is stored; lost connections are survived and nothing counts twice.
   * @param {"seen" | "read" | "click" | "archive" | "unarchive" | "dismiss"} verb
   * @param {string[]} ids at most 500
   * @returns {Promise<object>} the `ack`
   * @throws {BellhubError}
   */
  mark(verb, ids) {
    return this.#ask({ type: verb, ids: [...ids] });
  }

  /**
   * Mark everything that had arrived at a place in the feed; what came later is spared.
   * @param {"seen" | "read" | "archive" | "dismiss"} verb
   * @param {string} [upto] the `cursor` of the `inbox` event that was shown; now, by default
   * @returns {Promise<object>} the `ack`
   * @throws {BellhubError}
   */
  markAll(verb, upto = this.#rules.inbox.cursor ?? "0") {
    return this.#ask({ type: verb, upto });
  }

  /**
   * A page of the feed, whatever the inbox holds.
   * @param {object} [filters] as in REST, with one of `after` and `before`, and `limit`
   * @returns {Promise<object>} the `page`
   * @throws {BellhubError}
   */
  list(filters = {}) {
    return this.#ask({ ...filters, type: "list" });
  }

  /**
   * Take the next older page into the inbox.
   * @returns {Promise<void>}
   * @throws {BellhubError}
   */
  async older() {
    if (this.#rules.inbox.after !== null) await this.#ask({ type: "list" }, "older");
  }

  /** Requests become promises; the rules know them by their frame. */
  #ask(frame, input = "request") {
    return new Promise((resolve, reject) => {
      const steps = this.#rules[input](frame, now());
      this.#calls.set(frame, { resolve, reject });
      this.#run(steps);
    });
  }

  #do(input) {
    this.#run(input(now()));
  }

  /** One step after the other, those that a listener causes in between behind those that are waiting. */
  #run(steps) {
    this.#steps.push(...steps);
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (this.#steps.length > 0) this.#step(this.#steps.shift());
    } finally {
      this.#busy = false;
      this.#rearm();
    }
  }

  #rearm() {
    clearTimeout(this.#timer);
    const { due } = this.#rules;
    if (due === null) return;
    this.#timer = setTimeout(() => this.#do((now) => this.#rules.tick(now)), Math.max(0, due - now()));
  }

  #step({ act, ...step }) {
    switch (act) {
      case "connect":
        return this.#open();
      case "drop":
        return this.#drop();
      case "send":
        return this.#send(step.frame);
      case "token":
        return void this.#fetchToken();
      case "state":
        return this.#emit("state", step);
      case "inbox":
        return this.#emit("inbox", this.inbox);
      case "answer":
        return this.#answer(step);
      default:
        return this.#emit("error", { error: new BellhubError(step.error) });
    }
  }

  #open() {
    this.#drop();
    const socket = new this.#WebSocket(this.#url, [SUBPROTOCOL]);
    this.#socket = socket;
    // A socket that was dropped may still speak; only the present one is heard.
    const on = (type, input) =>
      socket.addEventListener(type, (event) => {
        if (socket === this.#socket) this.#do((now) => input(event, now));
      });
    on("open", (_, now) => this.#rules.open(now));
    on("message", ({ data }, now) => this.#receive(data, now));
    on("close", ({ code }, now) => this.#rules.closed(code, now));
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #receive(text, now) {
    const frame = JSON.parse(text);
    this.#show("in", frame, text);
    return this.#rules.frame(frame, now);
  }

  #send(frame) {
    const text = JSON.stringify(frame);
    this.#socket?.send(text);
    this.#show("out", frame, text);
  }

  #show(direction, frame, text) {
    const shown = "token" in frame ? { ...frame, token: "…" } : frame;
    this.#emit("frame", { direction, frame: shown, size: new TextEncoder().encode(text).length });
  }

  async #fetchToken() {
    let token;
    try {
      token = await this.#getToken();
    } catch (error) {
      this.#emit("error", { error });
      this.#do((now) => this.#rules.tokenFailed(now));
      return;
    }
    this.#do((now) => this.#rules.token(token, now));
  }

  #answer({ to, answer }) {
    const call = this.#calls.get(to);
    this.#calls.delete(to);
    if (answer.type === "error") call.reject(new BellhubError(answer));
    else call.resolve(answer);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #listen() {
    if (this.#listening !== null) return;
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    const wake = () => this.#do((now) => this.#rules.wake(now));
    addEventListener("online", wake, { signal });
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake(), { signal });
  }
}

/** Milliseconds; never runs backwards, unlike the time of day. */
function now() {
  return performance.now();
}

function socketAddress(url) {
  const address = new URL(url, document.baseURI);
  address.protocol = address.protocol.replace(/^http/, "ws");
  return address.href;
}

/** `crypto.randomUUID` is missing on plain-http pages. */
function uniqueName() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
