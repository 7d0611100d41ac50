/**
 * The demo page of a hub in development mode: two devices of one user, a send panel, and the frames as they pass.
 * Everything that came from a hub is put into the page as text, never as markup.
 * @module
 */

import "./bell.js";
import { BellhubClient } from "./client.js";

const API_KEY = "pk_dev";
const SECRET_KEY = "sk_dev";
const CHANNEL = "inbox";
const SEND = "v1/messaging/notifications";
const COUNTS = `user/v1/channels/${CHANNEL}/feed/counts`;
/** How long a token that is to expire still lives, s. */
const LAST_S = 2;
const BURST = 20;
/** Frames kept in a log. */
const FRAMES = 100;
/** Between a change and asking the hub whether it counts the same, ms: a burst is one question. */
const CALM_MS = 200;

const ELSEWHERE = "The socket is another tab’s: try it there.";

const MAYA = { id: "maya", type: "user", name: "Maya Lind" };
const JONAS = { id: "jonas", type: "user", name: "Jonas Berg" };
const AGENT = { id: "stock-agent", type: "agent", name: "Stock Agent" };

/** @typedef {import("./inbox.js").Frame} Frame */
/** @typedef {import("./client.js").Snapshot} Snapshot */
/** @typedef {Snapshot["counts"]} Counts */

/** What such a shop sends: a text for each category. @type {Record<string, any>} */
const SAMPLES = {
  "chat.message": {
    title: "Maya Lind",
    body: "The terracotta pots are in. Shall I put some in the window?",
    sender: MAYA,
  },
  "chat.mention": {
    title: "Maya mentioned you in #wholesale",
    body: "Can we promise forty ferns by Friday?",
    priority: "high",
    sender: MAYA,
  },
  "chat.added": { title: "Jonas added you to #spring-fair", body: "14 people are in it.", priority: "low", sender: JONAS },
  "order.updated": {
    title: "Order 1042 has shipped",
    body: "Two monsteras for M. Okafor arrive tomorrow before noon.",
    url: "#order-1042",
    resource: { id: "1042", type: "order" },
    data: { state: "Shipped" },
  },
  "agent.run_completed": {
    title: "Stock count finished",
    body: "212 plants counted. Three kinds should be ordered again.",
    sender: AGENT,
  },
  "agent.alert": {
    title: "Greenhouse 2 is too cold",
    body: "7 °C and falling: the night heating has not started.",
    priority: "high",
    sender: AGENT,
  },
  "system.broadcast": {
    title: "Maintenance on Sunday",
    body: "Orders cannot be changed from 02:00 to 02:15.",
    priority: "low",
  },
};
const CATEGORIES = Object.keys(SAMPLES);

/** The element of the page. @returns {any} */
const $ = (/** @type {string} */ selector, /** @type {ParentNode} */ root = document) => root.querySelector(selector);

/** The way to the hub, with a knife. `open` stands in for the `WebSocket` constructor. */
class Line {
  /** @type {WebSocket | null} */
  #socket = null;
  #cut = false;

  open = (/** @type {string} */ address, /** @type {string[]} */ protocols) => {
    if (this.#cut) return deadSocket();
    this.#socket = new WebSocket(address, protocols);
    return this.#socket;
  };

  cut() {
    this.#cut = true;
    this.#socket?.close();
  }

  mend() {
    this.#cut = false;
  }

  /** @returns {boolean} whether there was a socket to say it on */
  say(/** @type {Frame} */ frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }
}

/** What a socket is without a network: soon closed. */
function deadSocket() {
  const socket = Object.assign(new EventTarget(), { close() {}, send() {} });
  setTimeout(() => socket.dispatchEvent(new CloseEvent("close", { code: 1006 })));
  return socket;
}

/** `new` on a function that returns an object gives that object. @returns {any} */
function constructorOf(/** @type {Line} */ line) {
  return function (/** @type {string} */ address, /** @type {string[]} */ protocols) {
    return line.open(address, protocols);
  };
}

async function fetchToken(/** @type {string} */ user, lives_s = 3600) {
  const query = new URLSearchParams({ user, lives_s: String(lives_s) });
  const answer = await fetch(`demo/token?${query}`, { cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.text();
}

/** A log of frames. */
class Wire {
  #list;
  #sum;
  #count = 0;
  #bytes = 0;

  constructor(/** @type {string} */ name) {
    this.#list = $(`.frames[data-of="${name}"]`);
    this.#sum = $(".sum", this.#list.parentElement);
  }

  clear() {
    this.#count = this.#bytes = 0;
    this.#list.replaceChildren();
    this.#sum.textContent = "none yet";
  }

  /**
   * @param {{direction: string, frame: Frame, size: number}} passed
   * @param {"hub" | "tab"} by who is at the other end, the hub or the tab that has the socket
   */
  show({ direction, frame, size }, by = "hub") {
    const item = $("#frame").content.firstElementChild.cloneNode(true);
    item.dataset.direction = direction;
    item.dataset.by = by;
    $(".way", item).textContent = direction === "in" ? "↓" : "↑";
    $(".way", item).title = direction === "in" ? `from the ${by}` : `to the ${by}`;
    $(".type", item).textContent = frame.type;
    $(".brief", item).textContent = by === "hub" ? brief(frame) : `${brief(frame)} (between tabs)`;
    $(".size", item).textContent = `${size} B`;
    $("details", item).addEventListener("toggle", () => {
      $("pre", item).textContent = JSON.stringify(frame, null, 2);
    });
    this.#list.prepend(item);
    if (this.#list.children.length > FRAMES) this.#list.lastElementChild.remove();
    this.#bytes += size;
    this.#sum.textContent = `${++this.#count} · ${(this.#bytes / 1000).toFixed(1)} kB`;
  }
}

/** What a frame is about, in a few words. @param {Frame} frame */
function brief({ mode, verbs, ids, upto, reason, code, missed, entry, changed, token, user, expires_at }) {
  if (mode) return missed === undefined ? mode : `${mode}, ${missed} missed`;
  if (verbs) return `${verbs.join(" + ")} × ${ids.length}`;
  if (changed) return `${changed.length} changed`;
  if (ids) return `${reason ?? ""} × ${ids.length}`.trim();
  if (upto) return "everything so far";
  if (entry) return entry.data.title ?? "";
  if (reason || code) return [code, reason].filter(Boolean).join(" ");
  if (token) return "token";
  return user ?? (expires_at ? `ends ${clock.format(new Date(expires_at))}` : "");
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** One device: a client with a line of its own, what it says, and its knobs. */
class Device {
  #element;
  #line = new Line();
  #wire;
  #options;
  /** @type {BellhubClient | null} */
  #client = null;
  #user = "";
  #cut = false;
  /** Ids of entries, and when they came. */
  arrivals = new Map();

  /** @param {string} name @param {{tabs?: boolean, storage?: null}} options of its client */
  constructor(name, options) {
    this.name = name;
    this.#options = options;
    this.#wire = new Wire(name);
    this.#element = $(`#${name}`);
    $(".cut", this.#element).addEventListener("click", () => this.#knife());
    $(".expire", this.#element).addEventListener("click", () => this.#expire());
  }

  get snapshot() {
    return this.#client?.getSnapshot();
  }

  get isCut() {
    return this.#cut;
  }

  /**
   * Another user: another client, for the element too.
   * @param {string} user
   * @param {import("./element.js").BellElement} element
   * @param {() => void} changed
   * @param {(entry: import("./inbox.js").Entry) => void} [heard]
   */
  signIn(user, element, changed, heard = () => {}) {
    this.#client?.close();
    if (this.#cut) this.#knife();
    this.#wire.clear();
    this.arrivals.clear();
    this.#user = user;
    const client = new BellhubClient({
      apiKey: API_KEY,
      channel: CHANNEL,
      user,
      getToken: () => fetchToken(user),
      WebSocket: constructorOf(this.#line),
      ...this.#options,
    });
    const on = (/** @type {string} */ type, /** @type {(detail: any) => void} */ fn) =>
      client.addEventListener(type, (event) => fn(/** @type {CustomEvent} */ (event).detail));
    on("frame", (detail) => this.#frame(detail));
    on("notification", ({ entry }) => {
      this.arrivals.set(entry.id, performance.now());
      showSent();
      heard(entry);
    });
    on("error", ({ error }) => this.#say(error.message));
    client.subscribe(() => {
      this.#showState();
      changed();
    });
    this.#client = element.client = client;
    client.connect();
    this.#showState();
  }

  #knife() {
    if (!this.#cut && this.snapshot?.role === "follower") return this.#say(ELSEWHERE);
    this.#cut = !this.#cut;
    const button = $(".cut", this.#element);
    button.setAttribute("aria-pressed", String(this.#cut));
    button.textContent = this.#cut ? "Mend network" : "Cut network";
    if (this.#cut) {
      this.#line.cut();
      this.#say("No network. Marks are kept, and sent later.");
    } else {
      this.#line.mend();
      this.#client?.connect();
    }
    this.#showState();
  }

  /** The session goes on with a token that ends at once: the client will be told, and fetch another. */
  async #expire() {
    const token = await fetchToken(this.#user, LAST_S);
    const frame = { type: "refresh", ref: "expire", token };
    if (!this.#line.say(frame)) return this.#say(this.#cut ? "No network, no socket." : ELSEWHERE);
    this.#wire.show({ direction: "out", frame: { ...frame, token: "…" }, size: JSON.stringify(frame).length });
    this.#say("The token is about to end…");
  }

  #frame(/** @type {any} */ detail) {
    this.#wire.show(detail, this.snapshot?.role === "follower" ? "tab" : "hub");
    const { type, mode, missed, ref } = detail.frame;
    if (type === "refreshed" && ref !== "expire") this.#say("Token renewed, on the open socket.");
    if (type === "subscribed" && mode === "replay") this.#say(`Back again: caught up on ${missed} missed.`);
    else if (type === "subscribed" && mode === "live") this.#say("Back again: nothing was missed.");
  }

  #say(/** @type {string} */ text) {
    $(".said", this.#element).textContent = text;
  }

  #showState() {
    const { state, reason, role, pending } = /** @type {Snapshot} */ (this.snapshot);
    const status = $(".status", this.#element);
    const extra = state === "closed" ? reason?.reason : pending > 0 ? `${pending} to send` : role === "solo" ? "" : role;
    status.textContent = [state, extra].filter(Boolean).join(", ");
    status.dataset.state = state;
  }
}

// ---- the page ----------------------------------------------------------------------------------------

const form = $("#send");
const laptop = new Device("laptop", {});
// A device of its own: it shares neither a socket nor a storage with the tabs of this browser.
const phone = new Device("phone", { tabs: false, storage: null });
const devices = [laptop, phone];

/** Who is signed in. */
let me = "";
/** What was sent last, and when. */
let sent = { ids: /** @type {string[]} */ ([]), start: 0 };

function signIn() {
  me = $("#user").value.trim();
  sent = { ids: [], start: 0 };
  laptop.signIn(me, $("notification-bell"), changed, showOrder);
  phone.signIn(me, $("notification-inbox"), changed);
  $(".avatar").textContent = [...me][0].toUpperCase();
  $(".me").textContent = me;
  showCode();
  changed();
}

/** The product itself listens, too. @param {import("./inbox.js").Entry} entry */
function showOrder({ resource, data }) {
  const row = resource?.type === "order" ? document.getElementById(`order-${resource.id}`) : null;
  if (!row || typeof data.state !== "string") return;
  const state = $(".state", row);
  state.textContent = data.state;
  state.dataset.fresh = "";
}

function changed() {
  const { unseen } = phone.snapshot?.counts ?? { unseen: 0 };
  const badge = $(".tabs .badge");
  badge.textContent = unseen > 99 ? "99+" : String(unseen);
  badge.hidden = unseen === 0;
  for (const { name, snapshot } of devices) showCounts(name, snapshot?.counts);
  // What was said is of before, and so is an answer that is on its way.
  asked++;
  judge("Asking the hub…");
  clearTimeout(asking);
  asking = setTimeout(compare, CALM_MS);
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let asking;
let asked = 0;

/** Does the hub count what the devices show? */
async function compare() {
  const mine = ++asked;
  try {
    const token = await fetchToken(me);
    const headers = { "x-notiflows-api-key": API_KEY, "x-notiflows-user-key": token };
    const answer = await fetch(COUNTS, { headers, cache: "no-store" });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const { unseen, unread, total } = await answer.json();
    if (mine !== asked) return;
    const truth = { unseen, unread, total };
    showCounts("hub", truth);
    const behind = devices.filter(({ snapshot }) => snapshot?.pending || !same(snapshot?.counts, truth)).map(({ name }) => name);
    if (behind.length === 0) judge("All three agree", true);
    else judge(`Not up to date: ${behind.join(", ")}`, false);
  } catch (error) {
    if (mine === asked) judge(`The hub does not answer: ${messageOf(error)}`);
  }
}

/** @param {string} text @param {boolean} [agree] */
function judge(text, agree) {
  const verdict = $("#verdict");
  verdict.textContent = text;
  if (agree === undefined) delete verdict.dataset.agree;
  else verdict.dataset.agree = String(agree);
}

function messageOf(/** @type {any} */ error) {
  return error.message;
}

function same(/** @type {any} */ counts, /** @type {any} */ truth) {
  return Boolean(counts) && Object.keys(truth).every((key) => counts[key] === truth[key]);
}

function showCounts(/** @type {string} */ name, /** @type {Counts | undefined} */ counts) {
  const { unseen, unread, total } = counts ?? { unseen: "", unread: "", total: "" };
  const cells = document.querySelectorAll(`.agree [data-of="${name}"] td`);
  [unseen, unread, total].forEach((count, at) => (cells[at].textContent = String(count)));
}

/** The texts of a category, until somebody writes their own. */
function fill() {
  const sample = SAMPLES[form.elements.category.value];
  form.elements.title.value = sample.title;
  form.elements.body.value = sample.body;
  form.elements.priority.value = sample.priority ?? "normal";
  showCode();
}

function notification() {
  const { title: _, body: __, priority: ___, ...sample } = SAMPLES[form.elements.category.value];
  const { category, title, body, priority } = Object.fromEntries(new FormData(form));
  return { category, target: { type: "user", id: me }, title, ...(body && { body }), priority, ...sample };
}

/** One of a burst: all categories in turn. */
function nth(/** @type {number} */ number) {
  const category = CATEGORIES[number % CATEGORIES.length];
  return { category, target: { type: "user", id: me }, ...SAMPLES[category] };
}

/** @param {object} body @returns {Promise<string>} the id */
async function send(body) {
  const response = await fetch(SEND, {
    method: "POST",
    headers: { Authorization: `Bearer ${SECRET_KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error?.message ?? `HTTP ${response.status}`);
  return answer.id;
}

async function sendAll(/** @type {object[]} */ bodies) {
  const start = performance.now();
  $("#sent").textContent = "Sending…";
  try {
    sent = { ids: await Promise.all(bodies.map(send)), start };
    showSent();
  } catch (error) {
    $("#sent").textContent = `Not sent: ${messageOf(error)}`;
  }
  changed();
}

function showSent() {
  if (sent.ids.length > 0) $("#sent").textContent = `${sent.ids.length} sent. ${devices.map(arrived).join(", ")}.`;
}

/** How long after the send a device had all of it. @param {Device} device */
function arrived({ name, arrivals, isCut }) {
  const times = sent.ids.map((id) => arrivals.get(id)).filter(Boolean);
  const Name = name[0].toUpperCase() + name.slice(1);
  if (times.length < sent.ids.length) return `${Name}: ${isCut ? "cut off" : "on the way"}`;
  return `${Name}: ${Math.max(1, Math.round(Math.max(...times) - sent.start))} ms`;
}

function showCode() {
  const quoted = (/** @type {string} */ text) => `'${text.replaceAll("'", "'\\''")}'`;
  const attribute = (/** @type {string} */ text) => `"${text.replaceAll("&", "&amp;").replaceAll('"', "&quot;")}"`;
  const here = (/** @type {string} */ path) => new URL(path, document.baseURI).href;
  $("#snippet").textContent = [
    `<script type="module" src="${here("static/bell.js")}"></script>`,
    `<notification-bell api-key="${API_KEY}" user=${attribute(me)}>`,
    `</notification-bell>`,
  ].join("\n");
  $("#curl").textContent = [
    `curl ${here(SEND)}`,
    `-H ${quoted(`Authorization: Bearer ${SECRET_KEY}`)}`,
    `-H ${quoted("Content-Type: application/json")}`,
    `-d ${quoted(JSON.stringify(notification()))}`,
  ].join(" \\\n  ");
}

function showScreen(/** @type {string} */ name) {
  for (const tab of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".tabs button"))) {
    const here = tab.dataset.screen === name;
    if (here) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
    $(`.screen.${tab.dataset.screen}`).hidden = !here;
  }
}

$("#sign-in").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  signIn();
});
form.addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  sendAll([notification()]);
});
form.addEventListener("input", (/** @type {any} */ { target }) => (target.name === "category" ? fill() : showCode()));
$("#burst").addEventListener("click", () => sendAll(Array.from({ length: BURST }, (_, number) => nth(number))));
$(".tabs").addEventListener("click", (/** @type {any} */ { target }) => {
  const tab = target.closest("button");
  if (tab) showScreen(tab.dataset.screen);
});
$("notification-inbox").strings = { markAll: "Read {n}" };
// The links of the notifications lead into the laptop's product.
$("notification-inbox").addEventListener("bell-click", (/** @type {Event} */ event) => event.preventDefault());
$("#theme").addEventListener("click", () => {
  const { dataset } = document.documentElement;
  const dark = dataset.theme ? dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  dataset.theme = dark ? "light" : "dark";
});
document.addEventListener("click", (/** @type {any} */ { target }) => {
  const { copy } = target.dataset ?? {};
  if (copy) navigator.clipboard.writeText($(`#${copy}`).textContent);
});

$("#user").value = new URLSearchParams(location.search).get("user")?.trim() || "ann";
$(".island time").textContent = new Intl.DateTimeFormat(undefined, { timeStyle: "short" }).format(new Date());
fill();
signIn();
