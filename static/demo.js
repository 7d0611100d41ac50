/**
 * The demo page of a hub in development mode: two sessions of one user, a send box, and the frames as they pass.
 * Everything that came from a hub is put into the page as text, never as markup.
 * @module
 */

import { BellhubClient } from "./client.js";

const API_KEY = "pk_dev";
const SECRET_KEY = "sk_dev";
const CHANNEL = "inbox";
const SEND = "v1/messaging/notifications";
/** How long a cut line stays dead, ms: long enough to send something meanwhile. */
const CUT_MS = 4_000;
/** Frames kept in a wire log. */
const FRAMES = 100;

const $ = (selector, root = document) => root.querySelector(selector);
const fromTemplate = (id) => $(`#${id}`).content.firstElementChild.cloneNode(true);
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** The way to the hub, with a knife. `open` stands in for the `WebSocket` constructor. */
class Line {
  #socket = null;
  #cut = false;

  open = (address, protocols) => {
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
}

/** What a socket is without a network: soon closed. */
function deadSocket() {
  const socket = Object.assign(new EventTarget(), { close() {}, send() {} });
  setTimeout(() => socket.dispatchEvent(new CloseEvent("close", { code: 1006 })));
  return socket;
}

/** One session: a window with a bell, and its wire log. */
class Pane {
  element = fromTemplate("pane");
  #line = new Line();
  #client;
  #bell = $(".bell", this.element);
  #panel = $(".panel", this.element);
  #list = $(".entries", this.element);
  /** The row of each entry shown, by id. */
  #rows = new Map();
  /** The cursor up to which this bell has reported everything as seen. */
  #seen = null;

  constructor(name, user) {
    // Each pane plays a device of its own: it shares neither a socket nor a storage with the other.
    const device = { tabs: false, storage: null, WebSocket: constructorOf(this.#line) };
    this.#client = new BellhubClient({ apiKey: API_KEY, channel: CHANNEL, user, ...device });
    $(".name", this.element).textContent = name;
    this.element.setAttribute("aria-label", name);
    this.#listen();
    this.#showState({ state: "idle" });
    this.#showInbox();
    this.#client.connect();
  }

  close() {
    this.#client.close();
    this.element.remove();
  }

  #listen() {
    this.#client.addEventListener("state", ({ detail }) => this.#showState(detail));
    this.#client.addEventListener("change", () => this.#showInbox());
    this.#client.addEventListener("frame", ({ detail }) => this.#showFrame(detail));
    this.#client.addEventListener("error", ({ detail }) => this.#complain(detail.error));
    this.#bell.addEventListener("click", () => this.#toggle(this.#panel.hidden));
    this.#panel.addEventListener("keydown", ({ key }) => key === "Escape" && this.#toggle(false));
    this.#list.addEventListener("click", (event) => this.#act(event.target.closest("[data-verb]")));
    $(".all-read", this.element).addEventListener("click", () => this.#ask(this.#client.markAll("read")));
    $(".older", this.element).addEventListener("click", () => this.#ask(this.#client.older()));
    $(".cut", this.element).addEventListener("click", ({ target }) => this.#cut(target));
  }

  #toggle(open) {
    this.#panel.hidden = !open;
    this.#bell.setAttribute("aria-expanded", String(open));
    if (open) this.look();
    else this.#bell.focus();
  }

  /** Everything in an open bell is seen, but only what is in it: what arrives later is not. */
  look() {
    const { counts, cursor } = this.#client.getSnapshot();
    if (this.#panel.hidden || document.hidden || counts.unseen === 0 || cursor === this.#seen) return;
    this.#seen = cursor;
    this.#ask(this.#client.markAll("seen", { upto: cursor }));
  }

  #act(button) {
    if (button) this.#ask(this.#client.mark(button.dataset.verb, [button.closest("li").dataset.id]));
  }

  #cut(button) {
    button.disabled = true;
    this.#line.cut();
    setTimeout(() => {
      this.#line.mend();
      button.disabled = false;
      if (this.#client.getSnapshot().state === "reconnecting") this.#client.connect();
    }, CUT_MS);
  }

  async #ask(answer) {
    this.#complain(null);
    try {
      await answer;
    } catch (error) {
      // A client that was closed has no page to complain on.
      if (error.code !== "closed") this.#complain(error);
    }
  }

  #complain(error) {
    $(".problem", this.element).textContent = error === null ? "" : error.message;
  }

  #showState({ state, reason }) {
    const status = $(".status", this.element);
    status.textContent = state === "closed" && reason ? `closed: ${reason}` : state;
    status.dataset.state = state;
  }

  #showInbox() {
    const { entries, counts, more } = this.#client.getSnapshot();
    for (const cell of this.element.querySelectorAll("[data-count]")) {
      cell.textContent = counts[cell.dataset.count];
    }
    this.#showBadge(counts.unseen);
    this.#showRows(entries);
    $(".empty", this.element).hidden = entries.length > 0;
    $(".older", this.element).hidden = !more;
    $(".all-read", this.element).disabled = counts.unread === 0;
    this.look();
  }

  #showBadge(unseen) {
    const badge = $(".badge", this.element);
    badge.textContent = unseen > 99 ? "99+" : String(unseen);
    badge.hidden = unseen === 0;
    this.#bell.setAttribute("aria-label", unseen === 0 ? "Notifications" : `Notifications, ${unseen} unseen`);
  }

  /** Rows are kept and only moved when they must be: a rebuilt list would lose the focus. */
  #showRows(entries) {
    const focus = this.#focusAfter(new Set(entries.map((entry) => entry.id)));
    const rows = new Map(entries.map((entry) => [entry.id, this.#rows.get(entry.id) ?? fromTemplate("entry")]));
    for (const [id, row] of this.#rows) if (!rows.has(id)) row.remove();
    entries.forEach((entry, place) => {
      const row = rows.get(entry.id);
      if (this.#list.children[place] !== row) this.#list.insertBefore(row, this.#list.children[place] ?? null);
      showEntry(row, entry);
    });
    this.#rows = rows;
    focus?.focus();
  }

  /** Where the keyboard goes on when its row leaves: to the same button of the next row, or to the bell. */
  #focusAfter(staying) {
    const button = document.activeElement;
    const row = this.#list.contains(button) ? button.closest("li") : null;
    if (row === null || staying.has(row.dataset.id)) return null;
    const { verb } = button.dataset;
    const neighbours = [row.nextElementSibling, row.previousElementSibling];
    const next = neighbours.find((other) => staying.has(other?.dataset.id));
    return next ? $(`[data-verb="${verb}"]`, next) : this.#bell;
  }

  #showFrame({ direction, frame, size }) {
    const item = fromTemplate("frame");
    item.dataset.direction = direction;
    $(".way", item).textContent = direction === "in" ? "↓" : "↑";
    $(".type", item).textContent = frame.type;
    $(".brief", item).textContent = brief(frame);
    $(".size", item).textContent = `${size} B`;
    $("details", item).addEventListener("toggle", () => {
      $("pre", item).textContent = JSON.stringify(frame, null, 2);
    });
    const log = $(".frames", this.element);
    log.prepend(item);
    if (log.children.length > FRAMES) log.lastElementChild.remove();
  }
}

/** `new` on a function that returns an object gives that object. */
function constructorOf(line) {
  return function (address, protocols) {
    return line.open(address, protocols);
  };
}

function showEntry(row, entry) {
  const title = entry.data.title ?? entry.notiflow_handle;
  const unread = entry.read_at === null;
  row.dataset.id = entry.id;
  row.dataset.priority = entry.priority;
  row.dataset.status = entry.status;
  row.classList.toggle("unread", unread);
  $(".title", row).textContent = title;
  $(".text", row).textContent = entry.data.body ?? "";
  $(".category", row).textContent = entry.category ?? "";
  $(".unread-word", row).hidden = !unread;
  const time = $("time", row);
  time.dateTime = entry.sent_at;
  time.textContent = clock.format(new Date(entry.sent_at));
  // `disabled` would throw the focus away.
  $('[data-verb="read"]', row).setAttribute("aria-disabled", String(!unread));
  for (const button of row.querySelectorAll(".actions button")) {
    button.setAttribute("aria-label", `${button.textContent}: ${title}`);
  }
}

/** What a frame is about, in a few words. */
function brief(frame) {
  const { mode, verbs, ids, upto, reason, code, missed, entry, changed } = frame;
  if (mode) return missed === undefined ? mode : `${mode}, ${missed} missed`;
  if (verbs) return `${verbs.join(" + ")} × ${ids.length}`;
  if (changed) return `${changed.length} changed`;
  if (ids) return `${reason ?? ""} × ${ids.length}`.trim();
  if (upto) return "everything so far";
  if (entry) return entry.data.title ?? "";
  if (reason || code) return [code, reason].filter(Boolean).join(" ");
  return "";
}

// ---- the page ----------------------------------------------------------------------------------------

const sendForm = $("#send");
let panes = [];

function signIn() {
  for (const pane of panes) pane.close();
  panes = ["Laptop", "Phone"].map((name) => new Pane(name, user()));
  $("#panes").append(...panes.map((pane) => pane.element));
  showCurl();
}

function user() {
  return $("#user").value.trim();
}

function notification() {
  const { category, title, body, priority } = Object.fromEntries(new FormData(sendForm));
  const notification = { category, target: { type: "user", id: user() }, title, body, priority };
  if (body === "") delete notification.body;
  return notification;
}

async function send() {
  const response = await fetch(SEND, {
    method: "POST",
    headers: { Authorization: `Bearer ${SECRET_KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify(notification()),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error?.message ?? `HTTP ${response.status}`);
  return answer.id;
}

function showCurl() {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  $("#curl").textContent = [
    `curl ${new URL(SEND, document.baseURI).href}`,
    `-H ${quoted(`Authorization: Bearer ${SECRET_KEY}`)}`,
    `-H ${quoted("Content-Type: application/json")}`,
    `-d ${quoted(JSON.stringify(notification()))}`,
  ].join(" \\\n  ");
}

$("#sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn();
});

sendForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const note = $("#sent");
  try {
    note.textContent = `sent: ${await send()}`;
  } catch (error) {
    note.textContent = `not sent: ${error.message}`;
  }
});

sendForm.addEventListener("input", showCurl);
document.addEventListener("visibilitychange", () => panes.forEach((pane) => pane.look()));
$("#copy").addEventListener("click", () => navigator.clipboard.writeText($("#curl").textContent));

signIn();
