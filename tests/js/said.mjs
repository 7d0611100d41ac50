/** What a hub says, for tests of the pure modules. */

export const AT = "2026-01-01T00:00:05.000Z";
export const PAGE = { after: null, before: null, has_more_after: false, has_more_before: false, limit: 20 };

export const counts = (unseen, unread, total) => ({ unseen, unread, total });

export function entry(id, more = {}) {
  const times = { seen_at: null, read_at: null, clicked_at: null, archived_at: null, dismissed_at: null };
  return { id, data: { title: id }, topic: null, sent_at: AT, status: "unseen", ...times, ...more };
}

export function snapshot(cursor, entries, tally = counts(entries.length, entries.length, entries.length), more = {}) {
  const head = { type: "subscribed", channel: "inbox", channel_id: "c1", mode: "snapshot" };
  return { ...head, cursor, counts: tally, entries, page: PAGE, ...more };
}

const event = (type, cursor, prev, tally, more) => ({ type, channel: "inbox", cursor, prev, counts: tally, ...more });

export const arrival = (id, cursor, prev, tally) => event("entry", cursor, prev, tally, { entry: entry(id) });

export const marked = (verb, ids, cursor, prev, tally) =>
  event("state", cursor, prev, tally, { by: null, verbs: [verb], at: AT, ids });

export const WELCOME = {
  type: "welcome",
  session: "s1",
  user: "ann",
  expires_at: null,
  ping_s: 25,
  retry_ms: [500, 20_000],
  limits: { ids: 500 },
};
