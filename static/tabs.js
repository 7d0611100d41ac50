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
/** Events that a leader keeps for tabs that were away. */
const LATEST = 100;

/**
 * @typedef {object} Options
 * @property {string} name of the feed: the same in all tabs that show it, to whomever
 * @property {() => Mine | null} mine what this tab holds; null while it is not connected
 * @property {(role: Role) => void} changed another role: whatever socket there is is not to be used any more
 * @property {() => void} wake the leader can be reached again: connect now
 * @property {(user: string | null) => void} signedIn in another tab; null: this user has signed out there
 * @property {{now(): number, setTimeout(fn: () => void, ms: number): any, clearTimeout(timer: any): void}} clock
 * @property {LockManager} [locks]
 * @property {typeof BroadcastChannel} [Channel] without one every tab is alone
 */

/** @typedef {"solo" | "leader" | "follower"} Role */

/**
 * @typedef {object} Mine
 * @property {object} welcome the hub's last
 * @property {object} subscribed the hub's last; its channel and `channel_id`
 * @property {import("./inbox.js").Inbox} inbox
 */

export class Tabs {
  /** @type {Role} */
  role = "solo";
  #is;
  #name;
  #id = Math.random().toString(36).slice(2, 12);
  #channel = null;
  /** Between all tabs, whoever is signed in. */
  #people = null;
  #stopped = null;
  #release = null;
  #timer;
  #heardAt = 0;
  #tickedAt = 0;
  /** The socket that this tab believes to have, as a follower. */
  #relayed = null;
  /** The real one, as a leader. */
  #socket = null;
  /** Who asked what: the tab and its own `ref`, by the `ref` on the wire. */
  #asked = new Map();
  #asks = 0;
  /** The latest events, for tabs that were away. They lead to what the leader holds. */
  #latest = [];

  /** @param {Options} is */
  constructor(is) {
    this.#is = { locks: navigator.locks, ...is };
  }

  /** Join the other tabs of this user. Called again after `stop`, come back. */
  start(user) {
    const { locks, Channel, name, signedIn } = this.#is;
    if (this.#stopped || !Channel) return;
    this.#stopped = new AbortController();
    this.#people = new Channel(name);
    this.#people.onmessage = ({ data }) => signedIn(data);
    this.#name = `${name}:${user}`;
    this.#channel = new Channel(this.#name);
    this.#channel.onmessage = ({ data }) => (data.to ?? this.#id) === this.#id && this.#hear(data);
    if (!locks) return;
    this.role = "follower";
    this.#queue({ signal: this.#stopped.signal });
    const { signal } = this.#stopped;
    document.addEventListener("visibilitychange", () => this.#looked(), { signal });
    this.#tickedAt = this.#heardAt = this.#is.clock.now();
    this.#tick();
  }

  /** Leave the others; a leader's place is free. */
  stop() {
    this.#is.clock.clearTimeout(this.#timer);
    this.#stopped?.abort();
    this.#stopped = null;
    this.#release?.();
    this.#release = null;
    this.#channel?.close();
    this.#people?.close();
    this.#channel = this.#people = null;
    this.#relayed = this.#socket = null;
  }

  /** Tell all tabs who is signed in; null: nobody any more. */
  announce(user) {
    this.#people?.postMessage(user);
  }

  /**
   * A socket to the hub, or to the tab that has one.
   * @param {() => WebSocket} connect
   */
  open(connect) {
    if (this.role === "follower") return (this.#relayed = new Relayed((frame) => this.#post({ say: "ask", frame })));
    const socket = connect();
    this.#socket = socket;
    socket.addEventListener("close", ({ code }) => socket === this.#socket && this.#post({ say: "down", code }));
    return socket;
  }

  /** Whether a frame of the hub answers another tab, which has it now. */
  passOn(frame) {
    const asker = this.#asked.get(frame.ref);
    if (!asker) return false;
    this.#asked.delete(frame.ref);
    this.#post({ say: "frame", to: asker.to, frame: { ...frame, ref: asker.ref } });
    return true;
  }

  /** A frame of the hub has been taken in here: the others need it too. */
  tookIn(frame) {
    if (this.role !== "leader") return;
    if (frame.prev) {
      this.#latest = [...this.#latest.slice(1 - LATEST), frame];
      this.#post({ say: "frame", frame });
    } else if (frame.type === "subscribed") {
      if (frame.mode === "snapshot") this.#latest = [];
      // Whoever holds something else than the leader starts again from there.
      this.#post({ say: "up" });
    }
  }


  // ---- between tabs ---------------------------------------------------------------------------------

  #post(message) {
    this.#channel?.postMessage({ ...message, from: this.#id });
  }

  #hear({ say, from, frame, code }) {
    if (this.role === "leader") {
      if (say === "ask") this.#serve(from, frame);
      else if (say === "take" && document.hidden) this.#post({ say: "yours", to: from });
      return undefined;
    }
    if (say !== "ask" && say !== "take") this.#heardAt = this.#is.clock.now();
    switch (say) {
      case "frame":
        return this.#relayed?.take(frame);
      case "down":
        return this.#relayed?.end(code);
      case "up":
        this.#relayed?.end(RESTART);
        return this.#is.wake();
      case "offer":
        return document.hidden || this.#post({ say: "take" });
      case "yours":
        return this.#queue({ steal: true });
    }
    return undefined;
  }

  /** Plays the hub to another tab. */
  #serve(to, frame) {
    const mine = this.#is.mine();
    const reply = (answer) => this.#post({ say: "frame", to, frame: { ref: frame.ref, ...answer } });
    if (!mine) return undefined; // it will hear `up`
    switch (frame.type) {
      case "auth":
        return reply(mine.welcome);
      case "subscribe":
        return this.#catchUp(to, mine, frame.cursor, reply);
      case "ping":
        return reply({ type: "pong" });
      case "pong":
        return undefined;
    }
    const ref = `${this.#id}-${++this.#asks}`;
    this.#asked.set(ref, { to, ref: frame.ref });
    return this.#socket.send(JSON.stringify({ ...frame, ref }));
  }

  /** What a hub would answer to a tab that holds the feed up to a cursor. */
  #catchUp(to, { subscribed, inbox }, cursor, reply) {
    const { channel, channel_id } = subscribed;
    const { counts, entries, after } = inbox;
    const head = { type: "subscribed", channel, channel_id, cursor: inbox.cursor, counts };
    if (cursor === inbox.cursor) return reply({ ...head, mode: "live" });
    const place = this.#latest.findIndex(({ prev }) => prev === cursor);
    if (place < 0) return reply({ ...head, mode: "snapshot", entries, page: { after } });
    const missed = this.#latest.slice(place);
    reply({ ...head, mode: "replay", missed: missed.length });
    for (const frame of missed) this.#post({ say: "frame", to, frame });
    return undefined;
  }

  // ---- who leads ------------------------------------------------------------------------------------

  #queue(how) {
    this.#is.locks.request(this.#name, how, () => this.#lead()).catch(() => this.#yield());
  }

  #lead() {
    if (!this.#stopped) return undefined;
    this.#become("leader");
    return new Promise((resolve) => {
      this.#release = resolve;
    });
  }

  /** The lock was taken from this tab, or it has left. */
  #yield() {
    if (!this.#stopped || this.role !== "leader") return;
    this.#release = null;
    this.#heardAt = this.#is.clock.now();
    this.#become("follower");
    this.#queue({ signal: this.#stopped.signal });
  }

  #become(role) {
    this.role = role;
    this.#relayed = this.#socket = null;
    this.#asked.clear();
    this.#latest = [];
    this.#is.changed(role);
  }

  #tick() {
    const { clock } = this.#is;
    const now = clock.now();
    // A tab that slept has heard nothing for that reason.
    if (now - this.#tickedAt > 2 * BEAT_MS) this.#heardAt = now;
    this.#tickedAt = now;
    if (this.role === "leader") this.#post({ say: "beat" });
    else if (!document.hidden && now - this.#heardAt > DEAD_MS) {
      this.#heardAt = now;
      this.#queue({ steal: true });
    }
    this.#timer = clock.setTimeout(() => this.#tick(), BEAT_MS);
  }

  #looked() {
    if (document.hidden && this.role === "leader") this.#post({ say: "offer" });
    if (!document.hidden) this.#heardAt = this.#is.clock.now();
  }
}

/** As much of a WebSocket as a client uses; at its other end is a tab. */
class Relayed extends EventTarget {
  #ask;

  /** @param {(frame: object) => void} ask */
  constructor(ask) {
    super();
    this.#ask = ask;
    queueMicrotask(() => this.dispatchEvent(new Event("open")));
  }

  send(text) {
    this.#ask(JSON.parse(text));
  }

  take(frame) {
    this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(frame) }));
  }

  end(code) {
    this.dispatchEvent(new CloseEvent("close", { code }));
  }

  close() {}
}
