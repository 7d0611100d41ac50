/**
 * What a client asked of the hub and has no answer to yet, in the order asked. Marks show at once, are kept until
 * the hub has stored or refused them, and fewer frames are made of them where that changes nothing.
 *
 * Pure: no storage, no clock. Times are milliseconds since 1970.
 * @module
 */

import { active, arrivedAfter, mark } from "./inbox.js";

/** Jobs that may wait; the next one is refused. */
export const WAITING = 500;
/** A mark that could not be sent for so long is forgotten, ms. */
export const KEPT_MS = 7 * 24 * 3600 * 1000;
/** Ids in one frame. */
export const IDS = 500;

/** Of these the last one counts, so that their order must be kept. */
const PLACES = ["archive", "unarchive", "dismiss"];

/**
 * What one call asked for. Several may share a job, and are answered together.
 * @typedef {object} Ask
 * @property {string[]} [ids]
 * @property {string[]} [reached] of a mark-all: the held entries that it changes
 * @property {boolean} [all] of a mark-all: it changes everything older than what is held, too
 */

/**
 * One frame to be answered.
 * @typedef {object} Job
 * @property {string} op the same for every attempt
 * @property {object} frame without `ids`, `op`, `ref` and `channel`
 * @property {Ask[]} asks
 * @property {boolean} sent perhaps on its way or done: it must not change any more
 * @property {number} at when it was asked for
 */

/** The jobs of one client. */
export class Outbox {
  /** Another one: there is something else to show or to keep. */
  version = {};
  /** @type {Job[]} */
  #jobs = [];
  /** Stored, but the event is not here yet: they go on to show, or the list would flicker. @type {Job[]} */
  #landing = [];
  #at = 0;

  /** Those without an answer. @returns {Job[]} */
  get jobs() {
    return this.#jobs;
  }

  /** @returns {Job[]} those that change something */
  get marks() {
    return this.#jobs.filter(({ frame }) => frame.type !== "list");
  }

  /**
   * Jobs of an earlier page or of another tab; their own frames as `frameOf` told. They may have been sent.
   * @param {{frame: object, at: number}[]} kept
   * @param {number} now
   */
  load(kept, now) {
    const known = this.#jobs.map(({ op }) => op);
    const jobs = kept
      .filter(({ frame, at }) => !known.includes(frame.op) && at > now - KEPT_MS)
      .map(({ frame: { op, ids, ...frame }, at }) => ({ op, frame, asks: [{ ids }], sent: true, at }));
    this.#change([...this.#jobs, ...jobs].sort((one, other) => one.at - other.at).slice(-WAITING));
  }

  /**
   * @param {string} op
   * @param {object} frame a `list`, or a mark without ids
   * @param {Ask} ask
   * @param {number} now
   * @param {import("./inbox.js").Inbox} inbox
   * @throws {RangeError} too many ids, too many waiting
   */
  add(op, frame, ask, now, inbox) {
    const { ids = [] } = ask;
    if (ids.length > IDS) throw new RangeError(`${ids.length} ids, at most ${IDS}`);
    if (this.#jobs.length >= WAITING) throw new RangeError(`${WAITING} requests are waiting, no more may`);
    this.#at = Math.max(now, this.#at + 1);
    if (frame.upto) this.#reach(frame, ask, inbox);
    const asks = [...this.#undone(frame.type, ids), ask];
    const other = this.#fitting(frame.type, ids);
    if (other) other.asks.push(...asks);
    else this.#jobs.push({ op, frame, asks, sent: false, at: this.#at });
    this.#change(this.#jobs);
  }

  /** It was answered. @param {Job} job @param {string} [cursor] of its event, if that is still to come */
  done(job, cursor) {
    if (cursor) this.#landing.push({ ...job, cursor });
    this.#change(this.#jobs.filter((other) => other !== job));
  }

  /** The event at this cursor was applied; without one: a snapshot, which knows of everything. */
  landed(cursor) {
    if (this.#landing.length === 0) return;
    this.#landing = this.#landing.filter((job) => cursor && job.cursor !== cursor);
    this.#change(this.#jobs);
  }

  /**
   * The hub refused a job of several calls, perhaps for one of them: each goes again by itself.
   * @param {Job} job
   * @param {() => string} op
   */
  split(job, op) {
    const parts = job.asks.map((ask) => ({ ...job, op: op(), asks: [ask], sent: false }));
    this.#change(this.#jobs.flatMap((other) => (other === job ? parts : [other])));
  }

  /** Take a call back, unless it was sent. @param {Ask} ask */
  withdraw(ask) {
    for (const job of this.#jobs) if (!job.sent) job.asks = job.asks.filter((other) => other !== ask);
    this.#change(this.#jobs.filter(({ asks }) => asks.length > 0));
  }

  /** Nobody waits for a page any more. */
  end() {
    this.#change(this.marks);
  }

  /**
   * What to show of an inbox.
   *
   * The counts are the hub's own plus what the unanswered marks change of the entries held: worked out anew from
   * the hub's counts each time, so that nothing adds up to an error, and exactly the hub's when nothing waits.
   * @param {import("./inbox.js").Inbox} inbox
   * @returns {{entries: object[], counts: {unseen: number, unread: number, total: number}}}
   */
  show({ entries, counts }) {
    const marks = [...this.#landing, ...this.marks].map(({ frame: { type }, asks, at }) => ({
      ids: new Set(asks.flatMap(({ ids, reached = [] }) => ids ?? reached)),
      mark: (entry) => mark(entry, [type], new Date(at).toISOString()),
      all: asks[0].all,
    }));
    const marked = (entry, { ids, mark }) => (ids.has(entry.id) ? mark(entry) : entry);
    const shown = entries.map((entry) => marks.reduce(marked, entry));
    const [before, after] = [tally(entries), tally(shown)];
    // Of what is older than the entries held, a mark-all leaves as much as of an entry that is new.
    const left = marks.filter(({ all }) => all).map(({ mark }) => tally([mark({})]));
    const count = (name) => {
      const older = left.every((one) => one[name]) ? Math.max(0, counts[name] - before[name]) : 0;
      return older + after[name];
    };
    return {
      entries: shown.filter(active),
      counts: marks.length > 0 ? { unseen: count("unseen"), unread: count("unread"), total: count("total") } : counts,
    };
  }

  #change(jobs) {
    this.#jobs = jobs;
    this.version = {};
  }

  /** The calls that this one undoes before they were sent. They need no frame, and are answered with this one. */
  #undone(type, ids) {
    const opposite = { archive: "unarchive", unarchive: "archive" }[type];
    const undone = [];
    for (const { frame, asks } of this.#open()) {
      if (frame.type !== opposite) continue;
      for (const ask of asks) {
        ask.ids = ask.ids.filter((id) => !ids.includes(id));
        if (ask.ids.length === 0) undone.push(ask);
      }
    }
    for (const ask of undone) {
      this.withdraw(ask);
      ask.ids = ids;
    }
    return undone;
  }

  /** A job that these ids can join. */
  #fitting(type, ids) {
    for (const job of this.#open()) {
      if (job.frame.type === type) return idsOf(job).length + ids.length > IDS ? undefined : job;
      if (PLACES.includes(type) && PLACES.includes(job.frame.type)) return undefined;
    }
    return undefined;
  }

  /** Marks by id that may still change, the latest first. Nothing passes a list or a mark-all: they tell the order. */
  *#open() {
    for (const job of this.#jobs.toReversed()) {
      if (job.sent || !job.asks[0].ids) return;
      yield job;
    }
  }

  #reach({ upto, topic }, ask, inbox) {
    const spared = arrivedAfter(inbox, upto);
    if (spared === null) return;
    const reached = (entry) => !spared.has(entry.id) && (!topic || entry.topic === topic);
    const { entries } = this.show(inbox);
    ask.reached = entries.filter(reached).map(({ id }) => id);
    ask.all = !topic;
  }
}

/**
 * The frame of a job, without `ref` and `channel`: always the same once it may have been sent.
 * @param {Job} job
 * @returns {object}
 */
export function frameOf(job) {
  const ids = job.asks[0].ids && { ids: idsOf(job) };
  return { ...job.frame, ...ids, op: job.op };
}

function idsOf({ asks }) {
  return [...new Set(asks.flatMap(({ ids }) => ids))];
}

function tally(entries) {
  const held = entries.filter(active);
  return {
    unseen: held.filter(({ seen_at }) => !seen_at).length,
    unread: held.filter(({ read_at }) => !read_at).length,
    total: held.length,
  };
}
