/**
 * One socket for all tabs of a user in one browser. One tab, the leader, has it. To the others the leader plays the
 * hub, over a BroadcastChannel: they speak to it as they would to a hub, through a `WebSocket` of this module, so that
 * the rules of `protocol.js` are the same in every tab, and nothing can get lost in between that they would not notice.
 *
 * Who leads is decided by a Web Lock. Where there are none (plain http) every tab is `solo`, with a socket of its own.
 * @module
 */

/** The leader says this often that it lives, ms. */
const BEAT_MS = 2_000;
/** A visible tab that heard nothing of a leader for so long takes its place, ms. */
const DEAD_MS = 8_000;
/** What a browser says of a connection that is to be made again. */
const RESTART = 1012;
/** Events that are kept for tabs that were away. */
const LATEST = 100;

/** @typedef {import("./inbox.js").Frame} Frame */
/** @typedef {Pick<WebSocket, "send" | "close" | "addEventListener">} Line as much of a socket as a client uses */

/**
 * @typedef {object} Options
 * @property {string} id of this tab
 * @property {string} name of the feed: the same in all tabs that show it, to whomever
 * @property {() => Mine | null} mine what this tab holds; null while it is not connected
 * @property {() => void} changed another role: whatever socket there is is not to be used any more
 * @property {() => void} wake the leader can be reached again: connect now
 * @property {(user: string | null) => void} signedIn in another tab; null: this user has signed out there
 * @property {{now(): number, setTimeout(fn: () => void, ms: number): any, clearTimeout(timer: any): void}} clock
 * @property {typeof BroadcastChannel | false} [Channel] without one every tab is alone
 */

/** @typedef {"solo" | "leader" | "follower"} Role */

/**
 * @typedef {object} Mine
 * @property {Frame} welcome the hub's last
 * @property {Frame} subscribed the hub's last
 * @property {import("./inbox.js").Inbox} inbox
 */

export class Tabs {
  /** @type {Role} */
  role = "solo";
  #is;
  /** @type {string | null | undefined} */
  #user;
  /** Between all tabs of the feed, whoever is signed in. @type {BroadcastChannel | null | undefined} */
  #channel;
  /** @type {AbortController | null} */
  #stopped = null;
  /** @type {((value?: any) => void) | null} */
  #release = null;
  /** @type {any} */
  #timer;
  #heardAt = 0;
  #tickedAt = 0;
  /** The socket that this tab believes to have, as a follower. @type {(EventTarget & {send(text: string): void, close(): void}) | null} */
  #relayed = null;
  /** The real one, as a leader. @type {WebSocket | null} */
  #socket = null;
  /** The latest events, for tabs that were away. They lead to what this tab holds. @type {Frame[]} */
  #latest = [];

  /** @param {Options} is */
  constructor(is) {
    this.#is = is;
  }

  /**
   * Join the other tabs of this user. Called again after `stop`, come back.
   * @param {string | null} user null: until it is known who that is, this tab is alone
   */
  start(user) {
    const { Channel, name, signedIn } = this.#is;
    if (this.#stopped || !Channel || user === null) return;
    this.#stopped = new AbortController();
    this.#user = user;
    this.#channel = new Channel(name);
    this.#channel.onmessage = ({ data }) => {
      if (data.say === "user") signedIn(data.user);
      else if (data.of === this.#user && (data.to ?? this.#is.id) === this.#is.id) this.#hear(data);
    };
    if (!navigator.locks) return;
    this.role = "follower";
    this.#queue({ signal: this.#stopped.signal });
    this.#tick();
  }

  /** Leave the others; a leader's place is free. */
  stop() {
    this.#is.clock.clearTimeout(this.#timer);
    this.#stopped?.abort();
    this.#stopped = null;
    this.#release?.();
    this.#channel?.close();
    this.#release = this.#channel = this.#relayed = this.#socket = null;
  }

  /** Tell all tabs who is signed in; null: nobody any more. */
  announce(/** @type {string | null} */ user) {
    this.#post({ say: "user", user });
  }

  /**
   * A socket to the hub, or to the tab that has one.
   * @param {() => WebSocket} connect
   * @returns {Line}
   */
  open(connect) {
    if (this.role === "follower") {
      const send = (/** @type {string} */ text) => this.#post({ say: "ask", frame: JSON.parse(text) });
      this.#relayed = Object.assign(new EventTarget(), { send, close() {} });
      queueMicrotask(() => this.#relay("open"));
      return this.#relayed;
    }
    const socket = connect();
    this.#socket = socket;
    socket.addEventListener("close", ({ code }) => socket === this.#socket && this.#post({ say: "down", code }));
    return socket;
  }

  /** Whether a frame of the hub answers another tab, which has it now. */
  passOn(/** @type {Frame} */ frame) {
    const [to, ref] = String(frame.ref).split(" ");
    if (ref) this.#post({ say: "frame", to, frame: { ...frame, ref: +ref } });
    return ref;
  }

  /** A frame of the hub has been taken in here: the others need it too. */
  tookIn(/** @type {Frame} */ frame) {
    // Followers as well: whoever leads next can tell those that were away.
    if (frame.prev) this.#latest = [...this.#latest.slice(1 - LATEST), frame];
    if (frame.mode === "snapshot") this.#latest = [];
    // Whoever holds something else than the leader starts again from there.
    if (this.role === "leader") this.#post(frame.prev ? { say: "frame", frame } : { say: "up" });
  }

  /** As much of a WebSocket as a client uses: this happened to it. @param {string} type @param {object} [more] */
  #relay(type, more) {
    this.#relayed?.dispatchEvent(Object.assign(new Event(type), more));
  }

  // ---- between tabs ---------------------------------------------------------------------------------

  #post(/** @type {Frame} */ message) {
    this.#channel?.postMessage({ ...message, of: this.#user, from: this.#is.id });
  }

  #hear(/** @type {Frame} */ { say, from, frame, code }) {
    if (this.role === "leader") {
      if (say === "ask") this.#serve(from, frame);
      if (say === "take" && document.hidden) this.#post({ say: "yours", to: from });
      return;
    }
    this.#heardAt = this.#is.clock.now();
    if (say === "frame") this.#relay("message", { data: JSON.stringify(frame) });
    if (say === "down") this.#relay("close", { code });
    if (say === "up") {
      this.#relay("close", { code: RESTART });
      this.#is.wake();
    }
    if (say === "offer" && !document.hidden) this.#post({ say: "take" });
    if (say === "yours") this.#queue({ steal: true });
  }

  /** Plays the hub to another tab. */
  #serve(/** @type {string} */ to, /** @type {Frame} */ frame) {
    const mine = this.#is.mine();
    const reply = (/** @type {Frame} */ answer) => this.#post({ say: "frame", to, frame: { ...answer, ref: frame.ref } });
    if (!mine) return; // it will hear `up`
    if (frame.type === "auth") reply(mine.welcome);
    else if (frame.type === "ping") reply({ type: "pong" });
    else if (frame.type === "subscribe") {
      // As a hub would answer to one that holds the feed up to its cursor.
      const { subscribed, inbox } = mine;
      let found = false;
      const missed = this.#latest.filter(({ prev }) => (found ||= prev === frame.cursor));
      const mode = found ? "replay" : frame.cursor === inbox.cursor ? "live" : "snapshot";
      reply({ ...subscribed, ...inbox, mode, page: inbox, missed: missed.length });
      for (const event of missed) this.#post({ say: "frame", to, frame: event });
    } else this.#socket?.send(JSON.stringify({ ...frame, ref: `${to} ${frame.ref}` }));
  }

  // ---- who leads ------------------------------------------------------------------------------------

  #queue(/** @type {LockOptions} */ how) {
    navigator.locks.request(`${this.#is.name}:${this.#user}`, how, () => this.#lead()).catch(({ name }) => {
      // Where a page may keep nothing, each tab leads itself.
      if (name === "SecurityError") this.#lead();
      else this.#yield(how);
    });
  }

  #lead() {
    if (!this.#stopped) return undefined;
    this.#become("leader");
    return new Promise((resolve) => (this.#release = resolve));
  }

  /** The lock was taken from this tab, or it has left. */
  #yield(/** @type {LockOptions} */ how) {
    if (this.role !== "leader" || !this.#stopped) return;
    this.#heardAt = this.#is.clock.now();
    this.#become("follower");
    // Who has stolen it is still in the queue.
    if (!how.steal) this.#queue(how);
  }

  #become(/** @type {Role} */ role) {
    this.role = role;
    this.#relayed = this.#socket = null;
    this.#is.changed();
  }

  #tick() {
    const { clock } = this.#is;
    const now = clock.now();
    // A tab that slept has heard nothing for that reason.
    if (now - this.#tickedAt > 2 * BEAT_MS) {
      this.#heardAt = now;
      this.#is.wake();
    }
    this.#tickedAt = now;
    if (this.role === "leader") this.#post({ say: "beat" });
    else if (!document.hidden && now - this.#heardAt > DEAD_MS) {
      this.#heardAt = now;
      this.#queue({ steal: true });
    }
    this.#timer = clock.setTimeout(() => this.#tick(), BEAT_MS);
  }

  /** The page was hidden, or is seen again: a leader that is hidden offers its place. */
  looked() {
    if (document.hidden && this.role === "leader") this.#post({ say: "offer" });
  }
}
