/**
 * A client of a notification hub for browsers: a WebSocket, a storage and one timer around the rules of
 * `protocol.js` and `outbox.js`.
 *
 *     import { BellhubClient } from "./static/client.js";
 *     const bell = new BellhubClient({ url: "ws/v1", apiKey: "pk_…", channel: "inbox", getToken });
 *     bell.subscribe(() => draw(bell.getSnapshot()));
 *     bell.connect();
 * @module
 */

import { arrivedAfter } from "./inbox.js";
import { frameOf, Outbox } from "./outbox.js";
import { Connection, SUBPROTOCOL } from "./protocol.js";
import { Tabs } from "./tabs.js";

/** A hub said no, or the client was closed before it could answer. `code` as in the protocol, or `closed`. */
export class BellhubError extends Error {
  /** @param {{code: string, message: string, temporary?: boolean, details?: object}} frame */
  constructor({ code, message, temporary = false, details = {} }) {
    super(message);
    this.name = "BellhubError";
    this.code = code;
    this.temporary = temporary;
    this.details = details;
  }
}

/**
 * @typedef {object} Snapshot what to show; frozen, and the same object until something changes
 * @property {import("./protocol.js").State} state not every lost connection means `closed`: only `close()`,
 *   `logout()`, or a hub that says stay away
 * @property {{code?: number, reason?: string} | undefined} reason why the connection ended, if it did
 * @property {"solo" | "leader" | "follower"} role among the tabs of this browser
 * @property {string | null} user
 * @property {{unseen: number, unread: number, total: number}} counts of the whole feed, unanswered marks included
 * @property {object[]} entries those neither archived nor dismissed, newest first, unanswered marks included
 * @property {string | null} cursor the place in the feed that this shows
 * @property {boolean} more `older()` has some
 * @property {number} pending marks that the hub has not acknowledged
 */

/**
 * One user's feed on one channel, kept up to date until `close()`.
 *
 * Events, all of them `CustomEvent`s:
 * - `change`: there is another snapshot.
 * - `notification`: `{entry, missed}`; a new entry, not one of a first page; `missed`: from while we were away.
 * - `state`: `{state, code?, reason?}`.
 * - `refused`: `{verb, ids, error}`; a mark was undone, since the hub will not have it. `ids`: those asked for;
 *   undefined for a mark-all.
 * - `auth`: `{code?, reason}`; the hub will not have this user, or nobody is signed in. The client is closed:
 *   `connect()` asks for another token.
 * - `frame`: `{direction: "in" | "out", frame, size}` in bytes; tokens are blotted out.
 * - `error`: `{error}`; what no call is waiting for.
 *
 * What a listener throws is reported as any uncaught error and stops nothing here.
 */
export class BellhubClient extends EventTarget {
  #url;
  #address;
  #tabs;
  /** The hub's last frame of each type. */
  #said = {};
  #getToken;
  #WebSocket;
  #clock;
  #storage;
  #rules;
  #outbox = new Outbox();
  /** The job that the hub has, or may have. */
  #job = null;
  /** The promise of each ask. */
  #calls = new Map();
  #name = uniqueName();
  #ops = 0;
  #user;
  /** The same, as far as it is known before the hub has said so. */
  #who;
  #reason;
  /** What the storage holds of this user's marks. */
  #kept = new Map();
  #keptVersion;
  #snapshot;
  /** What it was made of. */
  #parts = [];
  #subscribers = new Set();
  #socket = null;
  #timer;
  #listening = null;
  #steps = [];
  #busy = false;

  /**
   * @param {object} options
   * @param {string} [options.url] of the hub's socket, relative to the page; `http` becomes `ws`
   * @param {string} options.apiKey the project's public key, `pk_…`
   * @param {string} options.channel UUID or handle
   * @param {() => Promise<string | null>} [options.getToken] fetches a user token; called again only when that has
   *   expired. null: nobody is signed in
   * @param {string} [options.user] instead of a token, on a hub in development mode; beside `getToken`: who is
   *   signed in, if the page knows; then one token serves all tabs, otherwise each asks for one to see whose it is
   * @param {boolean} [options.tabs] share one socket among the tabs of this browser
   * @param {Storage | null} [options.storage] keeps unanswered marks over a reload; null: nothing does
   * @param {typeof WebSocket} [options.WebSocket]
   * @param {Clock} [options.clock]
   * @param {() => number} [options.random] in [0, 1); spreads reconnects
   */
  constructor({
    url = "ws/v1",
    apiKey,
    channel,
    getToken,
    user = null,
    tabs = true,
    storage = localStorageIfAny(),
    WebSocket = globalThis.WebSocket,
    clock = new Clock(),
    random = Math.random,
  }) {
    super();
    if (!getToken && user === null) throw new TypeError("getToken or user is needed");
    this.#url = socketAddress(url);
    this.#address = `bellhub:${this.#url}:${apiKey}:${channel}`;
    this.#getToken = getToken;
    this.#WebSocket = WebSocket;
    this.#clock = clock;
    this.#storage = storage;
    this.#user = this.#who = user;
    this.#rules = new Connection({ apiKey, channel, user: getToken ? null : user, random });
    this.#tabs = new Tabs({
      name: this.#address,
      mine: () => (this.#rules.state === "connected" ? { ...this.#said, inbox: this.#rules.inbox } : null),
      changed: () => this.#do((now) => this.#rules.restart(now)),
      wake: () => this.#do((now) => this.#rules.wake(now)),
      signedIn: (other) => this.#signedIn(other),
      clock,
      Channel: tabs && globalThis.BroadcastChannel,
    });
  }

  /** @returns {Snapshot} */
  getSnapshot() {
    const { state, inbox } = this.#rules;
    const { role } = this.#tabs;
    const parts = [inbox, this.#outbox.version, state, this.#reason, this.#user, role];
    if (this.#snapshot && parts.every((part, place) => part === this.#parts[place])) return this.#snapshot;
    this.#parts = parts;
    const { entries, counts } = this.#outbox.show(inbox);
    this.#snapshot = Object.freeze({
      state,
      reason: this.#reason,
      role,
      user: this.#user,
      counts: Object.freeze(counts),
      entries: Object.freeze(entries),
      cursor: inbox.cursor,
      more: inbox.after !== null,
      pending: this.#outbox.marks.length,
    });
    return this.#snapshot;
  }

  /**
   * Be told when there is another snapshot: with `getSnapshot` the store contract of React and Svelte.
   * @param {() => void} fn
   * @returns {() => void} ends it
   */
  subscribe(fn) {
    this.#subscribers.add(fn);
    return () => this.#subscribers.delete(fn);
  }

  /** Connect and stay connected; while waiting to come back, try at once. */
  connect() {
    this.#listen();
    this.#join();
    this.#do((now) => this.#rules.start(now));
  }

  /** Close. Calls without an answer fail with the code `closed`; their marks are kept and sent the next time. */
  close() {
    this.#listening?.abort();
    this.#listening = null;
    this.#do(() => this.#rules.stop());
  }

  /** The user leaves: close, here and in all tabs, and forget marks that were not sent. */
  logout() {
    this.#tabs.announce(null);
    this.#forget();
    this.close();
  }

  /**
   * Mark entries: shown at once, and resolved when it is stored. Lost connections and reloads are survived and
   * nothing counts twice. What the hub will not have is undone.
   * @param {"seen" | "read" | "click" | "archive" | "unarchive" | "dismiss"} verb
   * @param {string[]} ids at most 500
   * @param {{signal?: AbortSignal}} [options] aborting takes a mark back that was not sent yet
   * @returns {Promise<object>} the `ack`
   * @throws {BellhubError}
   */
  mark(verb, ids, { signal } = {}) {
    return this.#ask({ type: verb }, { ids: [...ids] }, signal);
  }

  /**
   * Mark everything that had arrived at a place in the feed; what came later is spared.
   * @param {"seen" | "read" | "archive" | "dismiss"} verb
   * @param {object} [options]
   * @param {string | null} [options.upto] the `cursor` of the snapshot that was shown; now, by default
   * @param {string} [options.topic] only entries of this topic
   * @param {AbortSignal} [options.signal]
   * @returns {Promise<object>} the `ack`
   * @throws {BellhubError}
   */
  markAll(verb, { upto = this.#rules.inbox.cursor, topic, signal } = {}) {
    return this.#ask({ type: verb, upto: upto ?? "0", ...(topic && { topic }) }, {}, signal);
  }

  /**
   * A page of the feed, whatever this client holds, in the order of the marks before it.
   * @param {object} [filters] as in REST, with one of `after` and `before`, and `limit`
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<object>} the `page`
   * @throws {BellhubError}
   */
  list(filters = {}, { signal } = {}) {
    return this.#ask({ ...filters, type: "list" }, {}, signal);
  }

  /**
   * Take the next older page into the snapshot.
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<void>}
   * @throws {BellhubError}
   */
  async older({ signal } = {}) {
    const { after } = this.#rules.inbox;
    if (after !== null) await this.#ask({ type: "list", after }, { older: true }, signal);
  }

  // ---- calls ----------------------------------------------------------------------------------------

  #ask(frame, ask, signal) {
    const promise = new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#rules.state === "closed") throw closed("this client is closed, connect first");
      this.#outbox.add(this.#op(), frame, ask, Date.now(), this.#rules.inbox);
      this.#calls.set(ask, { resolve, reject });
      signal?.addEventListener("abort", () => this.#abort(ask, signal.reason), { once: true });
      this.#run([]);
    });
    // Who does not wait for a mark hears of its end by `refused`.
    if (frame.type !== "list") promise.catch(() => {});
    return promise;
  }

  #abort(ask, reason) {
    this.#outbox.withdraw(ask);
    this.#settle(ask, "reject", reason);
    this.#run([]);
  }

  #settle(ask, how, value) {
    this.#calls.get(ask)?.[how](value);
    this.#calls.delete(ask);
  }

  #op = () => `${this.#name}-${++this.#ops}`;

  /** The next request, if the hub may be asked. */
  #next() {
    const [job] = this.#outbox.jobs;
    if (!job || !this.#rules.ready) return [];
    this.#job = job;
    job.sent = true;
    return this.#rules.request(frameOf(job));
  }

  #answer(answer) {
    const job = this.#job;
    const { frame, asks } = job;
    if (answer.type === "error") {
      if (asks.length > 1) return this.#outbox.split(job, this.#op);
      const error = new BellhubError(answer);
      if (frame.type !== "list") this.#emit("refused", { verb: frame.type, ids: asks[0].ids, error });
      this.#settle(asks[0], "reject", error);
    } else {
      if (asks[0].older) this.#steps.push(...this.#rules.append(answer, frame.after));
      for (const ask of asks) this.#settle(ask, "resolve", answer);
    }
    // An event that was here before its `ack`, or long ago, will not come again.
    const coming = !answer.replayed && answer.changed?.length > 0 && !arrivedAfter(this.#rules.inbox, answer.cursor);
    this.#outbox.done(job, coming ? answer.cursor : undefined);
  }

  /** Nobody will answer. Marks stay in the outbox, pages would come too late. */
  #end() {
    this.#outbox.end();
    for (const ask of this.#calls.keys()) this.#settle(ask, "reject", closed("closed before an answer"));
  }

  // ---- marks over a reload --------------------------------------------------------------------------

  /** The hub has told who this is: only now it is known whose marks the storage holds. */
  #welcome({ user }) {
    const before = this.#user;
    if (before !== null && before !== user) return this.#rules.stop("another user has signed in", true);
    this.#user = user;
    if (!this.#said.welcome) this.#tabs.announce(user);
    // At each welcome: a tab that has closed meanwhile may have left some.
    this.#try((storage) => {
      const keys = Object.keys(storage).filter((key) => key.startsWith(this.#key("")));
      this.#kept = new Map(keys.map((key) => [key, storage.getItem(key)]));
      this.#outbox.load([...this.#kept.values()].map(JSON.parse), Date.now());
    });
    return null;
  }

  /** Somebody has, in another tab; null: the user of this one has left. */
  #signedIn(user) {
    if (user === this.#user) return;
    if (user === null) this.#forget();
    this.#do(() => this.#rules.stop(user === null ? "signed out" : "another user has signed in", true));
  }

  #forget() {
    this.#outbox = new Outbox();
    this.#run([]);
  }

  /** One item a mark: tabs that write at the same time do not meet. */
  #keep() {
    const { version, marks } = this.#outbox;
    if (this.#user === null || version === this.#keptVersion) return;
    this.#keptVersion = version;
    const wanted = new Map(marks.map((job) => [this.#key(job.op), JSON.stringify({ frame: frameOf(job), at: job.at })]));
    this.#try((storage) => {
      for (const [key, text] of wanted) if (this.#kept.get(key) !== text) storage.setItem(key, text);
      for (const key of this.#kept.keys()) if (!wanted.has(key)) storage.removeItem(key);
    });
    this.#kept = wanted;
  }

  #key(op) {
    return `${this.#address}:${this.#user}:${op}`;
  }

  /** A storage may be full, forbidden or damaged: then a reload loses marks, and nothing else happens. */
  #try(act) {
    try {
      if (this.#storage) act(this.#storage);
    } catch (error) {
      this.#emit("error", { error });
    }
  }

  // ---- steps ----------------------------------------------------------------------------------------

  #do(input) {
    this.#run(input(this.#clock.now()));
  }

  /** One step after the other, those that a listener causes in between behind those that are waiting. */
  #run(steps) {
    this.#steps.push(...steps);
    if (this.#busy) return;
    this.#busy = true;
    try {
      do {
        while (this.#steps.length > 0) this.#step(this.#steps.shift());
        this.#publish();
        this.#steps.push(...this.#next());
      } while (this.#steps.length > 0);
    } finally {
      this.#busy = false;
      this.#keep();
      this.#rearm();
    }
  }

  #rearm() {
    this.#clock.clearTimeout(this.#timer);
    const { due } = this.#rules;
    if (due === Infinity) return;
    const tick = () => this.#do((now) => this.#rules.tick(now));
    this.#timer = this.#clock.setTimeout(tick, Math.max(0, due - this.#clock.now()));
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
        return this.#state(step);
      case "answer":
        return this.#answer(step.answer);
      case "error":
        return this.#emit("error", { error: new BellhubError(step.error) });
      case "inbox":
        return this.#publish();
      default: // notification, auth
        return this.#emit(act, step);
    }
  }

  #state(step) {
    const { state, ...reason } = step;
    this.#reason = reason.reason === undefined ? undefined : Object.freeze(reason);
    if (state === "closed") {
      this.#tabs.stop();
      this.#end();
    }
    this.#publish();
    this.#emit("state", step);
  }

  #publish() {
    const before = this.#snapshot;
    if (this.getSnapshot() === before) return;
    this.#emit("change");
    for (const fn of [...this.#subscribers]) {
      try {
        fn();
      } catch (error) {
        reportError(error);
      }
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // ---- the socket -----------------------------------------------------------------------------------

  #open() {
    this.#drop();
    let socket;
    try {
      socket = this.#tabs.open(() => new this.#WebSocket(this.#url, [SUBPROTOCOL]));
    } catch (error) {
      // Such an address is never going to work: a secure page may not open an insecure socket.
      this.#emit("error", { error });
      return this.#do(() => this.#rules.stop());
    }
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
    if (this.#tabs.passOn(frame)) return [];
    const end = frame.type === "welcome" && this.#welcome(frame);
    if (end) return end;
    this.#said[frame.type] = frame;
    const before = this.#rules.inbox;
    const steps = this.#rules.frame(frame, now);
    const { inbox } = this.#rules;
    if (inbox !== before && !inbox.gap) this.#tabs.tookIn(frame);
    if (frame.prev || frame.entries) this.#outbox.landed(frame.prev && frame.cursor);
    return steps;
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

  /** With other tabs of the same user: until it is known who that is, this one is alone. */
  #join() {
    if (this.#who !== null) this.#tabs.start(this.#who);
  }

  async #fetchToken() {
    try {
      // A follower's leader has one, and looks at no other.
      const token = this.#tabs.role === "follower" ? "" : ((await this.#getToken()) ?? null);
      if (this.#who === null) {
        this.#who = subject(token);
        this.#join();
      }
      this.#do((now) => this.#rules.token(token, now));
    } catch (error) {
      this.#emit("error", { error });
      this.#do((now) => this.#rules.tokenFailed(now));
    }
  }

  // ---- the page -------------------------------------------------------------------------------------

  #listen() {
    if (this.#listening !== null) return;
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    const wake = () => this.#do((now) => this.#rules.wake(now));
    addEventListener("online", wake, { signal });
    // An open socket keeps the page out of the back/forward cache, or dies there without a word.
    const pause = () => {
      this.#tabs.stop();
      this.#do(() => this.#rules.pause());
    };
    addEventListener("pagehide", pause, { signal });
    addEventListener("pageshow", () => this.#rules.state === "closed" || this.connect(), { signal });
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake(), { signal });
  }
}

const clients = [];

/**
 * The one client of these options, so that two elements of a page share a socket. It is connected by whoever
 * comes first and closed by nobody in particular; a closed one is replaced.
 * @param {ConstructorParameters<typeof BellhubClient>[0]} options
 * @returns {BellhubClient}
 */
export function shared(options) {
  const names = ["url", "apiKey", "channel", "user", "getToken"];
  const open = ({ held, client }) =>
    names.every((name) => held[name] === options[name]) && client.getSnapshot().state !== "closed";
  const found = clients.find(open);
  if (found) return found.client;
  const client = new BellhubClient(options);
  clients.push({ held: options, client });
  return client;
}

/** Milliseconds since 1970 that never run backwards. They go on while the machine sleeps, unlike `performance.now()`. */
class Clock {
  #last = 0;
  #ahead = 0;

  now() {
    const now = Date.now();
    if (now + this.#ahead < this.#last) this.#ahead = this.#last - now;
    this.#last = now + this.#ahead;
    return this.#last;
  }

  setTimeout(fn, ms) {
    return setTimeout(fn, ms);
  }

  clearTimeout(timer) {
    clearTimeout(timer);
  }
}

/** Whose token it is; null: that is not to be seen. */
function subject(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"))).sub;
  } catch {
    return null;
  }
}

function closed(message) {
  return new BellhubError({ code: "closed", message });
}

/** Reading it throws where a browser forbids storage. */
function localStorageIfAny() {
  try {
    return globalThis.localStorage;
  } catch {
    return null;
  }
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
