import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Connection } from "../../static/protocol.js";
import { arrival, counts, entry, PAGE, snapshot, WELCOME } from "./said.mjs";

const VECTORS = JSON.parse(readFileSync(new URL("../vectors/hub_frames.json", import.meta.url)));

const READ = { type: "read", ids: ["a"], op: "o1" };

/** Rules at a cursor "1" with one entry `a`, connected since time 0; its `subscribe` had ref 1. */
function live(options = { user: "ann" }, welcome = WELCOME) {
  const rules = new Connection({ apiKey: "pk_dev", channel: "inbox", random: () => 0.5, ...options });
  rules.start(0);
  if (!options.user) rules.token("t1", 0);
  rules.open(0);
  rules.frame(welcome, 0);
  rules.frame(snapshot("1", [entry("a")], counts(1, 1, 1), { ref: 1 }), 0);
  return rules;
}

const acts = (steps) => steps.map(({ act }) => act);
const sent = (steps) => steps.filter(({ act }) => act === "send").map(({ frame }) => frame);
const error = (ref, code, temporary) => ({ type: "error", ref, code, message: code, temporary });
const ack = (ref, cursor = "1") => ({ type: "ack", ref, channel: "inbox", cursor, changed: [], counts: counts(0, 0, 1) });

// Requests

test("a request is sent with ref and channel, and is answered once", () => {
  const rules = live();
  assert.equal(rules.ready, true);
  assert.deepEqual(sent(rules.request(READ)), [{ ...READ, ref: 2, channel: "inbox" }]);
  assert.equal(rules.ready, false);
  assert.deepEqual(rules.frame(ack(2), 10), [{ act: "answer", answer: ack(2) }]);
  assert.deepEqual(rules.frame(ack(2), 20), []);
  assert.equal(rules.ready, true);
});

test("a request may be made only once the hub has said welcome", () => {
  const rules = new Connection({ apiKey: "pk_dev", channel: "inbox", user: "ann", random: () => 0.5 });
  rules.start(0);
  rules.open(0);
  assert.equal(rules.ready, false);
  rules.frame(WELCOME, 0);
  assert.equal(rules.ready, true);
});

test("a request is forgotten with its connection, and its late answer means nothing", () => {
  const rules = live();
  rules.request(READ);
  rules.closed(1006, 10);
  assert.equal(rules.ready, false);
  rules.wake(20);
  rules.open(20);
  rules.frame(WELCOME, 20);
  assert.equal(rules.ready, true);
  assert.deepEqual(acts(rules.frame(ack(2), 30)), []);
});

test("a temporary error sends the very same frame again, later each time", () => {
  const rules = live();
  const [first] = sent(rules.request(READ));
  let now = 0;
  const waits = [1, 2, 3].map(() => {
    assert.deepEqual(rules.frame({ ...error(2, "unavailable", true), retry_ms: 500 }, now), []);
    const wait = rules.due - now;
    now = rules.due;
    assert.deepEqual(sent(rules.tick(now)), [first]);
    assert.deepEqual(rules.tick(now + 1), []);
    return wait;
  });
  assert.deepEqual(waits, [750, 1250, 2250]);
});

test("an unavailable hub is asked for ever, any other fault is told after eight times", () => {
  const tries = (code) => {
    const rules = live();
    rules.request(READ);
    for (let times = 1; times <= 30; times++) {
      if (acts(rules.frame(error(2, code, true), times)).includes("answer")) return times;
    }
    return Infinity;
  };
  assert.deepEqual(["unavailable", "internal", "rate_limited"].map(tries), [Infinity, 8, 8]);
});

test("a final error is the answer", () => {
  const rules = live();
  rules.request(READ);
  const answer = error(2, "not_found", false);
  assert.deepEqual(rules.frame(answer, 10), [{ act: "answer", answer }]);
});

test("an error without a ref answers no request", () => {
  const rules = live();
  rules.request(READ);
  assert.deepEqual(acts(rules.frame(error(undefined, "internal", true), 10)), ["error"]);
  assert.equal(rules.ready, false);
});

test("an older page joins the inbox unless a snapshot came between", () => {
  const page = { type: "page", channel: "inbox", cursor: "1", counts: counts(1, 1, 1), entries: [entry("z")], page: PAGE };
  for (const [between, ids] of [[false, ["y", "z"]], [true, ["x"]]]) {
    const rules = live();
    rules.frame(snapshot("5", [entry("y")], undefined, { page: { ...PAGE, after: "p1" } }), 0);
    if (between) rules.frame(snapshot("9", [entry("x")], undefined, { page: { ...PAGE, after: "p9" } }), 0);
    rules.append(page, "p1");
    assert.deepEqual(rules.inbox.entries.map(({ id }) => id), ids);
  }
});

for (const [what, well] of [
  ["a request that was answered", (rules) => rules.frame(ack(2), 100)],
  [
    "a feed that is followed again",
    (rules) => {
      rules.frame(arrival("x", "9", "8"), 100);
      rules.frame(snapshot("9", [], undefined, { ref: 3 }), 100);
    },
  ],
]) {
  test(`after something that went well the waits begin anew: ${what}`, () => {
    const rules = live();
    let [{ ref }] = sent(rules.request(READ));
    const busy = () => ({ ...error(ref, "unavailable", true), retry_ms: 500 });
    for (const now of [10, 20, 30]) rules.frame(busy(), now);
    well(rules);
    if (rules.ready) [{ ref }] = sent(rules.request(READ));
    rules.frame(busy(), 200);
    assert.equal(rules.due, 950);
  });
}

// Notifications

test("an entry that arrives is a notification, one of a snapshot or one held already is none", () => {
  const rules = live();
  const steps = rules.frame(arrival("b", "2", "1", counts(2, 2, 2)), 10);
  assert.deepEqual(steps, [{ act: "notification", entry: entry("b") }]);
  assert.deepEqual(rules.frame(arrival("b", "3", "2", counts(2, 2, 2)), 10), []);
  assert.deepEqual(rules.frame(snapshot("9", [entry("x")]), 10), []);
});

// Away and back

test("a page that goes away lets go of its socket and comes back at once, from where it was", () => {
  const rules = live();
  assert.deepEqual(acts(rules.pause()), ["state", "drop"]);
  assert.equal(rules.due, Infinity);
  assert.deepEqual(rules.wake(60_000), [], "seen again, but not back yet");
  assert.deepEqual(acts(rules.start(60_001)), ["connect"]);
  assert.equal(sent(rules.open(60_001))[1].cursor, "1");
});

test("what a hub said when it closed is about that connection only", () => {
  const rules = live();
  rules.frame({ type: "bye", code: 4000, reason: "draining", reconnect: true, delay_ms: [10_000, 30_000] }, 10);
  rules.closed(4000, 20);
  rules.tick(rules.due);
  rules.open(30_000);
  rules.frame(WELCOME, 30_000);
  rules.frame({ type: "subscribed", ref: 2, channel: "inbox", mode: "live", cursor: "1", counts: counts(1, 1, 1) }, 30_000);
  assert.deepEqual(rules.closed(1006, 31_000), [{ act: "state", state: "reconnecting", code: 1006, reason: "" }]);
  assert.equal(rules.due, 31_000 + 1250);
  assert.deepEqual(acts(rules.wake(31_001)), ["connect"]);
});

test("a subscribe that the hub could not do yet is sent once more, not at every moment since", () => {
  const rules = live();
  rules.frame(arrival("x", "9", "8"), 10);
  rules.frame(error(2, "unavailable", true), 20);
  const now = rules.due;
  assert.deepEqual(sent(rules.tick(now)), [{ type: "subscribe", ref: 3, channel: "inbox", cursor: "1" }]);
  assert.deepEqual(rules.tick(now + 1), []);
});

test("a gap that was none after all is over: the next event links", () => {
  const rules = live();
  assert.deepEqual(acts(rules.frame(arrival("x", "9", "8"), 10)), ["send"]);
  rules.frame({ type: "subscribed", ref: 2, channel: "inbox", mode: "live", cursor: "1", counts: counts(1, 1, 1) }, 20);
  assert.deepEqual(acts(rules.frame(arrival("b", "2", "1", counts(2, 2, 2)), 30)), ["notification"]);
});

test("a client that was never connected, or that was closed, is woken by nothing", () => {
  const idle = new Connection({ apiKey: "pk_dev", channel: "inbox", user: "ann", random: () => 0.5 });
  assert.deepEqual([idle.pause(), idle.wake(10)], [[], []]);
  const closed = live();
  closed.stop({ code: "closed", reason: "closed" });
  assert.deepEqual([closed.pause(), closed.wake(10)], [[], []]);
});

test("an open socket is probed when the page wakes, and dropped when nobody answers", () => {
  const rules = live();
  assert.deepEqual(sent(rules.wake(20_000)), [{ type: "ping" }]);
  assert.deepEqual(rules.wake(20_001), []);
  assert.deepEqual(acts(rules.tick(25_000)), ["state", "drop"]);
});

test("a probe whose timer slept is repeated: the answer may be waiting to be read", () => {
  const rules = live();
  rules.wake(20_000);
  assert.deepEqual(sent(rules.tick(3_600_000)), [{ type: "ping" }]);
  rules.frame({ type: "pong" }, 3_600_001);
  assert.equal(rules.state, "connected");
});

// Tokens

test("a second token refused as expired ends it: the clocks disagree, and asking again changes nothing", () => {
  const rules = live({});
  rules.closed(4003, 100);
  assert.deepEqual(acts(rules.tick(9000)), ["token"]);
  rules.token("t2", 9000);
  rules.open(9000);
  const steps = rules.closed(4003, 9100);
  assert.deepEqual(acts(steps), ["state", "drop", "auth"]);
  assert.equal(rules.state, "closed");
});

test("who tries again after that has an expired token replaced once, as at first", () => {
  const rules = live({});
  rules.closed(4003, 100);
  rules.tick(9000);
  rules.token("t2", 9000);
  rules.open(9000);
  rules.closed(4003, 9100);
  rules.start(20_000);
  rules.token("t3", 20_000);
  rules.open(20_000);
  assert.deepEqual(acts(rules.closed(4003, 20_100)), ["state"]);
  assert.equal(rules.state, "reconnecting");
});

test("every welcome gives the next token its chance", () => {
  const rules = live({});
  for (const now of [10_000, 110_000, 210_000]) {
    rules.closed(4003, now);
    assert.deepEqual(acts(rules.tick(now + 50_000)), ["token"]);
    rules.token("t", now + 50_000);
    rules.open(now + 50_000);
    rules.frame(WELCOME, now + 50_000);
  }
});

for (const code of [4501, 4503]) {
  test(`a refusal is told and nothing is tried again: ${code}`, () => {
    const rules = live({});
    assert.deepEqual(rules.closed(code, 10).at(-1), { act: "auth", code, reason: "" });
    assert.equal(rules.due, Infinity);
    assert.deepEqual(rules.wake(20), []);
  });
}

test("a page where nobody is signed in ends the client", () => {
  const rules = new Connection({ apiKey: "pk_dev", channel: "inbox", random: () => 0.5 });
  rules.start(0);
  assert.deepEqual(rules.token(null, 10).at(-1), { act: "auth", code: "nobody", reason: "nobody is signed in" });
  assert.equal(rules.state, "closed");
});

test("a token that comes after the end is not kept for the next start", () => {
  const rules = new Connection({ apiKey: "pk_dev", channel: "inbox", random: () => 0.5 });
  rules.start(0);
  rules.stop({ code: "closed", reason: "closed" });
  assert.deepEqual([rules.token("old", 10), rules.token(null, 20)], [[], []]);
  assert.deepEqual(acts(rules.start(30)), ["state", "token"]);
});

test("a held token that ended meanwhile is not sent to be refused", () => {
  const rules = live({}, { ...WELCOME, expires_at: new Date(60_000).toISOString() });
  rules.closed(1006, 10);
  assert.deepEqual(acts(rules.wake(59_999)), ["connect"]);
  rules.closed(1006, 59_999);
  assert.deepEqual(acts(rules.wake(60_000)), ["token"]);
  assert.deepEqual(acts(rules.token("t2", 60_001)), ["connect"]);
});

test("a token that comes while a socket opens goes with its auth", () => {
  const rules = live({});
  rules.frame({ type: "expiring" }, 0);
  rules.tick(rules.due);
  rules.closed(1006, 1000);
  rules.wake(1001);
  assert.deepEqual(rules.token("t2", 1002), []);
  assert.equal(sent(rules.open(1003))[0].token, "t2");
});

test("a refreshed token lasts as long as the hub says", () => {
  const rules = live({}, { ...WELCOME, expires_at: new Date(60_000).toISOString() });
  rules.frame({ type: "expiring", expires_at: "" }, 10);
  rules.token("t2", 20);
  rules.frame({ type: "refreshed", ref: 2, expires_at: new Date(90_000).toISOString() }, 30);
  rules.closed(1006, 40);
  assert.deepEqual(acts(rules.wake(89_999)), ["connect"]);
});

test("a refresh for which no token could be had leaves the socket open, and the next connection asks again", () => {
  const rules = live({}, { ...WELCOME, expires_at: new Date(60_000).toISOString() });
  rules.frame({ type: "expiring", expires_at: "" }, 10);
  assert.deepEqual(acts(rules.tick(rules.due)), ["token"]);
  assert.deepEqual(rules.tokenFailed(1000), []);
  assert.equal(rules.state, "connected");
  rules.closed(4003, 90_000);
  assert.deepEqual(acts(rules.tick(rules.due)), ["token"]);
});

/** How often a page was asked for a token in the minute before its token ends. `answer` may give one or fail. */
function asked(answer) {
  const rules = live({}, { ...WELCOME, expires_at: new Date(60_000).toISOString() });
  let times = 0;
  rules.frame({ type: "expiring" }, 0);
  while (rules.due < 60_000) {
    const now = rules.due;
    for (const { act } of rules.tick(now)) {
      if (act === "send") rules.frame({ type: "pong" }, now);
      if (act === "token" && ++times) answer(rules, now);
    }
  }
  return times;
}

test("before a token ends, a page that has no better one is asked again, but later each time", () => {
  const failed = asked((rules, now) => rules.tokenFailed(now));
  const same = asked((rules, now) => {
    rules.token("t1", now);
    rules.frame({ type: "refreshed", ref: 9, expires_at: new Date(60_000).toISOString() }, now);
    rules.frame({ type: "expiring" }, now);
  });
  for (const times of [failed, same]) assert.ok(times > 3 && times < 12, `${times} times`);
  assert.equal(asked((rules, now) => {
    rules.token("t2", now);
    rules.frame({ type: "refreshed", ref: 2, expires_at: new Date(3_600_000).toISOString() }, now);
  }), 1);
});

test("a token that never comes is asked for again, and an open socket does not end by it", () => {
  const rules = new Connection({ apiKey: "pk_dev", channel: "inbox", random: () => 0.5 });
  rules.start(0);
  assert.deepEqual(rules.tick(30_000), [{ act: "state", state: "reconnecting" }]);
  assert.deepEqual(acts(rules.tick(rules.due)), ["token"]);
  const open = live({});
  open.frame({ type: "expiring" }, 0);
  open.tick(open.due);
  assert.deepEqual(acts(open.tick(35_000)), ["send"]);
  assert.equal(open.state, "connected");
});

// Every frame of the hub

/** What is heard before a frame, so that it makes sense. */
function before(frame) {
  if (frame.type === "subscribed" && frame.ref !== undefined) return [];
  const entries = (frame.ids ?? []).map((id) => entry(id));
  return [snapshot(frame.prev ?? frame.cursor ?? "1", entries, counts(0, 0, 0), { ref: 1 })];
}

const EFFECTS = {
  welcome: [],
  pong: [],
  refreshed: [],
  unsubscribed: [],
  bye: [],
  expiring: [],
  ping: ["send"],
  error: ["error"],
  entry: ["notification"],
  state: [],
  gone: [],
};

const LEFT = {
  entry: ({ entry }, { entries }) => assert.deepEqual(entries, [entry]),
  state: ({ verbs }, { entries }) => {
    for (const { status } of entries) assert.equal(status, verbs.includes("archive") ? "archived" : "read");
  },
  gone: (_, { entries }) => assert.deepEqual(entries, []),
};

for (const { name, json, meaning } of VECTORS) {
  test(`a frame of the hub means what the vectors say: ${name}`, () => {
    const frame = JSON.parse(json);
    assert.deepEqual(frame, meaning);
    const rules = new Connection({ apiKey: "pk_dev", channel: "inbox", random: () => 0.5 });
    rules.start(0);
    rules.token("t", 0);
    rules.open(0);
    for (const other of [WELCOME, ...before(frame)]) rules.frame(other, 0);
    // Answers are awaited under the client's own ref, which for the first `subscribe` is 1 and for a mark 2.
    if (frame.type === "subscribed" && frame.ref !== undefined) frame.ref = 1;
    if (frame.type === "ack" || frame.type === "page") {
      rules.request(READ);
      frame.ref = 2;
      assert.deepEqual(rules.frame(frame, 0).at(-1), { act: "answer", answer: frame });
      return;
    }
    const steps = rules.frame(frame, 0);
    const { cursor, entries, counts: tally, gap } = rules.inbox;
    if (frame.type !== "subscribed") assert.deepEqual(acts(steps), EFFECTS[frame.type]);
    else if (frame.mode === "replay") assert.deepEqual([cursor, entries], [null, []]);
    else assert.deepEqual([cursor, tally, entries], [frame.cursor, frame.counts, frame.entries ?? []]);
    LEFT[frame.type]?.(frame, rules.inbox);
    if (frame.prev) assert.deepEqual([cursor, tally, gap], [frame.cursor, frame.counts, false]);
  });
}
