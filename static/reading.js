/**
 * What somebody sees of a feed while reading it. Pure: decides what is shown, what is held back and what is new.
 * @module
 */

/** @typedef {"all" | "unread" | "archived"} Filter */
/** @typedef {import("./client.js").Snapshot} Snapshot */

/** One opening of a list. */
export class Reading {
  /** The entries shown so far, and whether they were new then: they stay so while this lasts. @type {Map<string, boolean>} */
  #met = new Map();
  /** @type {string | null} */
  #upto = null;

  /**
   * @param {any[]} entries what there is, newest first
   * @param {Pick<Snapshot, "cursor" | "counts">} snapshot
   * @param {boolean} still what is being read must not move: what comes on top is held back
   * @returns {{shown: any[], held: number, upto: string | null, unread: number, unseen: number}} `upto`: the place
   *   in the feed up to which everything is shown; `unread` and `unseen` count no entry that is held back
   */
  take(entries, { cursor, counts }, still) {
    const known = still ? entries.findIndex(({ id }) => this.#met.has(id)) : 0;
    const held = Math.max(0, known);
    const [back, shown] = [entries.slice(0, held), entries.slice(held)];
    for (const { id, seen_at } of shown) if (!this.#met.has(id)) this.#met.set(id, !seen_at);
    if (held === 0) this.#upto = cursor;
    return {
      shown,
      held,
      upto: this.#upto,
      unread: counts.unread - back.filter(({ read_at }) => !read_at).length,
      unseen: counts.unseen - back.filter(({ seen_at }) => !seen_at).length,
    };
  }

  /** @param {string} id */
  isNew(id) {
    return this.#met.get(id) === true;
  }
}

/**
 * The entries of a filter. The snapshot has the newest; `pages` what the hub listed for this filter, which may be
 * a moment older.
 * @param {Filter} filter
 * @param {Snapshot} snapshot
 * @param {any[]} pages
 * @returns {any[]} newest first
 */
export function filtered(filter, snapshot, pages) {
  /** @type {readonly any[]} */
  const entries = snapshot.entries;
  if (filter === "all") return [...entries];
  const held = new Map(entries.map((entry) => [entry.id, entry]));
  if (filter === "archived") return pages.filter((entry) => entry.archived_at && !held.has(entry.id));
  const listed = new Set(pages.map(({ id }) => id));
  return [...entries.filter(({ id }) => !listed.has(id)), ...pages.map((entry) => held.get(entry.id) ?? entry)]
    .filter((entry) => !entry.read_at && !entry.archived_at && !entry.dismissed_at)
    .sort((one, other) => Date.parse(other.sent_at) - Date.parse(one.sent_at));
}

/**
 * An address that a link may have: http, https or relative. Anything else could run as a script.
 * @param {unknown} url
 * @returns {string | null}
 */
export function safeLink(url) {
  if (typeof url !== "string" || !URL.canParse(url, "https://x")) return null;
  return /^https?:$/.test(new URL(url, "https://x").protocol) ? url : null;
}
