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

import { frameOf, Outbox } from "./outbox.js";
import { Connection, SUBPROTOCOL } from "./protocol.js";
import { Tabs } from "./tabs.js";

/** About as long as a timer can last, ms. */
const FOREVER_MS = 2e9;

/** A hub said no, or the client was closed before it could answer. `code` as in the protocol, or `closed`. */
export class BellhubError extends Error {
  name = "BellhubError";
  code = "";

  /** @param {{code: string, message: string, temporary?: boolean, details?: object}} frame */
  constructor({ message, ...more }) {
    super(message);
    Object.assign(this, more);
  }
}

/** @typedef {import("./inbox.js").Entry} Entry */
/** @typedef {import("./inbox.js").Frame} Frame */
/** @typedef {import("./outbox.js").Ask} Ask */
/** @typedef {import("./outbox.js").Job} Job */
/** @typedef {import("./protocol.js").Step} Step */

/**
 * @typedef {object} Snapshot what to show; frozen, and the same object until something changes
 * @property {import("./protocol.js").State} state not every lost connection means `closed`: only `close()`,
 *   `logout()`, or a hub that says stay away
 * @property {import("./protocol.js").Why | undefined} reason why the connection ended, if it did
 * @property {"solo" | "leader" | "follower"} role among the tabs of this browser
 * @property {string | null} user
 * @property {{unseen: number, unread: number, total: number}} counts of the whole feed, unanswered marks included
 * @property {Entry[]} entries those neither archived nor dismissed, newest first, unanswered marks included
 * @property {string | null} cursor the place in the feed that this shows
 * @property {boolean} more `older()` has some
 * @property {number} pending marks that the hub has not acknowledged
 */

/**
 * One user's feed on one channel, kept up to date until `close()`.
 *
 * Events, all of them `CustomEvent`s:
 * - `change`: there is another snapshot.
 * - `notification`: `{entry}`; a new entry, or one from while we were away; none of a snapshot.
 * - `state`: `{state, code?, reason?}`.
 * - `refused`: `{verb, ids, error}`; a mark was undone, since the hub will not have it. `ids`: those asked for;
 *   undefined for a mark-all.
 * - `auth`: `{code, reason}`; the hub will not have this user, or nobody is signed in. The client is closed:
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
  /** The hub's last frame of each type. @type {Record<string, Frame>} */
  #said = {};
  /** @type {any} */
  #getToken;
  #WebSocket;
  #clock;
  #storage;
  #rules;
  #outbox = new Outbox();
  /** The job that the hub has, or may have. @type {Job | null} */
  #job = null;
  /** Unlike that of any other client; `crypto.randomUUID` is missing on plain-http pages. */
  #name = String(Math.random());
  #ops = 0;
  /** @type {string | null} */
  #user;
  /** The same, as far as it is known before the hub has said so. @type {string | null} */
  #who;
  /** @type {import("./protocol.js").Why | undefined} */
  #reason;
  /** @type {any} */
  #snapshot;
  /** The one that was told of last. @type {Snapshot | undefined} */
  #told;
  /** What it was made of. @type {unknown[]} */
  #parts = [];
  /** @type {Set<() => void>} */
  #subscribers = new Set();
  /** @type {Pick<WebSocket, "send" | "close" | "addEventListener"> | null} */
  #socket = null;
  /** @type {any} */
  #timer;
  /** @type {AbortController | null} */
  #listening = null;
  /** @type {Step[]} */
  #steps = [];
  #busy = false;

  /**
   * @param {object} options
   * @param {string} [options.url] of the hub's socket, relative to the page; `http` becomes `ws`
   * @param {string} options.apiKey the project's public key, `pk_…`
   * @param {string} options.channel UUID or handle
   * @param {() => Promise<string | null>} [options.getToken] fetches a user token; called again only when that has
   *   expired. null: nobody is signed in
   * @param {string | null} [options.user] instead of a token, on a hub in development mode; beside `getToken`: who is
   *   signed in, if the page knows; then one token serves all tabs, otherwise each asks for one to see whose it is
   * @param {boolean} [options.tabs] share one socket among the tabs of this browser
   * @param {Storage | null} [options.storage] keeps unanswered marks over a reload, `localStorage` by
   *   default; null: nothing does
   * @param {typeof globalThis.WebSocket} [options.WebSocket]
   * @param {typeof CLOCK} [options.clock]
   * @param {() => number} [options.random] in [0, 1); spreads reconnects
   */
  constructor({
    url = "ws/v1",
    apiKey,
    channel,
    getToken,
    user = null,
    tabs = true,
    storage,
    WebSocket = globalThis.WebSocket,
    clock = CLOCK,
    random = Math.random,
  }) {
    super();
    if (!getToken && user === null) throw new TypeError("getToken or user is needed");
    this.#url = new URL(url, document.baseURI).href.replace(/^http/, "ws");
    this.#address = `bellhub:${this.#url}:${apiKey}:${channel}`;
    this.#getToken = getToken;
    this.#WebSocket = WebSocket;
    this.#clock = clock;
    this.#storage = storage;
    this.#user = this.#who = user;
    this.#rules = new Connection({ apiKey, channel, user: getToken ? undefined : user, random });
    this.#tabs = new Tabs({
      id: this.#name,
      name: this.#address,
      mine: () => (this.#rules.state === "connected" ? /** @type {any} */ ({ ...this.#said, inbox: this.#rules.inbox }) : null),
      changed: () => this.#do("restart"),
      wake: () => this.#do("wake"),
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
    if (parts.every((part, place) => part === this.#parts[place])) return this.#snapshot;
    this.#parts = parts;
    this.#snapshot = Object.freeze({
      ...this.#outbox.show(inbox),
      state,
      reason: this.#reason,
      role,
      user: this.#user,
      cursor: inbox.cursor,
      more: inbox.after !== null,
      pending: this.#outbox.marks.length,
    });
    return this.#snapshot;
  }

  /**
   * Be told when there is another snapshot: with `getSnapshot` a store for any framework.
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
    this.#tabs.start(this.#who);
    this.#do("start");
  }

  /** Close. Calls without an answer fail with the code `closed`; their marks are kept and sent the next time. */
  close() {
    this.#listening?.abort();
    this.#listening = null;
    this.#do("stop", { code: "closed", reason: "closed" }, false);
  }

  /** The user leaves: close, here and in all tabs, and forget marks that were not sent. */
  logout() {
    this.#tabs.announce(null);
    this.#signedIn(null);
  }

  /**
   * Mark entries: shown at once, and resolved when it is stored. Lost connections and reloads are survived and
   * nothing counts twice. What the hub will not have is undone.
   * @param {"seen" | "read" | "click" | "archive" | "unarchive" | "dismiss"} verb
   * @param {string[]} ids at most 500
   * @param {{signal?: AbortSignal}} [options] aborting takes a mark back that was not sent yet
   * @returns {Promise<Frame>} the `ack`
   * @throws {BellhubError}
   */
  mark(verb, ids, options) {
    return this.#ask({ type: verb }, { ids: [...ids] }, options);
  }

  /**
   * Mark everything that had arrived at a place in the feed; what came later is spared.
   * @param {"seen" | "read" | "archive" | "dismiss"} verb
   * @param {object} [options]
   * @param {string | null} [options.upto] the `cursor` of the snapshot that was shown; now, by default
   * @param {string} [options.topic] only entries of this topic
   * @param {AbortSignal} [options.signal]
   * @returns {Promise<Frame>} the `ack`
   * @throws {BellhubError}
   */
  markAll(verb, { upto = this.#rules.inbox.cursor, topic, ...options } = {}) {
    return this.#ask({ type: verb, upto: upto ?? "0", topic }, {}, options);
  }

  /**
   * A page of the feed, whatever this client holds, in the order of the marks before it.
   * @param {object} [filters] as in REST, with one of `after` and `before`, and `limit`
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<Frame>} the `page`
   * @throws {BellhubError}
   */
  list(filters, options) {
    return this.#ask({ ...filters, type: "list" }, {}, options);
  }

  /**
   * Take the next older page into the snapshot.
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<void>}
   * @throws {BellhubError}
   */
  async older(options) {
    const { after } = this.#rules.inbox;
    if (after !== null) await this.#ask({ type: "list", after }, { older: true }, options);
  }

  // ---- calls ----------------------------------------------------------------------------------------

  /** @param {Frame} frame @param {Ask} ask @param {{signal?: AbortSignal}} [options] */
  #ask(frame, ask, { signal } = {}) {
    const promise = new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#rules.state === "closed") throw closed();
      this.#outbox.add(this.#op(), frame, { ...ask, signal, resolve, reject }, Date.now(), this.#rules.inbox);
      signal?.addEventListener("abort", () => {
        this.#outbox.withdraw(reject);
        reject(signal.reason);
        this.#run([]);
      });
      this.#run([]);
    });
    // Who does not wait for a mark hears of its end by `refused`.
    promise.catch(() => {});
    return promise;
  }

  #op = () => `${this.#name}-${++this.#ops}`;

  /** The next request, if the hub may be asked. */
  #next() {
    const [job] = this.#outbox.jobs;
    if (!job || !this.#rules.ready) return [];
    this.#job = job;
    job.sent = true;
    job.from = this.#rules.inbox.cursor;
    return this.#rules.request(frameOf(job));
  }

  #answer(/** @type {Frame} */ answer) {
    const job = /** @type {Job} */ (this.#job);
    const { frame, asks } = job;
    if (answer.type === "error") {
      if (asks.length > 1) return this.#outbox.split(job, this.#op);
      const error = new BellhubError(/** @type {any} */ (answer));
      if (frame.type !== "list") this.#emit("refused", { verb: frame.type, ids: asks[0].ids, error });
      asks[0].reject?.(error);
    } else {
      if (asks[0].older) this.#rules.append(answer, frame.after);
      for (const ask of asks) ask.resolve?.(answer);
    }
    this.#outbox.done(job, answer, this.#rules.inbox);
  }

  /** Nobody will answer. Marks stay in the outbox unless their user has left, pages would come too late. */
  #end(kept = this.#outbox.marks) {
    for (const { asks } of this.#outbox.jobs) for (const ask of asks) ask.reject?.(closed());
    this.#outbox.keep(kept);
  }

  // ---- marks over a reload --------------------------------------------------------------------------

  /** The hub has told who this is: only now it is known whose marks the storage holds. */
  #welcome(/** @type {string | null} */ user) {
    this.#signedIn(user);
    this.#user ??= user;
    if (!this.#said.welcome) this.#tabs.announce(user);
    // At each welcome: a tab that has closed meanwhile may have left some. One that lives sends them as well, which
    // is harmless.
    this.#try((/** @type {Storage} */ storage) => {
      for (const key of Object.keys(storage)) {
        if (!key.startsWith(this.#key(""))) continue;
        const kept = /** @type {string} */ (storage.getItem(key));
        storage.removeItem(key); // first: one that is damaged is met only once
        this.#outbox.load(JSON.parse(kept), Date.now());
      }
    });
  }

  /** Somebody has, in another tab; null: the user has left, here or there. Who is not known yet is nobody else. */
  #signedIn(/** @type {string | null} */ user) {
    if (user !== null && user === (this.#user ?? user)) return;
    if (user === null) this.#end([]);
    const why =
      user === null
        ? { code: "signed_out", reason: "signed out" }
        : { code: "other_user", reason: "another user signed in" };
    this.#do("stop", why, true);
  }

  /** Each tab has an item of its own: those that write at the same time do not meet. */
  #keep() {
    const marks = this.#outbox.marks.map((job) => ({ ...frameOf(job), at: job.at }));
    this.#try((/** @type {Storage} */ storage) => {
      if (marks[0] && this.#user !== null) storage.setItem(this.#key(), JSON.stringify(marks));
      else storage.removeItem(this.#key());
    });
  }

  #key(name = this.#name) {
    return `${this.#address}:${encodeURIComponent(/** @type {any} */ (this.#user))}:${name}`;
  }

  /** A storage may be full, forbidden or damaged: then a reload loses marks, and nothing else happens. */
  #try(/** @type {(storage: Storage) => void} */ act) {
    try {
      if (this.#storage !== null) act(this.#storage ?? localStorage);
    } catch (error) {
      this.#emit("error", { error });
    }
  }

  // ---- steps ----------------------------------------------------------------------------------------

  /** Something happened: the name of an input of the rules, and its values but the time. */
  #do(/** @type {string} */ input, /** @type {unknown[]} */ ...values) {
    this.#run(/** @type {any} */ (this.#rules)[input](...values, this.#clock.now()));
  }

  /** One step after the other, those that a listener causes in between behind those that are waiting. */
  #run(/** @type {Step[]} */ steps) {
    this.#steps.push(...steps);
    if (this.#busy) return;
    this.#busy = true;
    try {
      do {
        while (this.#steps.length > 0) this.#step(/** @type {Step} */ (this.#steps.shift()));
        this.#publish();
        this.#steps.push(...this.#next());
      } while (this.#steps.length > 0);
    } finally {
      this.#busy = false;
      this.#rearm();
    }
  }

  #rearm() {
    this.#clock.clearTimeout(this.#timer);
    const wait = Math.min(FOREVER_MS, this.#rules.due - this.#clock.now());
    this.#timer = this.#clock.setTimeout(() => this.#do("tick"), wait);
  }

  #step(/** @type {any} */ { act, ...step }) {
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
      default: // notification, auth
        return this.#emit(act, step);
    }
  }

  #state(/** @type {any} */ step) {
    const { state, ...why } = step;
    this.#reason = "reason" in why ? why : undefined;
    if (state === "closed") {
      this.#tabs.stop();
      this.#end();
    }
    this.#publish();
    this.#emit("state", step);
  }

  #publish() {
    const snapshot = this.getSnapshot(); // which a listener may have asked for in between
    if (snapshot === this.#told) return;
    this.#told = snapshot;
    this.#keep();
    this.#emit("change");
    for (const fn of this.#subscribers) {
      try {
        fn();
      } catch (error) {
        reportError(error);
      }
    }
  }

  /** @param {string} type @param {object} [detail] */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // ---- the socket -----------------------------------------------------------------------------------

  #open() {
    this.#drop();
    const socket = this.#tabs.open(() => new this.#WebSocket(this.#url, [SUBPROTOCOL]));
    this.#socket = socket;
    // A socket that was dropped may still speak; only the present one is heard.
    const on = (/** @type {string} */ type, /** @type {(event: any) => void} */ fn) =>
      socket.addEventListener(type, (event) => socket === this.#socket && fn(event));
    on("open", () => this.#do("open"));
    on("message", (/** @type {any} */ { data }) => this.#receive(data));
    on("close", (/** @type {any} */ { code }) => this.#do("closed", code));
  }

  #drop() {
    this.#socket?.close();
    this.#socket = null;
  }

  #receive(/** @type {string} */ text) {
    const frame = JSON.parse(text);
    this.#show("in", frame, text);
    if (this.#tabs.passOn(frame)) return;
    if (frame.type === "welcome") this.#welcome(frame.user);
    this.#said[frame.type] = frame;
    const before = this.#rules.inbox;
    const steps = this.#rules.frame(frame, this.#clock.now());
    const { inbox } = this.#rules;
    if (inbox !== before && !inbox.gap) {
      this.#tabs.tookIn(frame);
      this.#outbox.landed(frame);
    }
    this.#run(steps);
  }

  #send(/** @type {Frame} */ frame) {
    const text = JSON.stringify(frame);
    this.#socket?.send(text);
    this.#show("out", frame, text);
  }

  #show(/** @type {"in" | "out"} */ direction, /** @type {Frame} */ frame, /** @type {string} */ text) {
    const shown = frame.token ? { ...frame, token: "…" } : frame;
    this.#emit("frame", { direction, frame: shown, size: new Blob([text]).size });
  }

  async #fetchToken() {
    try {
      // A follower's leader has one, and looks at no other.
      const token = this.#tabs.role === "follower" ? "" : ((await this.#getToken()) ?? null);
      this.#who ??= subject(token);
      // One that was closed meanwhile must not lead: it would, without a socket.
      if (this.#rules.state !== "closed") this.#tabs.start(this.#who);
      this.#do("token", token);
    } catch (error) {
      this.#emit("error", { error });
      this.#do("tokenFailed");
    }
  }

  // ---- the page -------------------------------------------------------------------------------------

  #listen() {
    if (this.#listening) return;
    this.#listening = new AbortController();
    const on = (/** @type {string} */ type, /** @type {() => void} */ fn) =>
      addEventListener(type, fn, { signal: this.#listening?.signal, capture: true });
    const wake = () => this.#do("wake");
    on("online", wake);
    on("visibilitychange", () => {
      this.#tabs.looked();
      if (!document.hidden) wake();
    });
    // An open socket keeps the page out of the back/forward cache, or dies there without a word.
    on("pagehide", () => {
      this.#tabs.stop();
      this.#do("pause");
    });
    on("pageshow", () => this.#rules.state === "closed" || this.connect());
  }
}

/** @type {Record<string, [unknown, BellhubClient]>} */
const clients = {};

/**
 * The one client for this feed of this user, so that two elements of a page share a socket. Who comes first says the
 * rest of the options. It is connected by its users and closed by nobody in particular; a closed one is replaced.
 * @param {ConstructorParameters<typeof BellhubClient>[0]} options with the same function `getToken`, to share
 * @returns {BellhubClient}
 */
export function shared(options) {
  const { url, apiKey, channel, user, getToken } = options;
  const key = String([url, apiKey, channel, user]);
  const [fn, held] = clients[key] ?? [];
  if (held && fn === getToken && held.getSnapshot().state !== "closed") return held;
  const client = new BellhubClient(options);
  clients[key] = [getToken, client];
  return client;
}

let last = 0;
let ahead = 0;

/** Milliseconds since 1970 that never run backwards. They go on in a machine's sleep, unlike `performance.now()`. */
const CLOCK = {
  now() {
    const now = Date.now() + ahead;
    ahead += Math.max(0, last - now);
    last = Math.max(last, now);
    return last;
  },
  setTimeout: (/** @type {() => void} */ fn, /** @type {number} */ ms) => setTimeout(fn, ms),
  clearTimeout: (/** @type {any} */ timer) => clearTimeout(timer),
};

/** Whose token it is; null: that is not to be seen. */
function subject(/** @type {any} */ token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).sub;
  } catch {
    return null;
  }
}

function closed() {
  return new BellhubError({ code: "closed", message: "closed" });
}
