/**
 * One client's side of the socket protocol, version 1: connections, one followed feed, requests.
 *
 * Pure: no socket, no clock, no timer. The caller reports what happened and when, and does what the returned
 * steps say. Times are milliseconds of any clock that does not run backwards.
 * @module
 */

import { Backoff, jitter } from "./backoff.js";
import { append, apply, empty } from "./inbox.js";

/** The WebSocket subprotocol. */
export const SUBPROTOCOL = "bellhub.v1.json";
/** Ids in one mark. */
export const IDS = 500;
/** Requests that may wait for their turn; the next one is refused. */
export const WAITING = 256;

/** A socket that is not open by then is given up, ms. */
const OPEN_MS = 10_000;
/** Silence beyond the hub's own ping interval that makes us ask, ms (protocol, section 4). */
const GRACE_MS = 10_000;
/** Time the hub has to answer that, or to close after its `bye`, ms. */
const PROBE_MS = 5_000;
/** Temporary errors of one request before its caller is told. They must not block those behind it for ever. */
const TRIES = 8;

const TOKEN_EXPIRED = 4003;
/** What a browser reports when a connection broke without a close frame. */
const ABNORMAL = 1006;
const STAY_AWAY = new Set([1002, 1003, 1007, 1008, 1009, 1010]);

/**
 * Whether a client returns after a close with this code (protocol, section 7).
 * @param {number} code
 * @returns {boolean}
 */
export function comesBack(code) {
  return !STAY_AWAY.has(code) && !(code >= 4500 && code <= 4999);
}

/**
 * What the caller is to do.
 * - `connect`: open a socket, then report `open` or `closed`.
 * - `drop`: forget the socket, nothing of it counts any more; no `closed` is expected.
 * - `send`: write this frame.
 * - `token`: fetch a user token, then report `token` or `tokenFailed`.
 * - `state`: the state is now this; `code` and `reason` say why a connection ended.
 * - `inbox`: the inbox changed.
 * - `answer`: the answer to `to`, the very object given to `request`: an `ack`, a `page` or an `error`.
 * - `error`: an error that answers no request.
 * @typedef {{act: "connect"} | {act: "drop"} | {act: "send", frame: object} | {act: "token"}
 *   | {act: "state", state: State, code?: number, reason?: string} | {act: "inbox"}
 *   | {act: "answer", to: object, answer: object} | {act: "error", error: object}} Step
 */

/** @typedef {"idle" | "connecting" | "connected" | "reconnecting" | "closed"} State */

/**
 * The rules of one client. Every input returns the steps to do, in order.
 *
 * Phases: idle → (token →) opening → open (`auth` and `subscribe` are sent) → welcomed → (leaving: the hub said
 * `bye` →) waiting → … ; ended after `stop` or a close code that says stay away.
 */
export class Connection {
  #credentials;
  #channel;
  #random;
  #name;
  #backoff;

  #phase = "idle";
  /** When the phase's patience ends; null: never. */
  #until = null;
  #token = null;
  /** A token is being fetched; never two at a time. */
  #tokenWanted = false;
  /** The ref of the last `refresh`. */
  #refreshing = null;
  #pingMs = 25_000;
  #probing = false;
  #bye = null;

  #inbox = empty();
  #handle = null;
  #live = false;
  /** The ref of the `subscribe` whose `subscribed` is awaited. */
  #subscribing = null;
  #subscribeAt = null;
  #subscribeTries = 0;

  #refs = 0;
  #ops = 0;
  /** Marks and lists in the order asked; only the first may be on its way. */
  #requests = [];

  #told = { state: "idle", inbox: this.#inbox };
  /** Why the connection ended that this input is about. */
  #ending = {};

  /**
   * @param {object} options
   * @param {string} options.apiKey
   * @param {string} options.channel UUID or handle
   * @param {string | null} [options.user] development sign-in; without it tokens are asked for
   * @param {() => number} options.random in [0, 1)
   * @param {string} options.name unlike any other client's; `op` ids begin with it
   */
  constructor({ apiKey, channel, user = null, random, name }) {
    this.#credentials = user === null ? { api_key: apiKey } : { api_key: apiKey, user };
    this.#channel = channel;
    this.#random = random;
    this.#name = name;
    this.#backoff = new Backoff(random);
  }

  /** @returns {State} */
  get state() {
    return this.#told.state;
  }

  /** @returns {import("./inbox.js").Inbox} */
  get inbox() {
    return this.#inbox;
  }

  /** When `tick` wants to be called; null: not before something else happens. */
  get due() {
    const first = this.#requests[0];
    const retry = this.#phase === "welcomed" && first && !first.sent ? first.at : null;
    const times = [this.#until, this.#subscribeAt, retry].filter((time) => time !== null);
    return times.length > 0 ? Math.min(...times) : null;
  }

  // ---- inputs ---------------------------------------------------------------------------------------

  /** Connect; while waiting to come back: now. @returns {Step[]} */
  start(now) {
    const resting = ["idle", "ended", "waiting"].includes(this.#phase);
    return this.#tell(resting ? this.#connect(now) : []);
  }

  /** Network or page are back: do not sit out a wait, unless the hub itself asked for it. @returns {Step[]} */
  wake(now) {
    return this.#tell(this.#phase === "waiting" && this.#bye === null ? this.#connect(now) : []);
  }

  /** Close for good; what was not answered is refused. @returns {Step[]} */
  stop() {
    return this.#tell(this.#end({ reason: "closed by this client" }));
  }

  /** @returns {Step[]} */
  token(token, now) {
    this.#token = token;
    const wanted = this.#tokenWanted;
    this.#tokenWanted = false;
    if (this.#phase === "token") return this.#tell(this.#connect(now));
    return this.#phase === "welcomed" && wanted ? [this.#refresh()] : [];
  }

  /** No token could be had: a failed attempt like any other. @returns {Step[]} */
  tokenFailed(now) {
    this.#tokenWanted = false;
    return this.#tell(this.#phase === "token" ? this.#wait(now) : []);
  }

  /** @returns {Step[]} */
  open(now) {
    this.#phase = "open";
    this.#heard(now);
    const credentials = this.#token === null ? this.#credentials : { ...this.#credentials, token: this.#token };
    return this.#tell([send({ type: "auth", ...credentials }), this.#subscribe()]);
  }

  /** The socket closed, or never opened. @returns {Step[]} */
  closed(code, now) {
    const connected = ["opening", "open", "welcomed", "leaving"].includes(this.#phase);
    return this.#tell(connected ? this.#lost(code, now) : []);
  }

  /** @param {object} frame of the hub @returns {Step[]} */
  frame(frame, now) {
    if (this.#phase !== "open" && this.#phase !== "welcomed") return [];
    this.#heard(now);
    return this.#tell(this.#take(frame, now));
  }

  /** @returns {Step[]} */
  tick(now) {
    if (this.#until !== null && now >= this.#until) return this.#tell(this.#late(now));
    if (this.#subscribeAt !== null && now >= this.#subscribeAt) return [this.#subscribe()];
    return this.#next(now);
  }

  /**
   * Ask for something that one `ack`, `page` or `error` answers. Requests are sent one after the other, in order
   * (an archive that is tried again must not overtake an unarchive), and again after a reconnect until they are
   * answered. Marks get an `op`, kept for every attempt, so that none counts twice.
   * @param {object} frame a mark or a `list`, without `ref`, `op` and `channel`
   * @returns {Step[]}
   * @throws {RangeError} too many ids or too many requests waiting
   * @throws {Error} after `stop`, or when the hub told us to stay away
   */
  request(frame, now) {
    return this.#ask(frame, frame.type === "list" ? {} : { op: `${this.#name}-${++this.#ops}` }, now);
  }

  /** Take the next older page into the inbox; `frame` is a `list`, answered like any other. @returns {Step[]} */
  older(frame, now) {
    return this.#ask(frame, { after: this.#inbox.after }, now, true);
  }

  // ---- connecting -----------------------------------------------------------------------------------

  #connect(now) {
    this.#bye = null;
    this.#until = null;
    if (this.#token === null && this.#credentials.user === undefined) {
      this.#phase = "token";
      return this.#wantToken();
    }
    this.#phase = "opening";
    this.#until = now + OPEN_MS;
    return [{ act: "connect" }];
  }

  #wantToken() {
    if (this.#tokenWanted) return [];
    this.#tokenWanted = true;
    return [{ act: "token" }];
  }

  #refresh() {
    this.#refreshing = ++this.#refs;
    return send({ type: "refresh", ref: this.#refreshing, token: this.#token });
  }

  #lost(code, now) {
    // A hub that said why and then broke off meant what it said.
    const why = this.#bye?.code ?? code;
    const reason = this.#bye?.reason ?? "";
    if (why === TOKEN_EXPIRED) this.#token = null;
    if (!comesBack(why)) return this.#end({ code: why, reason });
    this.#ending = { code: why, reason };
    return this.#wait(now);
  }

  #wait(now) {
    this.#reset();
    this.#phase = "waiting";
    this.#until = now + this.#backoff.next(now, this.#bye?.delay_ms ?? null);
    return [];
  }

  #end(why) {
    this.#reset();
    this.#phase = "ended";
    this.#token = null;
    this.#ending = why;
    const message = "the connection ended before an answer";
    const refused = { type: "error", code: "closed", message, temporary: false };
    const answers = this.#requests.splice(0).map(({ frame }) => ({ act: "answer", to: frame, answer: refused }));
    return [{ act: "drop" }, ...answers];
  }

  /** Nothing of the lost connection holds for the next one. */
  #reset() {
    this.#until = null;
    this.#live = false;
    this.#subscribeAt = null;
    this.#subscribeTries = 0;
    for (const request of this.#requests) Object.assign(request, { sent: false, at: null, tries: 0 });
  }

  // ---- is anybody there? ----------------------------------------------------------------------------

  #heard(now) {
    this.#probing = false;
    this.#until = now + this.#pingMs + GRACE_MS;
  }

  #late(now) {
    if (this.#phase === "waiting") return this.#connect(now);
    if (this.#probing || this.#phase === "opening" || this.#phase === "leaving") {
      return [{ act: "drop" }, ...this.#lost(ABNORMAL, now)];
    }
    // Timers of hidden pages and sleeping machines come late: ask before believing that the hub is gone.
    this.#probing = true;
    this.#until = now + PROBE_MS;
    return [send({ type: "ping" })];
  }

  // ---- frames of the hub ----------------------------------------------------------------------------

  #take(frame, now) {
    switch (frame.type) {
      case "welcome":
        return this.#welcome(frame, now);
      case "subscribed":
        return this.#subscribed(frame);
      case "entry":
      case "state":
      case "gone":
        return this.#event(frame);
      case "ack":
      case "page":
        return this.#answer(frame, now);
      case "error":
        return this.#error(frame, now);
      case "expiring":
        return this.#credentials.user === undefined ? this.#wantToken() : [];
      case "ping":
        return [send({ type: "pong" })];
      case "bye":
        return this.#leave(frame, now);
      default: // pong, refreshed, and what later versions may add: it was heard, that is all
        return [];
    }
  }

  #welcome({ ping_s, retry_ms }, now) {
    this.#phase = "welcomed";
    this.#pingMs = ping_s * 1000;
    this.#heard(now);
    this.#backoff.range = retry_ms;
    this.#backoff.up(now);
    return this.#next(now);
  }

  #leave(bye, now) {
    this.#phase = "leaving";
    this.#bye = bye;
    this.#until = now + PROBE_MS;
    return [];
  }

  // ---- the feed -------------------------------------------------------------------------------------

  #subscribe() {
    this.#subscribing = ++this.#refs;
    this.#subscribeAt = null;
    const { cursor } = this.#inbox;
    const frame = { type: "subscribe", ref: this.#subscribing, channel: this.#channel };
    return send(cursor === null ? frame : { ...frame, cursor });
  }

  #subscribed(frame) {
    // An unasked snapshot that crossed our `subscribe` belongs to the past, like the events before its answer.
    if ((frame.ref ?? null) !== this.#subscribing) return [];
    this.#subscribing = null;
    this.#subscribeTries = 0;
    this.#handle = frame.channel;
    this.#live = true;
    this.#inbox = apply(this.#inbox, frame);
    return [];
  }

  #event(frame) {
    if (this.#subscribing !== null || frame.channel !== this.#handle) return [];
    this.#inbox = apply(this.#inbox, frame);
    return this.#inbox.gap ? [this.#subscribe()] : [];
  }

  #subscribeFailed(error, now) {
    if (!error.temporary) return [{ act: "error", error }, ...this.#end({ reason: error.message })];
    this.#subscribeAt = now + this.#patience(this.#subscribeTries++, error);
    return [];
  }

  // ---- requests -------------------------------------------------------------------------------------

  #ask(frame, more, now, older = false) {
    if (this.#phase === "ended") throw new Error("this client is closed, connect first");
    const ids = frame.ids?.length ?? 0;
    if (ids > IDS) throw new RangeError(`${ids} ids, at most ${IDS}`);
    if (this.#requests.length >= WAITING) throw new RangeError(`${WAITING} requests are waiting, no more may`);
    const wire = { ...frame, ...more, ref: ++this.#refs, channel: this.#channel };
    this.#requests.push({ frame, wire, older, sent: false, at: null, tries: 0 });
    return this.#next(now);
  }

  #next(now) {
    const first = this.#requests[0];
    if (this.#phase !== "welcomed" || !first || first.sent || now < (first.at ?? now)) return [];
    Object.assign(first, { sent: true, at: null });
    return [send(first.wire)];
  }

  #answer(frame, now) {
    const first = this.#requests[0];
    if (!first?.sent || frame.ref !== first.wire.ref) return [];
    // A snapshot that came in between has another end: this page would leave a hole behind it.
    const fits = first.older && frame.type === "page" && first.wire.after === this.#inbox.after;
    this.#inbox = (fits ? append : apply)(this.#inbox, frame);
    this.#requests.shift();
    return [{ act: "answer", to: first.frame, answer: frame }, ...this.#next(now)];
  }

  #error(frame, now) {
    const first = this.#requests[0];
    if (frame.ref !== undefined && frame.ref === this.#subscribing) return this.#subscribeFailed(frame, now);
    if (!first?.sent || frame.ref !== first.wire.ref) return this.#complain(frame);
    if (!frame.temporary || ++first.tries >= TRIES) return this.#answer(frame, now);
    Object.assign(first, { sent: false, at: now + this.#patience(first.tries - 1, frame) });
    return [];
  }

  #complain(error) {
    // The hub goes on with the token it had; we do not have that one any more, so the next connection asks again.
    if (error.ref !== undefined && error.ref === this.#refreshing) this.#token = null;
    return [{ act: "error", error }];
  }

  #patience(tries, { retry_ms }) {
    const [min, max] = this.#backoff.range;
    return jitter(tries, this.#random, [retry_ms ?? min, max]);
  }

  // ---- what the caller is told ----------------------------------------------------------------------

  #state() {
    if (this.#phase === "idle") return "idle";
    if (this.#phase === "ended") return "closed";
    if (this.#live) return "connected";
    const first = this.#told.state === "idle" || this.#told.state === "closed" || this.#told.state === "connecting";
    return first && this.#phase !== "waiting" ? "connecting" : "reconnecting";
  }

  #tell(steps) {
    const news = [];
    if (this.#inbox !== this.#told.inbox) news.push({ act: "inbox" });
    const state = this.#state();
    if (state !== this.#told.state) {
      news.push({ act: "state", state, ...this.#ending });
    }
    this.#ending = {};
    this.#told = { state, inbox: this.#inbox };
    return [...news, ...steps];
  }
}

function send(frame) {
  return { act: "send", frame };
}
