/**
 * One client's side of the socket protocol, version 1: connections, one followed feed, one request at a time.
 *
 * Pure: no socket, no clock, no timer. The caller reports what happened and when, and does what the returned
 * steps say. Times are milliseconds since 1970 by a clock that does not run backwards.
 * @module
 */

import { Backoff, jitter } from "./backoff.js";
import { append, apply, EMPTY } from "./inbox.js";

/** The WebSocket subprotocol. */
export const SUBPROTOCOL = "bellhub.v1.json";

/** A socket that is not open by then is given up, ms. */
const OPEN_MS = 10_000;
/** Silence beyond the hub's own ping interval that makes us ask, ms (protocol, section 4). */
const GRACE_MS = 10_000;
/** Time the hub has to answer that, or to close after its `bye`, ms. */
const PROBE_MS = 5_000;
/** A timer that comes so much too late was asleep, and what it waited for may have come meanwhile, ms. */
const SLEPT_MS = 2_000;
/** So often one request is tried again after faults of the hub. It must not block those behind it for ever. */
const RETRIES = 7;

const TOKEN_EXPIRED = 4003;
/** A hub that closes with one of these will not have this user: trying again would change nothing. @type {unknown[]} */
const REFUSED = [TOKEN_EXPIRED, 4501, 4503];
/** What a browser reports when a connection broke without a close frame. */
const ABNORMAL = 1006;
const STAY_AWAY = [1002, 1003, 1007, 1008, 1009, 1010];

/** @typedef {import("./inbox.js").Frame} Frame */

/**
 * What the caller is to do.
 * - `connect`: open a socket, then report `open` or `closed`.
 * - `drop`: forget the socket, nothing of it counts any more; no `closed` is expected.
 * - `send`: write this frame.
 * - `token`: fetch a user token, then report `token` or `tokenFailed`.
 * - `state`: the state is now this; `code` and `reason` say why a connection ended, if one did.
 * - `notification`: an entry that was not there before, now or while this client was away.
 * - `answer`: the answer to the request: an `ack`, a `page` or an `error`.
 * - `auth`: the hub will not have this user, or nobody is signed in. It ended.
 * - `error`: an error that answers no request.
 * @typedef {{act: "connect"} | {act: "drop"} | {act: "send", frame: Frame} | {act: "token"}
 *   | {act: "state", state: State} & Partial<Why>
 *   | {act: "notification", entry: import("./inbox.js").Entry} | {act: "answer", answer: Frame}
 *   | {act: "auth"} & Why | {act: "error", error: Frame}} Step
 */

/**
 * Why a connection ended. `code`: that of the close or of the error, or `closed`, `nobody`, `signed_out`,
 * `other_user`. `reason` is for developers.
 * @typedef {{code: number | string, reason: string}} Why
 */

/** No step is needed where nothing is returned. @typedef {Step[] | undefined} Steps */

/** @typedef {"idle" | "connecting" | "connected" | "reconnecting" | "closed"} State */

/**
 * The rules of one client. Every input returns the steps to do, in order.
 *
 * Phases: idle → (token →) opening → open (`auth` and `subscribe` are sent) → welcomed → (leaving: the hub said
 * `bye` →) waiting → … ; paused while the page is away; closed after `stop` or a close code that says stay away.
 */
export class Connection {
  #credentials;
  #channel;
  #random;
  #backoff;

  /** @type {string} */
  #phase = "idle";
  /** When the phase's patience ends. */
  #until = Infinity;
  /** @type {string | null} */
  #token = null;
  /** A token is being fetched; never two at a time, unless the first one takes too long. */
  #tokenWanted = false;
  /** When another token is asked for, while the socket is open. */
  #refreshAt = Infinity;
  /** When the held token ends, if that is known. */
  #expires = Infinity;
  /** A token was refused as expired, and no other was welcomed since. */
  #expired = false;
  #pingMs = 25_000;
  #probing = false;
  /** @type {Frame | null} */
  #bye = null;

  #inbox = EMPTY;
  #live = false;
  /** The ref of the `subscribe` whose `subscribed` is awaited. @type {number | null} */
  #subscribing = null;
  #subscribeAt = Infinity;

  #refs = 0;
  /** The frame that was asked and is not answered. @type {Frame | null} */
  #request = null;
  #requestAt = Infinity;
  /** Refusals since something went well. */
  #tries = 0;

  /** @type {State} */
  #told = "idle";
  /** Why the connection ended that this input is about. @type {Partial<Why>} */
  #ending = {};

  /**
   * @param {object} options
   * @param {string} options.apiKey
   * @param {string} options.channel UUID or handle
   * @param {string | null} [options.user] development sign-in; without it tokens are asked for
   * @param {() => number} options.random in [0, 1)
   */
  constructor({ apiKey, channel, user, random }) {
    this.#credentials = { api_key: apiKey, user };
    this.#channel = channel;
    this.#random = random;
    this.#backoff = new Backoff(random);
  }

  /** @returns {State} */
  get state() {
    return this.#told;
  }

  /** @returns {import("./inbox.js").Inbox} */
  get inbox() {
    return this.#inbox;
  }

  /** When `tick` wants to be called; Infinity: not before something else happens. */
  get due() {
    return Math.min(this.#until, this.#subscribeAt, this.#requestAt, this.#refreshAt);
  }

  /** Whether `request` may be called: connected, and nothing else waits for its answer. */
  get ready() {
    return this.#phase === "welcomed" && !this.#request;
  }

  // ---- inputs ---------------------------------------------------------------------------------------

  /** Connect; while waiting to come back: now. @returns {Step[]} */
  start(/** @type {number} */ now) {
    const resting = ["idle", "closed", "waiting", "paused"].includes(this.#phase);
    return this.#tell(resting ? this.#connect(now) : []);
  }

  /**
   * Network or page are back: do not sit out a wait, unless the hub itself asked for it, and do not trust an open
   * socket either: it may have died while nobody looked. A page that comes back is seen again before it is told so.
   * @returns {Step[]}
   */
  wake(/** @type {number} */ now) {
    if (this.#phase === "waiting" && !this.#bye) return this.#tell(this.#connect(now));
    return this.#phase === "welcomed" && !this.#probing ? this.#probe(now) : [];
  }

  /** The page goes away and may come back: let go of the socket until `start`, when somebody else may be signed in. @returns {Step[]} */
  pause() {
    if (this.#phase === "idle" || this.#phase === "closed") return [];
    this.#reset();
    this.#token = null;
    this.#phase = "paused";
    return this.#tell([{ act: "drop" }]);
  }

  /** There is another way to the hub, which may need the token that this one did not. @returns {Step[]} */
  restart(/** @type {number} */ now) {
    this.#reset();
    this.#token ||= null;
    return this.#tell([{ act: "drop" }, ...this.#connect(now)]);
  }

  /** Close for good. `refused`: since somebody else is to be served. @returns {Step[]} */
  stop(/** @type {Why} */ why, /** @type {boolean} */ refused) {
    return this.#tell(this.#end(why, refused));
  }

  /** @param {string | null} token null: nobody is signed in @returns {Step[]} */
  token(token, /** @type {number} */ now) {
    this.#tokenWanted = false;
    if (this.#phase === "closed") return [];
    if (token === null) return this.#tell(this.#end({ code: "nobody", reason: "nobody is signed in" }, true));
    this.#token = token;
    this.#expires = Infinity;
    if (this.#phase === "token") return this.#tell(this.#connect(now));
    return this.#phase === "welcomed" ? [send({ type: "refresh", ref: ++this.#refs, token })] : [];
  }

  /**
   * No token could be had: a failed attempt like any other. An open socket lasts as long as the token it has, and
   * until then more are asked for.
   * @returns {Step[]}
   */
  tokenFailed(/** @type {number} */ now) {
    this.#tokenWanted = false;
    return this.#tell(this.#phase === "token" ? this.#wait(now) : []);
  }

  /** @returns {Step[]} */
  open(/** @type {number} */ now) {
    this.#phase = "open";
    this.#heard(now);
    const auth = { type: "auth", ...this.#credentials, token: this.#token ?? undefined };
    return this.#tell([send(auth), this.#subscribe()]);
  }

  /** The socket closed, or never opened. One that was dropped is not spoken of any more. @returns {Step[]} */
  closed(/** @type {number} */ code, /** @type {number} */ now) {
    return this.#tell(this.#lost(code, now));
  }

  /** @param {Frame} frame of the hub @returns {Step[]} */
  frame(frame, /** @type {number} */ now) {
    if (!["open", "welcomed"].includes(this.#phase)) return [];
    this.#heard(now);
    return this.#tell(this.#take(frame, now));
  }

  /** @returns {Step[]} */
  tick(/** @type {number} */ now) {
    const late = now - this.#until;
    if (late >= 0) return this.#tell(this.#late(now, late > SLEPT_MS));
    if (now >= this.#subscribeAt) return [this.#subscribe()];
    if (now >= this.#refreshAt) return [...this.#refreshSoon(now), ...this.#wantToken()];
    return now >= this.#requestAt ? [this.#write()] : [];
  }

  /**
   * Ask for something that one `ack`, `page` or `error` answers. A request whose connection is lost is forgotten:
   * the caller, who alone knows whether it matters, asks again when `ready`.
   * @param {Frame} frame a mark or a `list`, without `ref` and `channel`
   * @returns {Step[]}
   */
  request(frame) {
    this.#request = { ...frame, ref: ++this.#refs, channel: this.#channel };
    return [this.#write()];
  }

  /** Take the older page that was asked for with this `after` into the inbox. */
  append(/** @type {Frame} */ page, /** @type {string} */ after) {
    // A snapshot that came in between has another end: this page would leave a hole behind it.
    if (after === this.#inbox.after) this.#inbox = append(this.#inbox, page);
  }

  // ---- connecting -----------------------------------------------------------------------------------

  /** @returns {Step[]} */
  #connect(/** @type {number} */ now) {
    this.#bye = null;
    if (now >= this.#expires) this.#token = null;
    if (this.#token === null && this.#credentials.user === undefined) {
      this.#phase = "token";
      this.#until = now + 3 * OPEN_MS;
      return this.#wantToken();
    }
    this.#phase = "opening";
    this.#until = now + OPEN_MS;
    return [{ act: "connect" }];
  }

  /**
   * A token for the open socket: soon, and later each time until there is one that lasts, since a page may have none
   * but the one that is about to end.
   * @returns {Step[]}
   */
  #refreshSoon(/** @type {number} */ now) {
    this.#refreshAt = now + this.#patience({});
    return [];
  }

  /** @returns {Step[]} */
  #wantToken() {
    if (this.#tokenWanted) return [];
    this.#tokenWanted = true;
    return [{ act: "token" }];
  }

  /** @returns {Step[]} */
  #lost(/** @type {number} */ code, /** @type {number} */ now) {
    // A hub that said why and then broke off meant what it said.
    const { code: why = code, reason = "" } = this.#bye ?? {};
    const hopeless = why === TOKEN_EXPIRED && this.#expired;
    if (hopeless || STAY_AWAY.includes(why) || why >= 4500) return this.#end({ code: why, reason });
    if (why === TOKEN_EXPIRED) {
      this.#token = null;
      this.#expired = true;
    }
    this.#ending = { code: why, reason };
    return this.#wait(now);
  }

  /** @returns {Step[]} */
  #wait(/** @type {number} */ now) {
    this.#reset();
    this.#phase = "waiting";
    this.#until = now + this.#backoff.next(now, this.#bye?.delay_ms);
    return [];
  }

  /** @returns {Step[]} */
  #end(/** @type {Why} */ why, refused = REFUSED.includes(why.code)) {
    this.#reset();
    this.#phase = "closed";
    this.#token = null;
    this.#expired = false;
    this.#ending = why;
    // What was shown is of a user who is not here any more.
    if (refused) this.#inbox = EMPTY;
    // Once: who hears of it may well sign out.
    return [{ act: "drop" }, ...(refused && this.#told !== "closed" ? [{ act: /** @type {const} */ ("auth"), ...why }] : [])];
  }

  /** Nothing of the lost connection holds for the next one. */
  #reset() {
    this.#until = this.#subscribeAt = this.#requestAt = this.#refreshAt = Infinity;
    this.#request = null;
    this.#live = false;
  }

  // ---- is anybody there? ----------------------------------------------------------------------------

  #heard(/** @type {number} */ now) {
    this.#probing = false;
    this.#until = now + this.#pingMs + GRACE_MS;
  }

  /** @returns {Step[]} */
  #late(/** @type {number} */ now, /** @type {boolean} */ slept) {
    if (this.#phase === "waiting") return this.#connect(now);
    if (this.#phase === "token") return this.tokenFailed(now);
    if ((this.#probing && !slept) || this.#phase === "opening" || this.#phase === "leaving") {
      return [{ act: "drop" }, ...this.#lost(ABNORMAL, now)];
    }
    // Timers of hidden pages and sleeping machines come late: ask before believing that the hub is gone.
    return this.#probe(now);
  }

  /** @returns {Step[]} */
  #probe(/** @type {number} */ now) {
    this.#probing = true;
    this.#until = now + PROBE_MS;
    return [send({ type: "ping" })];
  }

  // ---- frames of the hub ----------------------------------------------------------------------------

  /** @returns {Steps} */
  #take(/** @type {Frame} */ frame, /** @type {number} */ now) {
    switch (frame.type) {
      case "welcome":
        return this.#welcome(frame, now);
      case "subscribed":
        return this.#subscribed(frame);
      case "ack":
      case "page":
        return this.#answer(frame);
      case "error":
        return this.#error(frame, now);
      case "expiring":
        return this.#refreshSoon(now);
      case "ping":
        return [send({ type: "pong" })];
      case "bye":
        return this.#leave(frame, now);
      case "refreshed":
        return this.#lasts(frame);
      default: // an event; or pong and what later versions may add: it was heard, that is all
        if (frame.prev) return this.#event(frame);
    }
  }

  /** @returns {Steps} */
  #welcome(/** @type {Frame} */ frame, /** @type {number} */ now) {
    this.#phase = "welcomed";
    this.#pingMs = frame.ping_s * 1000;
    this.#heard(now);
    this.#backoff.range = frame.retry_ms;
    this.#backoff.up(now);
    this.#expired = false;
    return this.#lasts(frame);
  }

  /** @returns {undefined} */
  #lasts(/** @type {Frame} */ { expires_at }) {
    this.#refreshAt = Infinity;
    this.#expires = expires_at ? Date.parse(expires_at) : Infinity;
  }

  /** @returns {undefined} */
  #leave(/** @type {Frame} */ bye, /** @type {number} */ now) {
    this.#phase = "leaving";
    this.#bye = bye;
    this.#until = now + PROBE_MS;
  }

  // ---- the feed -------------------------------------------------------------------------------------

  #subscribe() {
    this.#subscribing = ++this.#refs;
    this.#subscribeAt = Infinity;
    const cursor = this.#inbox.cursor ?? undefined;
    return send({ type: "subscribe", ref: this.#subscribing, channel: this.#channel, cursor });
  }

  /** @returns {Steps} */
  #subscribed(/** @type {Frame} */ frame) {
    // An unasked snapshot that crossed our `subscribe` belongs to the past, like the events before its answer.
    if ((frame.ref ?? null) !== this.#subscribing) return;
    this.#subscribing = null;
    this.#tries = 0;
    this.#live = true;
    this.#inbox = apply(this.#inbox, frame);
  }

  /** @returns {Steps} */
  #event(/** @type {Frame} */ frame) {
    if (this.#subscribing !== null) return;
    const before = this.#inbox;
    this.#inbox = apply(before, frame);
    if (this.#inbox.gap) return [this.#subscribe()];
    if (this.#inbox.entries.length > before.entries.length) return [{ act: "notification", entry: frame.entry }];
  }

  /** @returns {Steps} */
  #subscribeFailed(/** @type {Frame} */ error, /** @type {number} */ now) {
    if (!error.temporary) return [{ act: "error", error }, ...this.#end({ code: error.code, reason: error.message })];
    this.#subscribeAt = now + this.#patience(error);
  }

  // ---- requests -------------------------------------------------------------------------------------

  #write() {
    this.#requestAt = Infinity;
    return send(/** @type {Frame} */ (this.#request));
  }

  /** @returns {Steps} */
  #answer(/** @type {Frame} */ frame) {
    if (frame.ref !== this.#request?.ref) return;
    this.#request = null;
    this.#tries = 0;
    return [{ act: "answer", answer: frame }];
  }

  /** @returns {Steps} */
  #error(/** @type {Frame} */ frame, /** @type {number} */ now) {
    const { ref, temporary, code } = frame;
    if (ref === this.#subscribing) return this.#subscribeFailed(frame, now);
    // The hub goes on with the token it had; we do not have that one any more, so the next connection asks again.
    if (code === "invalid_token") this.#token = null;
    if (!ref || ref !== this.#request?.ref) return [{ act: "error", error: frame }];
    // A hub without its store will have it again; anything else may be this request's own, for ever.
    if (!temporary || (this.#tries >= RETRIES && code !== "unavailable")) return this.#answer(frame);
    this.#requestAt = now + this.#patience(frame);
  }

  #patience(/** @type {Frame} */ { retry_ms }) {
    const [min, max] = this.#backoff.range;
    return jitter(this.#tries++, this.#random, [retry_ms ?? min, max]);
  }

  // ---- what the caller is told ----------------------------------------------------------------------

  /** @returns {State} */
  #state() {
    if (this.#phase === "idle" || this.#phase === "closed") return this.#phase;
    if (this.#live) return "connected";
    const again = this.#phase === "waiting" || this.#told === "connected" || this.#told === "reconnecting";
    return again ? "reconnecting" : "connecting";
  }

  /** @returns {Step[]} */
  #tell(/** @type {Steps} */ steps = []) {
    const state = this.#state();
    /** @type {Step[]} */
    const news = state === this.#told ? [] : [{ act: "state", state, ...this.#ending }];
    this.#ending = {};
    this.#told = state;
    return [...news, ...steps];
  }
}

/** @param {Frame} frame @returns {Step} */
function send(frame) {
  return { act: "send", frame };
}
