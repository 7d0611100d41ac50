/** What one tab says to the others and makes of what they say: all of `tabs.js` that needs no second page. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Tabs } from "../../static/tabs.js";
import { arrival, counts, entry, snapshot, WELCOME } from "./said.mjs";

globalThis.document = { hidden: false };
Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true, writable: true });

/** A tab `me` of ann. It follows until `lead` gives it the lock; `hear` is what another tab says, `said` what it says. */
class Scene {
  said = [];
  asked = [];
  now = 100_000;
  mine = null;
  user = null;
  woken = 0;

  constructor() {
    document.hidden = false;
    const request = (name, how, lead) => new Promise((done) => this.asked.push({ name, how, lead: () => done(lead()) }));
    navigator.locks = { request };
    const said = this.said;
    const channel = (this.channel = { postMessage: (message) => said.push(message), close() {} });
    this.clock = {
      now: () => this.now,
      setTimeout: (tick) => (this.tick = tick),
      clearTimeout: () => (this.tick = null),
    };
    this.tabs = new Tabs({
      id: "me",
      name: "feed",
      mine: () => this.mine,
      changed() {},
      wake: () => this.woken++,
      signedIn: (user) => (this.user = user),
      clock: this.clock,
      Channel: class {
        constructor() {
          return channel;
        }
      },
    });
    this.tabs.start("ann");
  }

  lead() {
    this.asked.pop().lead();
    return this;
  }

  hear(message) {
    this.channel.onmessage({ data: { of: "ann", from: "other", ...message } });
    return this.said.splice(0);
  }

  /** The next beats, after this long each. */
  beat(ms, times = 1) {
    for (let time = 0; time < times; time++) {
      this.now += ms;
      this.tick();
    }
    return this;
  }

  /** Holds what the hub has told of these frames, as a leader. */
  holds(cursor, ...frames) {
    const subscribed = snapshot(cursor, [entry("a")]);
    this.mine = { welcome: WELCOME, subscribed, inbox: { cursor, counts: counts(1, 1, 1), entries: [entry("a")], after: null } };
    for (const frame of frames) this.tabs.tookIn(frame);
    this.said.length = 0;
    return this;
  }

  /** What a tab is told that holds the feed up to this cursor: how it is answered, and the events that follow. */
  told(cursor) {
    const [{ frame: subscribed }, ...events] = this.hear({ say: "ask", frame: { type: "subscribe", ref: 7, cursor } });
    assert.equal(subscribed.missed, events.length);
    return [subscribed.mode, ...events.map(({ frame }) => frame.cursor)];
  }
}

/** An open line of a follower, and what it hears. */
function line(scene) {
  const heard = [];
  const socket = scene.tabs.open(() => assert.fail("a socket of its own"));
  socket.addEventListener("message", ({ data }) => heard.push(JSON.parse(data).type));
  socket.addEventListener("close", ({ code }) => heard.push(code));
  return heard;
}

const events = (from, to) => {
  const cursors = Array.from({ length: to - from }, (_, place) => from + place);
  return cursors.map((cursor) => arrival(`e${cursor}`, String(cursor + 1), String(cursor)));
};

test("a tab hears what is meant for it, and nothing that is meant for another tab or another user", () => {
  const scene = new Scene();
  const heard = line(scene);
  for (const other of [{ of: "bob" }, { to: "another" }]) {
    scene.hear({ say: "frame", frame: { type: "ping" }, ...other });
    scene.hear({ say: "down", code: 4503, ...other });
    scene.hear({ say: "yours", ...other });
  }
  assert.deepEqual([heard, scene.asked.length], [[], 1]);
  scene.hear({ say: "frame", frame: { type: "pong" }, to: "me" });
  scene.hear({ say: "frame", frame: { type: "entry" } });
  scene.hear({ say: "down", code: 1006 });
  assert.deepEqual(heard, ["pong", "entry", 1006]);
});

test("who has signed in is told to tabs of all users", () => {
  const scene = new Scene();
  scene.hear({ say: "user", user: "bob", of: "bob" });
  assert.equal(scene.user, "bob");
});

test("a tab that was away is told the events since, or that there is nothing, or everything", () => {
  const scene = new Scene().lead().holds("5", ...events(1, 5));
  assert.deepEqual(scene.told("5"), ["live"]);
  assert.deepEqual(scene.told("3"), ["replay", "4", "5"]);
  assert.deepEqual(scene.told("unknown"), ["snapshot"]);
  assert.deepEqual(scene.told(undefined), ["snapshot"]);
});

test("events from before a snapshot lead nowhere, and are told to nobody", () => {
  const scene = new Scene().lead().holds("9", ...events(1, 5), snapshot("8", []), ...events(8, 9));
  assert.deepEqual(scene.told("3"), ["snapshot"]);
  assert.deepEqual(scene.told("8"), ["replay", "9"]);
});

test("the latest hundred events are kept for tabs that were away", () => {
  const scene = new Scene().lead().holds("200", ...events(0, 200));
  assert.equal(scene.told("100").length, 101);
  assert.deepEqual(scene.told("99"), ["snapshot"]);
});

test("who leads next can tell those that were away what it heard as a follower", () => {
  const scene = new Scene().holds("5", ...events(1, 5)).lead();
  assert.deepEqual(scene.told("3"), ["replay", "4", "5"]);
});

test("what a leader has taken in is told to the others: an event itself, anything else as a reason to start again", () => {
  const leader = new Scene().lead();
  const [event] = events(1, 2);
  leader.tabs.tookIn(event);
  leader.tabs.tookIn(snapshot("9", []));
  assert.deepEqual(leader.said.map(({ say, frame }) => [say, frame]), [["frame", event], ["up", undefined]]);

  const follower = new Scene();
  const heard = line(follower);
  const { woken } = follower;
  follower.hear({ say: "up" });
  assert.deepEqual([heard, follower.woken - woken], [[1012], 1]);
  follower.tabs.tookIn(event);
  assert.deepEqual(follower.said, []);
});

test("a leader that is not connected answers nobody: its welcome will be told to all", () => {
  assert.deepEqual(new Scene().lead().hear({ say: "ask", frame: { type: "auth" } }), []);
});

test("a request of another tab goes to the hub under that tab's name, and the answer to that tab only", () => {
  const scene = new Scene().lead().holds("5");
  const out = [];
  scene.tabs.open(() => Object.assign(new EventTarget(), { send: (text) => out.push(JSON.parse(text)) }));
  scene.hear({ say: "ask", frame: { type: "read", ids: ["a"], ref: 7 } });
  assert.deepEqual(out, [{ type: "read", ids: ["a"], ref: "other 7" }]);
  assert.ok(scene.tabs.passOn({ type: "ack", ref: "other 7" }));
  assert.deepEqual(scene.said, [{ say: "frame", to: "other", frame: { type: "ack", ref: 7 }, of: "ann", from: "me" }]);
  for (const ref of [7, undefined]) assert.ok(!scene.tabs.passOn({ type: "ack", ref }));
});

test("only a leader that is hidden gives its place away, and only a tab that is seen takes one", () => {
  const leader = new Scene().lead();
  assert.deepEqual(leader.hear({ say: "take" }), []);
  document.hidden = true;
  assert.deepEqual(leader.hear({ say: "take" }).map(({ say, to }) => [say, to]), [["yours", "other"]]);
  const follower = new Scene();
  assert.deepEqual(follower.hear({ say: "offer" }).map(({ say }) => say), ["take"]);
  document.hidden = true;
  assert.deepEqual(follower.hear({ say: "offer" }), []);
});

test("a leader that is silent for more than eight seconds loses its place to a tab that is seen", () => {
  const scene = new Scene().beat(2000, 3);
  scene.hear({ say: "beat" });
  scene.beat(2000, 4);
  assert.equal(scene.asked.length, 1);
  scene.beat(2000);
  assert.deepEqual(scene.asked.at(-1).how, { steal: true });
  scene.beat(2000, 4);
  assert.equal(scene.asked.length, 2, "once, and then it has its time to answer");
});

test("a tab that is hidden takes no place; once it is seen it does not wait any longer", () => {
  const scene = new Scene();
  document.hidden = true;
  scene.beat(2000, 30);
  assert.equal(scene.asked.length, 1);
  document.hidden = false;
  scene.tabs.looked();
  scene.beat(2000);
  assert.deepEqual(scene.asked.at(-1).how, { steal: true });
});

test("a tab that slept believes no leader silent that it could not hear, and asks", () => {
  const scene = new Scene().beat(2000, 2);
  const { woken } = scene;
  scene.beat(60_000);
  assert.deepEqual([scene.asked.length, scene.woken - woken], [1, 1]);
});

test("a tab that has left leads nobody, even if the lock comes to it then", () => {
  const scene = new Scene();
  scene.tabs.stop();
  scene.lead();
  assert.deepEqual([scene.tabs.role, scene.tick], ["follower", null]);
});
