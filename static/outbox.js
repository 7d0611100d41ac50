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

/** Of these the later one is enough. @type {Record<string, string>} */
const OPPOSITE = { archive: "unarchive", unarchive: "archive" };

/** @typedef {import("./inbox.js").Entry} Entry */
/** @typedef {import("./inbox.js").Frame} Frame */

/**
 * What one call asked for. Several may share a job, and are answered together.
 * @typedef {object} Ask
 * @property {string[]} [ids]
 * @property {string[]} [reached] of a mark-all: the held entries that it changes
 * @property {boolean} [all] of a mark-all: it changes everything older than what is held, too
 * @property {boolean} [older] a page to be taken into the inbox
 * @property {(answer: any) => void} [resolve] tells the caller
 * @property {(error: unknown) => void} [reject]
 * @property {AbortSignal} [signal] may take the call back: it shares its job with no other
 */

/**
 * One frame to be answered.
 * @typedef {object} Job
 * @property {string} op the same for every attempt
 * @property {Frame} frame without `ids`, `op`, `ref` and `channel`
 * @property {Ask[]} asks
 * @property {boolean} sent perhaps on its way or done: it must not change any more
 * @property {number} at when it was asked for
 * @property {string | null} [from] where the inbox stood when it was sent
 * @property {string} [cursor] of its event, once it is stored
 */

/** The jobs of one client. */
export class Outbox {
  /** Another one: there is something else to show or to keep. */
  version = {};
  /** Those without an answer. @type {Job[]} */
  jobs = [];
  /** Stored, but the event is not here yet: they go on to show, or the list would flicker. @type {Job[]} */
  #landing = [];

  /** @returns {Job[]} those that change something */
  get marks() {
    return this.jobs.filter(({ frame }) => frame.type !== "list");
  }

  /**
   * Jobs of an earlier page or of another tab: their frames, and when they were asked for. They may have been sent.
   * @param {(Frame & {op: string, at: number})[]} kept
   * @param {number} now
   */
  load(kept, now) {
    const older = kept
      .filter((job) => job.at > now - KEPT_MS && this.jobs.every(({ op }) => op !== job.op))
      .map(({ op, ids, at, ...frame }) => ({ op, frame, asks: [{ ids }], sent: true, at }));
    this.#change([...older, ...this.jobs].slice(-WAITING));
  }

  /**
   * @param {string} op
   * @param {Frame} frame a `list`, or a mark without ids
   * @param {Ask} ask
   * @param {number} now
   * @param {import("./inbox.js").Inbox} inbox
   * @throws {RangeError} too many ids, too many waiting
   */
  add(op, frame, ask, now, inbox) {
    const { ids = [] } = ask;
    if (ids.length > IDS) throw new RangeError(`${ids.length} ids, at most ${IDS}`);
    if (this.jobs.length >= WAITING) throw new RangeError(`${WAITING} calls are waiting`);
    const spared = arrivedAfter(inbox, frame.upto);
    if (spared) {
      const reached = (/** @type {Entry} */ { id, topic }) => !spared.has(id) && topic === (frame.topic ?? topic);
      ask.reached = this.show(inbox).entries.filter(reached).map(({ id }) => id);
      ask.all = !frame.topic;
    }
    const last = this.jobs.at(-1);
    if (shares(ask) && last && joins(last, frame.type, ids)) {
      last.frame = frame;
      last.asks.push(ask);
    } else this.jobs.push({ op, frame, asks: [ask], sent: false, at: now });
    this.#change(this.jobs);
  }

  /** It was answered. @param {Job} job @param {Frame} answer @param {import("./inbox.js").Inbox} inbox */
  done(job, { replayed, changed, cursor }, inbox) {
    // Its event will not come if it was here before the `ack`, or long ago, or if a snapshot came between.
    const passed = replayed || arrivedAfter(inbox, cursor) || (job.from && !arrivedAfter(inbox, job.from));
    if (changed?.[0] && !passed) this.#landing.push({ ...job, cursor });
    this.#change(this.jobs.filter((other) => other !== job));
  }

  /** This was applied: an event, or a snapshot, which knows of everything. */
  landed(/** @type {Frame} */ { mode, prev, cursor }) {
    if (!this.#landing[0]) return;
    this.#landing = this.#landing.filter((job) => mode !== "snapshot" && job.cursor !== (prev && cursor));
    this.#change(this.jobs);
  }

  /**
   * The hub refused a job of several calls, perhaps for one of them: each goes again by itself.
   * @param {Job} job
   * @param {() => string} op
   */
  split(job, op) {
    const parts = job.asks.map((ask) => ({ ...job, op: op(), asks: [ask], sent: false }));
    this.#change(this.jobs.flatMap((other) => (other === job ? parts : [other])));
  }

  /** Take the call back that has this `reject`, unless it was sent. @param {Ask["reject"]} reject */
  withdraw(reject) {
    this.#change(this.jobs.filter(({ sent, asks }) => sent || asks[0].reject !== reject));
  }

  /** Forget all but these. Where there are no others nothing has changed. @param {Job[]} kept */
  keep(kept) {
    if (kept.length < this.jobs.length) this.#change(kept);
  }

  /**
   * What to show of an inbox.
   *
   * The counts are the hub's own plus what the unanswered marks change of the entries held: worked out anew from
   * the hub's counts each time, so that nothing adds up to an error, and exactly the hub's when nothing waits.
   * @param {import("./inbox.js").Inbox} inbox
   * @returns {{entries: Entry[], counts: {unseen: number, unread: number, total: number}}}
   */
  show({ entries, counts }) {
    const marks = [...this.#landing, ...this.marks];
    if (!marks[0]) return { entries: entries.filter(active), counts };
    const through = (/** @type {Entry} */ entry, /** @type {Job} */ job) =>
      reaches(job, entry) ? marked(entry, job) : entry;
    const shown = entries.map((entry) => marks.reduce(through, entry));
    const count = (/** @type {"unseen" | "unread" | "total"} */ name) => {
      // Of what is older than the entries held, a mark-all leaves as much as of an entry that is new.
      const left = marks.every((job) => !job.asks[0].all || tally([marked(/** @type {any} */ ({}), job)], name));
      return (left ? Math.max(0, counts[name] - tally(entries, name)) : 0) + tally(shown, name);
    };
    return {
      entries: shown.filter(active),
      counts: { unseen: count("unseen"), unread: count("unread"), total: count("total") },
    };
  }

  #change(/** @type {Job[]} */ jobs) {
    this.jobs = jobs;
    this.version = {};
  }
}

/**
 * The frame of a job, without `ref` and `channel`: always the same once it may have been sent.
 * @param {Job} job
 * @returns {Frame}
 */
export function frameOf(job) {
  const ids = job.asks[0].ids && { ids: idsOf(job) };
  return { ...job.frame, ...ids, op: job.op };
}

/** Whether one frame can do for a mark that was not sent and the next one: the same, or its undoing. */
function joins(/** @type {Job} */ job, /** @type {string} */ type, /** @type {string[]} */ ids) {
  if (job.sent || !shares(job.asks[0])) return false;
  const held = idsOf(job);
  return job.frame.type === type
    ? held.length + ids.length <= IDS
    : OPPOSITE[job.frame.type] === type && held.every((id) => ids.includes(id));
}

function shares(/** @type {Ask} */ { ids, signal }) {
  return ids && !signal;
}

function idsOf(/** @type {Job} */ { asks }) {
  return [...new Set(asks.flatMap((/** @type {Frame} */ { ids }) => ids))];
}

function reaches(/** @type {Job} */ { asks }, /** @type {Entry} */ { id }) {
  return asks.some((/** @type {Frame} */ { ids, reached = [] }) => (ids ?? reached).includes(id));
}

function marked(/** @type {Entry} */ entry, /** @type {Job} */ { frame, at }) {
  return mark(entry, [frame.type], new Date(at).toISOString());
}

/** How many of these a count has. */
function tally(/** @type {Entry[]} */ entries, /** @type {string} */ name) {
  const time = /** @type {Record<string, string>} */ ({ unseen: "seen_at", unread: "read_at" })[name];
  return entries.filter((/** @type {Entry} */ entry) => active(entry) && !entry[time]).length;
}
