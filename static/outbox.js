/**
 * What a client asked of the hub and has no answer to yet, in the order asked. Marks show at once, are kept until
 * the hub has stored or refused them, and fewer frames are made of them where that changes nothing.
 *
 * Pure: no storage, no clock. Times are milliseconds since 1970.
 * @module
 */

import { active, arrivedAfter, mark } from "./inbox.js";

/** Calls that may wait; the next one is refused. */
export const WAITING = 500;
/** A mark that could not be sent for so long is forgotten, ms. */
export const KEPT_MS = 7 * 24 * 3600 * 1000;
/** Ids in one frame. */
export const IDS = 500;

/** Of these the last one counts, so that their order must be kept. */
const PLACES = new Set(["archive", "unarchive", "dismiss"]);

/**
 * What one call asked for: several may share a job, and are answered together.
 * @typedef {{ids?: string[]}} Ask
 */

/**
 * One frame to be answered.
 * @typedef {object} Job
 * @property {string} [op] of a mark: the same for every attempt
 * @property {object} frame without ids, `op`, `ref` and channel
 * @property {Ask[]} asks
 * @property {boolean} sent perhaps on its way or done: it must not change any more
 * @property {boolean} alone never joined with others
 * @property {number} at
 * @property {Set<string>} touched the held entries that it changes
 * @property {boolean} all it reaches everything older than what is held
 */

/** The jobs of one client. */
export class Outbox {
  /** @type {Job[]} */
  #jobs = [];
  /** Stored, but its event is not here yet: it goes on to show, or the list would flicker. @type {Job[]} */
  #landing = [];
  #at = 0;
  /** Another one: there is something else to show or to keep. */
  version = 0;

  /** The next one to send. @returns {Job | undefined} */
  get first() {
    return this.#jobs[0];
  }

  /** Marks without an answer. @returns {Job[]} */
  get marks() {
    return this.#jobs.filter((job) => job.op);
  }

  /** What is to be kept in a storage: each mark under its `op`. @returns {[string, object][]} */
  get records() {
    return this.marks.map(({ op, at, ...job }) => [op, { ...frameOf(job), at }]);
  }

  /**
   * Marks that were kept, by an earlier page or another tab. They may have been sent.
   * @param {[string, object][]} records
   * @param {number} now
   */
  load(records, now) {
    const known = new Set(this.marks.map(({ op }) => op));
    const kept = records
      .filter(([op, { at }]) => !known.has(op) && at > now - KEPT_MS)
      .map(([op, { at, ids, ...frame }]) => newJob(frame, op, ids ? { ids } : {}, at, { sent: true, touched: ids }));
    this.#jobs = [...this.#jobs, ...kept].sort((one, other) => one.at - other.at).slice(-WAITING);
    this.version++;
  }

  /**
   * @param {object} frame a `list`, or a mark without ids
   * @param {Ask} ask
   * @param {string} op for a mark
   * @param {number} now
   * @param {import("./inbox.js").Inbox} inbox
   * @returns {Ask[]} earlier calls that need no frame any more, since this one undoes what they asked
   * @throws {RangeError} too many ids, too many waiting
   */
  add(frame, ask, op, now, inbox) {
    const ids = ask.ids ?? [];
    if (ids.length > IDS) throw new RangeError(`${ids.length} ids, at most ${IDS}`);
    if (this.#jobs.length >= WAITING) throw new RangeError(`${WAITING} requests are waiting, no more may`);
    this.version++;
    this.#at = Math.max(now, this.#at + 1);
    const undone = this.#undo(frame.type, ids);
    const other = this.#fitting(frame.type, ids);
    if (other) {
      other.asks.push(ask);
      for (const id of ids) other.touched.add(id);
    } else {
      const reach = frame.upto ? this.#reach(frame, inbox) : { touched: ids };
      this.#jobs.push(newJob(frame, frame.type === "list" ? undefined : op, ask, this.#at, reach));
    }
    return undone;
  }

  /** It was answered. `ack`: that of a mark, whose event is still to come. */
  done(job, ack = null) {
    this.version++;
    this.#jobs = this.#jobs.filter((other) => other !== job);
    if (ack) this.#landing.push({ ...job, cursor: ack.cursor });
  }

  /** The event at this cursor was applied; without one: a snapshot, which knows of everything. */
  landed(cursor) {
    if (this.#landing.length > 0) this.version++;
    this.#landing = this.#landing.filter((job) => cursor !== undefined && job.cursor !== cursor);
  }

  /**
   * The hub refused a job of several calls: each call goes again by itself.
   * @returns {boolean} false: it was of one call alone
   */
  split(job, op) {
    if (job.asks.length < 2) return false;
    const parts = job.asks.map((ask) => newJob(job.frame, op(), ask, job.at, { touched: ask.ids, alone: true }));
    this.version++;
    this.#jobs.splice(this.#jobs.indexOf(job), 1, ...parts);
    return true;
  }

  /** Take a call back. @returns {boolean} false: it is not there, or perhaps sent */
  withdraw(ask) {
    const job = this.#jobs.find(({ asks, sent }) => !sent && asks.includes(ask));
    if (!job) return false;
    this.version++;
    job.asks = job.asks.filter((other) => other !== ask);
    if (job.touched.size > 0 && ask.ids) job.touched = new Set(idsOf(job));
    if (job.asks.length === 0) this.done(job);
    return true;
  }

  /** Nobody waits for a page any more. */
  end() {
    this.#jobs = this.marks;
  }

  clear() {
    this.version++;
    this.#jobs = this.#landing = [];
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
    const jobs = [...this.#landing, ...this.marks];
    if (jobs.length === 0) return { entries: entries.filter(active), counts };
    const marked = entries.map((entry) =>
      jobs.reduce((entry, { touched, frame, at }) => (touched.has(entry.id) ? mark(entry, [frame.type], iso(at)) : entry), entry),
    );
    const [before, after] = [tally(entries), tally(marked)];
    const reached = new Set(jobs.filter(({ all }) => all).flatMap(({ frame }) => EMPTIES[frame.type]));
    const shown = Object.entries(counts).map(([name, count]) => {
      const older = reached.has(name) ? 0 : Math.max(0, count - before[name]);
      return [name, older + after[name]];
    });
    return { entries: marked.filter(active), counts: Object.fromEntries(shown) };
  }

  /** An archive that was not sent yet and its undoing: only the later one needs to be sent. */
  #undo(type, ids) {
    const opposite = { archive: "unarchive", unarchive: "archive" }[type];
    const undone = [];
    for (const job of this.#open()) {
      if (job.frame.type !== opposite) continue;
      for (const ask of job.asks) {
        ask.ids = ask.ids.filter((id) => !ids.includes(id));
        if (ask.ids.length === 0) undone.push(ask);
      }
      job.touched = new Set(idsOf(job));
    }
    for (const ask of undone) this.withdraw(ask);
    return undone;
  }

  /** A job that these ids can join. */
  #fitting(type, ids) {
    for (const job of this.#open()) {
      if (job.frame.type === type) return job.alone || idsOf(job).length + ids.length > IDS ? undefined : job;
      if (PLACES.has(type) && PLACES.has(job.frame.type)) return undefined;
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

  #reach({ upto, topic }, inbox) {
    const spared = arrivedAfter(inbox, upto);
    if (spared === null) return { touched: [] };
    const reached = this.show(inbox).entries.filter((entry) => !spared.has(entry.id) && (!topic || entry.topic === topic));
    return { touched: reached.map(({ id }) => id), all: !topic };
  }
}

/** What a mark-all leaves at nothing, of the entries that it reaches. */
const EMPTIES = {
  seen: ["unseen"],
  read: ["unseen", "unread"],
  archive: ["unseen", "unread", "total"],
  dismiss: ["unseen", "unread", "total"],
};

function newJob(frame, op, ask, at, { touched, ...more } = {}) {
  return { frame, op, asks: [ask], at, sent: false, alone: false, all: false, ...more, touched: new Set(touched) };
}

/**
 * The frame of a job, without `ref` and channel: always the same once it may have been sent.
 * @param {Job} job
 * @returns {object}
 */
export function frameOf({ frame, op, asks }) {
  return { ...frame, ...(asks[0].ids && { ids: idsOf({ asks }) }), ...(op && { op }) };
}

function idsOf({ asks }) {
  return [...new Set(asks.flatMap(({ ids }) => ids))];
}

function iso(at) {
  return new Date(at).toISOString();
}

function tally(entries) {
  const held = entries.filter(active);
  return {
    unseen: held.filter(({ seen_at }) => !seen_at).length,
    unread: held.filter(({ read_at }) => !read_at).length,
    total: held.length,
  };
}
