/**
 * One feed as a client holds it. Pure: `apply(state, frame)` gives the next state and changes nothing in place.
 *
 * Counts are never computed here: every event carries them, absolute (protocol, section 4). Those of an `ack` or a
 * `page` are not needed: where they may be taken, they are those of the event at the same cursor.
 * @module
 */

/** Events that an inbox remembers, for marks that reach up to one of them. */
const TRAIL = 500;

/** One message of the protocol (`docs/protocol.md`). @typedef {Record<string, any>} Frame */

/** A notification in a feed (`docs/api.md`, A user's feed). @typedef {Record<string, any> & {id: string}} Entry */

/**
 * @typedef {object} Inbox
 * @property {string | null} cursor where in the feed's log this state is; null: ask for a snapshot
 * @property {{unseen: number, unread: number, total: number}} counts of the whole feed, not of what is held
 * @property {Entry[]} entries all that are held, newest first; archived ones too, since they can come back
 * @property {string | null} after the token of the next older page; null: nothing older
 * @property {{cursor: string, id?: string}[]} trail the way since the last snapshot: each event, and the entry it brought
 * @property {boolean} gap an event did not link: subscribe again from `cursor`
 */

/** The state before the first `subscribed`. @type {Inbox} */
export const EMPTY = {
  cursor: null,
  counts: { unseen: 0, unread: 0, total: 0 },
  entries: [],
  after: null,
  trail: [],
  gap: false,
};

/** @returns {boolean} whether a bell lists it: neither archived nor dismissed */
export function active(/** @type {Entry} */ { archived_at, dismissed_at }) {
  return !archived_at && !dismissed_at;
}

/**
 * The held entries that had not arrived at this place of the log.
 * @param {Inbox} state
 * @param {string} cursor
 * @returns {Set<string | undefined> | null} their ids; null: this inbox never stood there
 */
export function arrivedAfter({ trail }, cursor) {
  const place = trail.findLastIndex((step) => step.cursor === cursor);
  return place < 0 ? null : new Set(trail.slice(place + 1).map((step) => step.id));
}

/**
 * The state after one frame of the hub. The same object when the frame changes nothing.
 * @param {Inbox} state
 * @param {Frame} frame
 * @returns {Inbox}
 */
export function apply(state, frame) {
  if (frame.type === "subscribed") return subscribed(state, frame);
  return frame.prev ? event(state, frame) : state;
}

/**
 * An older page, asked for with the state's own `after`.
 * @param {Inbox} state
 * @param {Frame} frame a `page`
 * @returns {Inbox}
 */
export function append(state, frame) {
  const held = new Set(state.entries.map((entry) => entry.id));
  const older = frame.entries.filter((/** @type {Entry} */ entry) => !held.has(entry.id));
  return { ...state, entries: [...state.entries, ...older], after: frame.page.after };
}

function subscribed(/** @type {Inbox} */ state, /** @type {Frame} */ { mode, cursor, counts, entries, page }) {
  if (mode === "snapshot") return { cursor, counts, entries, after: page.after, trail: [{ cursor }], gap: false };
  // The missed events of a replay follow and lead there; taking cursor and counts now would make them all gaps.
  return mode === "live" ? { ...state, cursor, counts, gap: false } : { ...state, gap: false };
}

function event(/** @type {Inbox} */ state, /** @type {Frame} */ frame) {
  if (frame.cursor === state.cursor) return state;
  if (frame.prev !== state.cursor) return { ...state, gap: true };
  const { cursor, counts } = frame;
  const next = { ...state, cursor, counts, trail: [...state.trail.slice(1 - TRAIL), { cursor, id: frame.entry?.id }] };
  const { entries } = state;
  if (frame.type === "state") return marked(next, frame);
  if (frame.type === "gone") return { ...next, entries: entries.filter((/** @type {Entry} */ { id }) => !frame.ids.includes(id)) };
  const place = entries.findIndex((/** @type {Entry} */ { id }) => id === frame.entry.id);
  return { ...next, entries: place < 0 ? [frame.entry, ...entries] : entries.with(place, frame.entry) };
}

function marked(/** @type {Inbox} */ state, /** @type {Frame} */ { ids, verbs, at }) {
  const wanted = new Set(ids);
  const entries = state.entries.map((/** @type {Entry} */ entry) => (wanted.delete(entry.id) ? mark(entry, verbs, at) : entry));
  // An entry that is not held came back from the archive. Its text is in no event: only a snapshot has it.
  const unknown = verbs.includes("unarchive") && wanted.size > 0;
  return unknown ? { ...state, entries, cursor: null, gap: true } : { ...state, entries };
}

/**
 * Section 6 of the protocol for one entry.
 * @param {Entry} entry
 * @param {string[]} verbs
 * @param {string} at the time of the event
 * @returns {Entry}
 */
export function mark(entry, verbs, at) {
  const next = { ...entry };
  for (const verb in RULES) if (verbs.includes(verb)) RULES[verb](next, at);
  next.status = status(next);
  return next;
}

/** In the order in which they are applied (protocol, section 4). @type {Record<string, (entry: Entry, at: string) => void>} */
const RULES = {
  seen(entry, at) {
    entry.seen_at ??= at;
  },
  read(entry, at) {
    entry.read_at ??= at;
    RULES.seen(entry, at);
  },
  click(entry, at) {
    entry.clicked_at ??= at;
    RULES.read(entry, at);
  },
  archive(entry, at) {
    if (!entry.dismissed_at) entry.archived_at ??= at;
  },
  unarchive(entry) {
    if (!entry.dismissed_at) entry.archived_at = null;
  },
  dismiss(entry, at) {
    entry.dismissed_at ??= at;
  },
};

function status(/** @type {Entry} */ { dismissed_at, archived_at, read_at, seen_at }) {
  if (dismissed_at) return "dismissed";
  if (archived_at) return "archived";
  if (read_at) return "read";
  return seen_at ? "seen" : "unseen";
}
