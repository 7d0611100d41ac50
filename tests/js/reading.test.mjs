/** What is shown of a feed, what it says and when it happened: the pure modules of the elements. */

import assert from "node:assert/strict";
import test from "node:test";

import "../../static/bell.js"; // Importing it without a DOM must do no harm.
import { filtered, Reading, safeLink } from "../../static/reading.js";
import { language, translator } from "../../static/strings.js";
import { clock } from "../../static/time.js";

const entry = (id, second = 0, more = {}) => ({
  id,
  sent_at: `2026-01-01T00:00:${String(second).padStart(2, "0")}.000Z`,
  seen_at: null,
  read_at: null,
  archived_at: null,
  dismissed_at: null,
  ...more,
});
const snapshot = (cursor, ...entries) => ({ cursor, entries, counts: { unseen: 9, unread: 9, total: 9 } });
const ids = (entries) => entries.map(({ id }) => id).join("");

test("what comes on top of a list that must keep still is held back, and counted in nothing", () => {
  const reading = new Reading();
  reading.take([entry("a")], snapshot("1"), true);
  const view = reading.take([entry("c"), entry("b", 0, { seen_at: "t" }), entry("a")], snapshot("3"), true);
  assert.deepEqual([ids(view.shown), view.held, view.upto, view.unseen, view.unread], ["a", 2, "1", 8, 7]);
  const later = reading.take([entry("c"), entry("b"), entry("a")], snapshot("4"), false);
  assert.deepEqual([ids(later.shown), later.held, later.upto], ["cba", 0, "4"]);
});

test("an older page and an entry that comes back are not held back", () => {
  const reading = new Reading();
  reading.take([entry("c"), entry("b")], snapshot("1"), true);
  assert.equal(ids(reading.take([entry("b"), entry("a")], snapshot("2"), true).shown), "ba");
  assert.equal(ids(reading.take([entry("c"), entry("b"), entry("a")], snapshot("3"), true).shown), "cba");
});

test("another list altogether is shown at once", () => {
  const reading = new Reading();
  reading.take([entry("a")], snapshot("1"), true);
  assert.equal(ids(reading.take([entry("z")], snapshot("2"), true).shown), "z");
});

test("what was new when it was first shown stays new", () => {
  const reading = new Reading();
  reading.take([entry("b"), entry("a", 0, { seen_at: "t" })], snapshot("1"), false);
  reading.take([entry("b", 0, { seen_at: "t" }), entry("a", 0, { seen_at: "t" })], snapshot("2"), false);
  assert.deepEqual([reading.isNew("b"), reading.isNew("a"), reading.isNew("c")], [true, false, false]);
});

test("unread is what was listed, as the snapshot knows it, and what came since", () => {
  const pages = [entry("c", 3), entry("b", 2), entry("a", 1)];
  const now = snapshot("9", entry("d", 4), entry("c", 3, { read_at: "t" }), entry("b", 2));
  assert.equal(ids(filtered("unread", now, pages)), "dba");
});

test("unread entries that the snapshot holds and the hub did not list stand in their place", () => {
  const [d, c, b, a] = [entry("d", 4), entry("c", 3), entry("b", 2), entry("a", 1)];
  assert.equal(ids(filtered("unread", snapshot("9", d, c, b, a), [c, b])), "dcba");
});

test("archived is what was listed and did not come back", () => {
  const pages = [entry("b", 2, { archived_at: "t" }), entry("a", 1, { archived_at: "t" })];
  assert.equal(ids(filtered("archived", snapshot("9", entry("b", 2)), pages)), "a");
});

test("only http, https and relative addresses are links", () => {
  for (const url of ["https://a.example/x", "http://a.example", "/orders/1", "orders/1", "?q", "#top", ""]) {
    assert.equal(safeLink(url), url);
  }
  for (const url of ["javascript:alert(1)", " java\nscript:alert(1)", "data:text/html,x", "blob:https://x/1", "file:///etc", "https://", null, 7]) {
    assert.equal(safeLink(url), null);
  }
});

test("a text has the plural of its language, its own digits, and stands in for English", () => {
  const t = translator({ pill: { one: "واحد", two: "اثنان", few: "{n} جديدة", other: "{n} جديد" } }, "ar-EG");
  assert.deepEqual([1, 2, 3, 100].map((n) => t("pill", { n })), ["واحد", "اثنان", "٣ جديدة", "١٠٠ جديد"]);
  assert.equal(t("undo"), "Undo");
  assert.equal(translator({}, "en")("archive", { title: "$& {n}" }), "Archive: $& {n}");
});

test("a language that is none is left to the browser", () => {
  assert.deepEqual(["de-DE", "not a language", "", null].map(language), ["de-DE", undefined, undefined, undefined]);
});

test("times are told in the largest unit that fits, then as a date; the future is now", () => {
  const now = Date.parse("2026-06-15T12:00:00Z");
  const ago = (seconds) => clock("en").ago(new Date(now - seconds * 1000), now);
  assert.deepEqual([-60, 0, 59].map(ago), ["now", "now", "now"]);
  assert.match(ago(60), /^1 min/);
  assert.match(ago(7199), /^1 hr/);
  assert.equal(ago(86_400), "yesterday");
  assert.equal(ago(6 * 86_400), "6 days ago");
  assert.equal(ago(7 * 86_400), "Jun 8, 2026");
});
