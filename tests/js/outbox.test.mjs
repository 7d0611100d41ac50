import assert from "node:assert/strict";
import { test } from "node:test";

import { apply, EMPTY } from "../../static/inbox.js";
import { frameOf, IDS, KEPT_MS, Outbox, WAITING } from "../../static/outbox.js";
import { arrival, counts, entry, marked, snapshot } from "./said.mjs";

const NOW = Date.parse("2026-01-01T00:01:00Z");

/** An outbox over an inbox. Each call gets an op of its own: o1, o2, … */
class Scene {
  outbox = new Outbox();
  inbox = EMPTY;
  #ops = 0;

  constructor(...frames) {
    for (const frame of frames) this.hear(frame);
  }

  hear(frame) {
    this.inbox = apply(this.inbox, frame);
    this.outbox.landed(frame);
  }

  op = () => `o${++this.#ops}`;

  ask(frame, ask = {}, now = NOW) {
    this.outbox.add(this.op(), frame, ask, now, this.inbox);
    return ask;
  }

  mark(verb, ...ids) {
    return this.ask({ type: verb }, { ids, reject() {} });
  }

  send() {
    const [job] = this.outbox.jobs;
    job.sent = true;
    job.from = this.inbox.cursor;
    return job;
  }

  /** The hub's answer: stored, with an event at this cursor; without one: nothing was changed. */
  ack(job, cursor = this.inbox.cursor, changed = ["b"]) {
    this.outbox.done(job, { type: "ack", cursor, changed }, this.inbox);
  }

  get frames() {
    return this.outbox.jobs.map(frameOf);
  }

  get shown() {
    const { entries, counts } = this.outbox.show(this.inbox);
    return { ids: entries.map(({ id }) => id), statuses: entries.map(({ status }) => status), counts };
  }
}

const three = () => new Scene(snapshot("1", [entry("c"), entry("b"), entry("a")]));

// What is shown

test("without marks the hub's own entries and counts are shown", () => {
  const scene = new Scene(snapshot("1", [entry("b", { archived_at: "x" }), entry("a")], counts(7, 8, 9)));
  assert.deepEqual(scene.shown, { ids: ["a"], statuses: ["unseen"], counts: counts(7, 8, 9) });
});

const EFFECTS = [
  ["seen", ["unseen", "seen", "unseen"], counts(2, 3, 3)],
  ["read", ["unseen", "read", "unseen"], counts(2, 2, 3)],
  ["click", ["unseen", "read", "unseen"], counts(2, 2, 3)],
  ["archive", ["unseen", "unseen"], counts(2, 2, 2)],
  ["dismiss", ["unseen", "unseen"], counts(2, 2, 2)],
  ["unarchive", ["unseen", "unseen", "unseen"], counts(3, 3, 3)],
];
for (const [verb, statuses, tally] of EFFECTS) {
  test(`a mark shows at once: ${verb}`, () => {
    const scene = three();
    scene.mark(verb, "b");
    assert.deepEqual([scene.shown.statuses, scene.shown.counts], [statuses, tally]);
  });
}

test("an archive that is taken back shows the entry in its place", () => {
  const scene = new Scene(snapshot("1", [entry("b"), entry("a")]), marked("archive", ["b"], "2", "1", counts(1, 1, 1)));
  scene.mark("unarchive", "b");
  assert.deepEqual([scene.shown.ids, scene.shown.counts], [["b", "a"], counts(2, 2, 2)]);
});

test("a mark changes no count of entries that are not held", () => {
  const scene = new Scene(snapshot("1", [entry("a")], counts(5, 6, 7)));
  scene.mark("read", "a");
  scene.mark("read", "elsewhere");
  assert.deepEqual(scene.shown.counts, counts(4, 5, 7));
});

test("a mark-all reaches what is held and what is older, but not what comes later", () => {
  const scene = new Scene(snapshot("1", [entry("a")], counts(5, 6, 7)));
  scene.ask({ type: "read", upto: "1" });
  assert.deepEqual([scene.shown.statuses, scene.shown.counts], [["read"], counts(0, 0, 7)]);
  scene.hear(arrival("b", "2", "1", counts(6, 7, 8)));
  assert.deepEqual([scene.shown.statuses, scene.shown.counts], [["unseen", "read"], counts(1, 1, 8)]);
});

test("a mark-all up to an earlier place spares what arrived since", () => {
  const scene = three();
  scene.hear(arrival("d", "2", "1", counts(4, 4, 4)));
  scene.ask({ type: "archive", upto: "1" });
  assert.deepEqual([scene.shown.ids, scene.shown.counts], [["d"], counts(1, 1, 1)]);
});

test("a mark-all up to a place that this inbox does not know shows nothing before the hub's answer", () => {
  const scene = three();
  scene.ask({ type: "read", upto: "0" });
  assert.deepEqual(scene.shown.counts, counts(3, 3, 3));
});

test("a mark-all of a topic touches its entries only", () => {
  const scene = new Scene(snapshot("1", [entry("b", { topic: "orders" }), entry("a")], counts(9, 9, 9)));
  scene.ask({ type: "read", upto: "1", topic: "orders" });
  assert.deepEqual([scene.shown.statuses, scene.shown.counts], [["read", "unseen"], counts(8, 8, 9)]);
});

test("the event of a mark changes nothing of what is shown, before its ack or after", () => {
  for (const order of ["ack first", "event first"]) {
    const scene = three();
    scene.mark("archive", "b");
    const before = scene.shown;
    const event = marked("archive", ["b"], "2", "1", counts(2, 2, 2));
    const job = scene.send();
    const steps = [() => scene.hear(event), () => scene.ack(job, "2")];
    for (const step of order === "ack first" ? steps.toReversed() : steps) {
      step();
      assert.deepEqual(scene.shown, before, order);
    }
    assert.deepEqual(scene.frames, []);
  }
});

test("a mark that was stored stops showing with its event, so that another device can undo it", () => {
  const scene = three();
  scene.mark("archive", "b");
  scene.ack(scene.send(), "2");
  scene.hear(marked("archive", ["b"], "2", "1", counts(2, 2, 2)));
  scene.hear(marked("unarchive", ["b"], "3", "2", counts(3, 3, 3)));
  assert.deepEqual(scene.shown.ids, ["c", "b", "a"]);
});

test("an archive that was stored is taken back at once, though its event is not here yet", () => {
  const scene = three();
  scene.mark("archive", "b");
  scene.ack(scene.send(), "2");
  scene.mark("unarchive", "b");
  assert.deepEqual(scene.shown.ids, ["c", "b", "a"]);
});

test("an event that no mark waits for gives nothing else to show or to keep", () => {
  const scene = three();
  scene.mark("read", "a");
  const { version } = scene.outbox;
  for (const frame of [{ prev: "1", cursor: "2" }, { mode: "snapshot", cursor: "2" }]) scene.outbox.landed(frame);
  assert.equal(scene.outbox.version, version);
});

test("a snapshot knows of every mark that was stored", () => {
  const scene = three();
  scene.mark("archive", "b");
  scene.ack(scene.send(), "2");
  scene.hear(snapshot("9", [entry("b")]));
  assert.deepEqual(scene.shown.ids, ["b"]);
});

test("a snapshot that comes between a mark's event and its ack knows of the mark, and of what others did since", () => {
  const scene = three();
  scene.mark("archive", "b");
  const job = scene.send();
  scene.hear(marked("archive", ["b"], "2", "1", counts(2, 2, 2)));
  scene.hear(snapshot("9", [entry("c"), entry("b"), entry("a")])); // another device has taken it back
  scene.ack(job, "2");
  assert.deepEqual([scene.shown.ids, scene.shown.counts], [["c", "b", "a"], counts(3, 3, 3)]);
});

test("a mark-all that a snapshot has overtaken leaves in the counts what arrived since and is not held", () => {
  const scene = three();
  scene.ask({ type: "seen", upto: "1" });
  const job = scene.send();
  scene.hear(snapshot("9", [entry("z"), entry("y")], counts(30, 33, 33)));
  scene.ack(job, "2", ["a", "b", "c"]);
  assert.deepEqual(scene.shown.counts, counts(30, 33, 33));
});

test("a mark that was sent before anything was known of the feed goes on to show until its event", () => {
  const scene = new Scene();
  scene.mark("archive", "b");
  const job = scene.send();
  scene.hear(snapshot("1", [entry("b"), entry("a")])); // asked for before the mark, so older
  scene.ack(job, "2");
  assert.deepEqual([scene.shown.ids, scene.shown.counts], [["a"], counts(1, 1, 1)]);
  scene.hear(marked("archive", ["b"], "2", "1", counts(1, 1, 1)));
  scene.hear(marked("unarchive", ["b"], "3", "2", counts(2, 2, 2)));
  assert.deepEqual(scene.shown.ids, ["b", "a"]);
});

test("an answer that was given before has no event to come", () => {
  const scene = three();
  scene.mark("archive", "b");
  scene.outbox.done(scene.send(), { type: "ack", cursor: "0", changed: ["b"], replayed: true }, scene.inbox);
  assert.deepEqual(scene.shown.ids, ["c", "b", "a"]);
});

test("a connection that goes on from where it was keeps a mark shown until its event is told again", () => {
  const scene = three();
  scene.mark("archive", "b");
  scene.ack(scene.send(), "2");
  scene.hear({ type: "subscribed", mode: "replay", cursor: "2", counts: counts(2, 2, 2), missed: 1 });
  assert.deepEqual(scene.shown.ids, ["c", "a"]);
  scene.hear(marked("archive", ["b"], "2", "1", counts(2, 2, 2)));
  scene.hear(marked("unarchive", ["b"], "3", "2", counts(3, 3, 3)));
  assert.deepEqual(scene.shown.ids, ["c", "b", "a"]);
});

test("a refused mark is undone in what is shown", () => {
  const scene = three();
  const before = scene.shown;
  scene.mark("archive", "b");
  scene.outbox.done(scene.send(), { type: "error", code: "not_found" }, scene.inbox);
  assert.deepEqual(scene.shown, before);
});

test("whatever waits and whatever the hub tells, the counts end as the hub's own", () => {
  const random = lehmer(7);
  const pick = (list) => list[Math.floor(random() * list.length)];
  for (let round = 0; round < 200; round++) {
    const scene = three();
    let cursor = 1;
    for (let step = 0; step < 12; step++) {
      const id = pick(["a", "b", "c"]);
      const verb = pick(["seen", "read", "archive", "unarchive", "dismiss"]);
      const hub = counts(pick([0, 1, 2]), pick([0, 1, 2]), pick([2, 3]));
      pick([
        () => scene.mark(verb, id),
        () => scene.ask({ type: "read", upto: String(cursor) }),
        () => scene.hear(marked(verb, [id], String(cursor + 1), String(cursor++), hub)),
      ])();
      for (const count of Object.values(scene.shown.counts)) assert.ok(count >= 0);
    }
    while (scene.outbox.jobs.length > 0) scene.ack(scene.send(), String(cursor), []);
    assert.deepEqual(scene.shown.counts, scene.inbox.counts);
  }
});

/** Numbers in [0, 1), the same each time. */
function lehmer(seed) {
  return () => (seed = (seed * 48271) % 2147483647) / 2147483647;
}

test("an inbox remembers the last 500 events, however long a page stays open", () => {
  const scene = three();
  for (let cursor = 2; cursor < 1000; cursor++) {
    scene.hear(marked("read", ["a"], String(cursor), String(cursor - 1), counts(2, 2, 3)));
  }
  const { trail } = scene.inbox;
  assert.deepEqual([trail.length, trail[0].cursor, trail.at(-1).cursor], [500, "500", "999"]);
});

// What is sent

test("marks of one verb are one frame, in which each id stands once", () => {
  const scene = three();
  scene.mark("read", "a");
  scene.mark("read", "b", "a");
  assert.deepEqual(scene.frames, [{ type: "read", ids: ["a", "b"], op: "o1" }]);
});

test("a mark that may have been sent never changes: the next one is another frame", () => {
  const scene = three();
  scene.mark("read", "a");
  const first = frameOf(scene.send());
  scene.mark("read", "b");
  assert.deepEqual(scene.frames, [first, { type: "read", ids: ["b"], op: "o2" }]);
});

test("marks join only the latest frame: their order may count", () => {
  const scene = three();
  scene.mark("read", "a");
  scene.mark("archive", "a");
  scene.mark("read", "b");
  assert.deepEqual(
    scene.frames.map(({ type, ids }) => [type, ...ids]),
    [["read", "a"], ["archive", "a"], ["read", "b"]],
  );
});

test("nothing passes a mark-all or a list", () => {
  for (const barrier of [{ type: "read", upto: "1" }, { type: "list" }]) {
    const scene = three();
    scene.mark("archive", "a");
    scene.ask(barrier);
    scene.mark("archive", "b");
    scene.mark("unarchive", "a");
    assert.deepEqual(
      scene.frames.map(({ type }) => type),
      ["archive", barrier.type, "archive", "unarchive"],
    );
  }
});

test("a mark-all joins no mark of its verb", () => {
  const scene = three();
  scene.mark("read", "a");
  scene.ask({ type: "read", upto: "1" });
  assert.deepEqual(scene.frames, [{ type: "read", ids: ["a"], op: "o1" }, { type: "read", upto: "1", op: "o2" }]);
});

test("at most 500 ids are one frame", () => {
  const scene = three();
  scene.mark("read", ...Array.from({ length: IDS - 1 }, (_, place) => `x${place}`));
  scene.mark("read", "a", "b");
  assert.deepEqual(scene.frames.map(({ ids }) => ids.length), [IDS - 1, 2]);
});

test("an archive that was not sent is not sent at all once it is taken back, and both calls are answered", () => {
  const scene = three();
  const archive = [scene.mark("archive", "a"), scene.mark("archive", "b")];
  const undo = scene.mark("unarchive", "b", "a");
  assert.deepEqual(scene.frames, [{ type: "unarchive", ids: ["a", "b"], op: "o1" }]);
  assert.deepEqual(scene.outbox.jobs[0].asks, [...archive, undo]);
  assert.deepEqual(scene.shown.ids, ["c", "b", "a"]);
});

test("an archive of which only a part is taken back is sent", () => {
  const scene = three();
  scene.mark("archive", "a", "b");
  scene.mark("unarchive", "a");
  assert.deepEqual(scene.frames.map(({ type }) => type), ["archive", "unarchive"]);
  assert.deepEqual(scene.shown.ids, ["c", "a"]);
});

test("an archive that may have been sent is followed by its undoing", () => {
  const scene = three();
  scene.mark("archive", "a");
  scene.send();
  scene.mark("unarchive", "a");
  assert.deepEqual(scene.frames.map(({ type }) => type), ["archive", "unarchive"]);
});

test("calls that were refused together go again one by one, in their place", () => {
  const scene = three();
  scene.mark("read", "a");
  scene.mark("read", "b");
  scene.mark("archive", "c");
  scene.outbox.split(scene.send(), scene.op);
  assert.deepEqual(scene.frames, [
    { type: "read", ids: ["a"], op: "o4" },
    { type: "read", ids: ["b"], op: "o5" },
    { type: "archive", ids: ["c"], op: "o3" },
  ]);
});

test("a call that is withdrawn is as if it had never been, whatever it followed or was followed by", () => {
  const calls = [["archive", "a"], ["unarchive", "a"], ["unarchive", "a", "b"], ["archive", "a"], ["archive", "b"]];
  for (const place of calls.keys()) {
    const [scene, without] = [three(), three()];
    const { signal } = new AbortController();
    for (const [at, [verb, ...ids]] of calls.entries()) {
      if (at === place) scene.ask({ type: verb }, { ids, signal, reject() {} });
      else for (const one of [scene, without]) one.mark(verb, ...ids);
    }
    const [{ reject }] = scene.outbox.jobs.flatMap(({ asks }) => asks).filter((ask) => ask.signal);
    scene.outbox.withdraw(reject);
    assert.deepEqual(effect(scene.frames), effect(without.frames), `without call ${place}`);
    assert.deepEqual(scene.shown, without.shown, `without call ${place}`);
  }
});

/** What frames do: the last verb of each id. */
function effect(frames) {
  return Object.fromEntries(frames.flatMap(({ type, ids }) => ids.map((id) => [id, type])));
}

test("an archive is sent after all when its undoing is withdrawn", () => {
  const scene = three();
  scene.mark("archive", "a");
  const undo = scene.ask({ type: "unarchive" }, { ids: ["a"], signal: new AbortController().signal, reject() {} });
  scene.outbox.withdraw(undo.reject);
  assert.deepEqual(scene.frames, [{ type: "archive", ids: ["a"], op: "o1" }]);
  assert.deepEqual(scene.shown.ids, ["c", "b"]);
});

test("a call that was sent stays when it is withdrawn", () => {
  const scene = three();
  const mark = scene.mark("read", "a");
  scene.send();
  scene.outbox.withdraw(mark.reject);
  assert.deepEqual(scene.frames, [{ type: "read", ids: ["a"], op: "o1" }]);
});

test("a call of a frame that was refused can be withdrawn while it waits to go again by itself", () => {
  const scene = three();
  const first = scene.mark("read", "a");
  scene.mark("read", "b");
  scene.outbox.split(scene.send(), scene.op);
  scene.outbox.withdraw(first.reject);
  assert.deepEqual(scene.frames.map(({ ids }) => ids), [["b"]]);
});

test("501 ids and a 501st waiting request are refused", () => {
  const scene = three();
  assert.throws(() => scene.mark("read", ...Array(IDS + 1).fill("a")), /501 ids, at most 500/);
  for (let place = 0; place < WAITING; place++) scene.ask({ type: "list" });
  assert.throws(() => scene.mark("read", "a"), /500 calls are waiting/);
});

// Over a reload

function kept(scene) {
  return scene.outbox.marks.map((job) => ({ ...frameOf(job), at: job.at }));
}

test("marks that were kept are the same frames in the same order, and show again", () => {
  const before = three();
  before.mark("archive", "a");
  before.ask({ type: "list" });
  before.ask({ type: "seen", upto: "1", topic: "orders" });
  const after = three();
  after.outbox.load(JSON.parse(JSON.stringify(kept(before))), NOW);
  assert.deepEqual(after.frames, [
    { type: "archive", ids: ["a"], op: "o1" },
    { type: "seen", upto: "1", topic: "orders", op: "o3" },
  ]);
  assert.deepEqual(after.shown.ids, ["c", "b"]);
});

test("a mark that was kept may have been sent: nothing joins it, nothing undoes it", () => {
  const before = three();
  before.mark("archive", "a");
  const after = three();
  after.outbox.load(kept(before), NOW);
  after.op();
  after.mark("archive", "b");
  after.mark("unarchive", "a");
  assert.deepEqual(after.frames.map(({ type }) => type), ["archive", "archive", "unarchive"]);
});

test("what is known already is not loaded twice, and what is older than a week not at all", () => {
  const scene = three();
  scene.mark("archive", "a");
  const old = { type: "read", ids: ["b"], op: "old", at: NOW - KEPT_MS - 1 };
  scene.outbox.load([...kept(scene), old], NOW);
  assert.deepEqual(scene.frames.map(({ op }) => op), ["o1"]);
});

test("of too many only the latest 500 are loaded", () => {
  const many = Array.from({ length: WAITING + 1 }, (_, place) => ({
    type: "read",
    ids: ["a"],
    op: `k${place}`,
    at: NOW + place,
  }));
  const scene = three();
  scene.outbox.load(many, NOW);
  assert.equal(scene.frames.length, WAITING);
  assert.equal(scene.frames[0].op, "k1");
});
