/**
 * The operator's console: the feed, the badge and the sessions of any user, and the hub they are on.
 * Everything that came from a hub is put into the page as text, never as markup.
 * @module
 */

import { Calls, CallError, curl } from "./calls.js";

/** Calls kept in the log. */
const CALLS = 100;
const MESSAGES = "v1/messaging/notifications";
const COUNTS = /** @type {const} */ (["unseen", "unread", "total"]);

/** @typedef {{id: string, name: string, api_key: string, channels: {id: string, handle: string}[]}} Project */
/** Whom the page is about. @typedef {{project: Project, channel: string, user: string}} Subject */

const $ = (/** @type {string} */ selector) => /** @type {any} */ (document.querySelector(selector));
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** @type {Calls | null} */
let calls = null;
/** @type {Project[]} */
let projects = [];
/** @type {Subject | null} */
let subject = null;
/** What `explain` said last, and the count that is looked at. */
let explained = /** @type {any} */ (null);
let looked = /** @type {typeof COUNTS[number]} */ ("unseen");
/** Where the feed goes on. */
let after = /** @type {string | null} */ (null);

// ---- making things -------------------------------------------------------------------------------------

/**
 * An element; its children are elements or text.
 * @param {string} name
 * @param {Record<string, string | boolean | undefined>} attributes true: without a value; false, undefined: not at all
 * @param {...(Node | string)} children
 */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(key, "");
    else if (typeof value === "string") element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/**
 * @param {string} text
 * @param {string} label what it does to what, for those who do not see the row
 * @param {(button: HTMLElement) => void} act
 * @param {string} kind
 */
function button(text, label, act, kind = "small") {
  const element = make("button", { type: "button", class: kind, "aria-label": `${text}: ${label}` }, text);
  element.addEventListener("click", () => act(element));
  return element;
}

/** @param {string} at */
function time(at) {
  return make("time", { datetime: at, title: at }, moment.format(new Date(at)));
}

/** @param {unknown} value */
function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

// ---- asking --------------------------------------------------------------------------------------------

/** Somebody else was looked up meanwhile: whatever was answered is about nobody here. */
class Outdated extends Error {}

/**
 * Does what a button says, and tells in `note` how it went. A key that is refused closes the console.
 * @param {HTMLElement} note
 * @param {() => Promise<string | void>} work what to tell
 */
async function attempt(note, work) {
  note.classList.remove("problem");
  try {
    note.textContent = (await work()) ?? "";
  } catch (error) {
    if (error instanceof Outdated) return;
    if (!(error instanceof CallError)) throw error;
    if (error.status === 401) return close(error.message);
    note.classList.add("problem");
    note.textContent = error.message;
  }
}

/**
 * One call about the subject. Throws CallError, Outdated.
 * @param {string} method
 * @param {string} path
 * @param {import("./calls.js").Said} said
 */
async function ask(method, path, said = {}) {
  const about = subject;
  if (calls === null || about === null) throw new Outdated();
  const answer = await calls.ask(method, path, { apiKey: about.project.api_key, user: about.user, ...said });
  if (about !== subject) throw new Outdated();
  return answer;
}

/** Of the subject, in the User API and in the Admin API. */
const feedPath = () => `user/v1/channels/${encodeURIComponent(subject?.channel ?? "")}/feed`;
const userPath = () => `admin/v1/users/${encodeURIComponent(subject?.user ?? "")}`;

/**
 * @param {string} heading
 * @param {string} text
 * @param {string} yes
 * @returns {Promise<boolean>}
 */
function sure(heading, text, yes) {
  $("#sure-heading").textContent = heading;
  $("#sure-text").textContent = text;
  $("#sure-yes").textContent = yes;
  const dialog = $("#sure");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// ---- the key -------------------------------------------------------------------------------------------

/** @param {string} key */
async function open(key) {
  const trying = new Calls(key);
  trying.addEventListener("call", (event) => {
    // What a console that was closed is still told belongs to nobody.
    if (calls === trying) showCall(/** @type {CustomEvent} */ (event).detail);
  });
  calls = trying;
  await attempt($("#gate-problem"), async () => {
    projects = (await trying.ask("GET", "console/api/projects")).items;
    showDesk(true);
    showProjects();
  });
  if (projects.length > 0) await attempt($("#health-note"), checkHealth);
}

/**
 * Forgets the key and all that it opened.
 * @param {string} why
 */
function close(why = "") {
  calls = subject = explained = null;
  projects = [];
  showDesk(false);
  for (const list of document.querySelectorAll("main ul, main ol")) list.replaceChildren();
  for (const form of document.querySelectorAll("form")) form.reset();
  for (const note of document.querySelectorAll("[role=status]")) note.textContent = "";
  $("#last").hidden = true;
  $("#gate-problem").textContent = why;
  $("#key").focus();
}

/** @param {boolean} shown */
function showDesk(shown) {
  $("#gate").hidden = shown;
  for (const part of ["#desk", "#calls", "#look-up", "#forget"]) $(part).hidden = !shown;
  $("#about").hidden = true;
  $("#nobody").hidden = false;
  if (shown) $("#user").focus();
}

// ---- the hub -------------------------------------------------------------------------------------------

async function checkHealth() {
  if (calls === null) return;
  showHealth(await calls.ask("GET", "console/api/health"));
}

/** @param {any} health */
function showHealth({ status, version, hub, sessions, checks, findings }) {
  const ready = $("#ready");
  ready.textContent = status;
  ready.dataset.state = status === "ready" ? "ok" : "fail";
  const sockets = sessions === 1 ? "1 open socket" : `${sessions} open sockets`;
  $("#facts").textContent = `Bellhub ${version} as ${hub}, ${sockets}`;
  $("#checks").replaceChildren(
    ...Object.entries(checks).map(([name, good]) => {
      return make("li", { "data-state": good ? "ok" : "fail" }, name, good ? "" : ": no");
    }),
  );
  const shown = (/** @type {any} */ { state, check, message }) =>
    make("li", { "data-state": state }, make("b", {}, check), " ", make("span", {}, message));
  const wrong = findings.filter((/** @type {any} */ finding) => finding.state !== "ok");
  const right = findings.filter((/** @type {any} */ finding) => finding.state === "ok");
  $("#wrong").replaceChildren(...wrong.map(shown));
  $("#right").replaceChildren(...right.map(shown));
  $("#fine").textContent = right.length === 1 ? "1 thing is fine" : `${right.length} things are fine`;
}

function showProjects() {
  const option = (/** @type {Project} */ { id, name }) =>
    make("option", { value: id }, name === id ? id : `${name} (${id})`);
  $("#project").replaceChildren(...projects.map(option));
  showChannels();
}

function showChannels() {
  const channels = chosenProject()?.channels ?? [];
  $("#channel").replaceChildren(...channels.map(({ handle }) => make("option", {}, handle)));
}

function chosenProject() {
  return projects.find(({ id }) => id === $("#project").value);
}

// ---- a user --------------------------------------------------------------------------------------------

async function lookUp() {
  const project = chosenProject();
  if (project === undefined) return;
  subject = { project, channel: $("#channel").value, user: $("#user").value };
  looked = "unseen";
  for (const note of document.querySelectorAll("#about .note[role=status]")) note.textContent = "";
  for (const list of document.querySelectorAll("#about ul")) list.replaceChildren();
  $("#nobody").hidden = true;
  $("#about").hidden = false;
  $("#feed-heading").textContent = `Feed of ${subject.user}`;
  await Promise.all([attempt($("#feed-note"), showFeed), attempt($("#sessions-note"), showSessions)]);
}

/** The badge and the entries, as they are now. */
async function showFeed() {
  const [reasons] = await Promise.all([ask("GET", `${feedPath()}/explain`), showEntries()]);
  explained = reasons;
  showBadge();
}

// ---- why is the badge 3 ----------------------------------------------------------------------------------

function showBadge() {
  const { unseen, archived, dismissed } = explained;
  $("#badge-heading").textContent = `Why is the badge ${unseen.count}?`;
  $("#tiles").replaceChildren(...COUNTS.map(tile));
  $("#uncounted").textContent = `In none of these: ${archived} archived, ${dismissed} dismissed.`;
  showReasons();
}

/** @param {typeof COUNTS[number]} name */
function tile(name) {
  const pressed = String(name === looked);
  const count = make("b", {}, String(explained[name].count));
  const element = make("button", { type: "button", class: "tile", "data-count": name, "aria-pressed": pressed }, count, name);
  element.addEventListener("click", () => {
    looked = name;
    for (const other of $("#tiles").children) other.setAttribute("aria-pressed", String(other === element));
    showReasons();
  });
  return element;
}

function showReasons() {
  const { count, rule, entries, has_more } = explained[looked];
  const what = looked === "unseen" ? "The badge is the number of unseen entries" : `${looked} is the number of entries`;
  $("#rule").textContent = `${what}: ${rule}.${has_more ? ` The newest ${entries.length} of ${count}:` : ""}`;
  $("#reasons").replaceChildren(
    ...entries.map((/** @type {any} */ entry) => {
      const said = make("span", { class: "meta" }, `${entry.status}, sent `, time(entry.sent_at));
      return make("li", {}, make("span", { class: "title" }, entry.title), said);
    }),
  );
}

// ---- the feed ------------------------------------------------------------------------------------------

/** @param {string | null} from a page token; null: the newest page, in the place of what is shown */
async function showEntries(from = null) {
  /** @type {Record<string, string>} */
  const query = { limit: "20" };
  if ($("#status").value) query.status = $("#status").value;
  if (from !== null) query.after = from;
  const { items, page } = await ask("GET", `${feedPath()}/entries`, { query });
  const list = $("#entries");
  const rows = items.map(entryRow);
  if (from === null) list.replaceChildren(...rows);
  else list.append(...rows);
  after = page.after;
  $("#older").hidden = !page.has_more_after;
  $("#no-entries").hidden = list.children.length > 0;
}

/** @param {any} entry */
function entryRow(entry) {
  const title = entry.data.title ?? entry.notiflow_handle;
  const said = make("span", { class: "meta" }, make("span", {}, `${entry.category ?? entry.notiflow_handle} · `), time(entry.sent_at));
  return make(
    "li",
    { class: "entry", "data-id": entry.id },
    make("span", { class: "chip", "data-status": entry.status }, entry.status),
    make(
      "div",
      { class: "words" },
      make("span", { class: "title" }, title),
      ...(entry.data.body ? [make("span", { class: "text" }, entry.data.body)] : []),
      said,
      make("details", {}, make("summary", {}, "JSON"), make("pre", { tabindex: "0" }, pretty(entry))),
    ),
    button("Withdraw", title, (self) => withdraw(entry.id, title, self)),
  );
}

/**
 * @param {string} id
 * @param {string} title
 * @param {HTMLElement} pressed
 */
async function withdraw(id, title, pressed) {
  const place = [...$("#entries").children].indexOf(pressed.closest("li"));
  await attempt($("#feed-note"), async () => {
    await ask("DELETE", `${MESSAGES}/${encodeURIComponent(id)}`, { query: { user: subject?.user ?? "" } });
    await showFeed();
    focusRow($("#entries"), place, $("#feed-heading"));
    return `Withdrawn: ${title}`;
  });
}

/**
 * The keyboard goes on where a row was: at the next one's button, or at the heading.
 * @param {HTMLElement} list
 * @param {number} place
 * @param {HTMLElement} heading
 */
function focusRow(list, place, heading) {
  const row = list.children[Math.min(place, list.children.length - 1)];
  const next = /** @type {HTMLElement | undefined} */ (row?.querySelector(":scope > button"));
  (next ?? heading).focus();
}

// ---- sessions ------------------------------------------------------------------------------------------

async function showSessions() {
  const { items, hubs } = await ask("GET", `${userPath()}/sessions`);
  $("#session-rows").replaceChildren(...items.map(sessionRow));
  $("#no-sessions").hidden = items.length > 0;
  $("#end-all").disabled = items.length === 0;
  const silent = hubs.asked - hubs.answered;
  return silent > 0 ? `${silent} of ${hubs.asked} hubs did not answer: sessions there are missing.` : "";
}

/** @param {any} session */
function sessionRow(session) {
  const facts = [session.origin ?? "no page", session.channels.join(", ") || "follows nothing", session.protocol, session.hub];
  const name = session.client ?? "A client without a name";
  return make(
    "li",
    { class: "entry", "data-id": session.id },
    make(
      "div",
      { class: "words" },
      make("span", { class: "title" }, name),
      make("span", { class: "meta" }, "since ", time(session.opened_at)),
      make("span", { class: "meta" }, facts.join(" · ")),
    ),
    button("End", `${name}, ${session.id}`, (self) => end(session.id, self)),
  );
}

/**
 * @param {string} id
 * @param {HTMLElement} pressed
 */
async function end(id, pressed) {
  const place = [...$("#session-rows").children].indexOf(pressed.closest("li"));
  await attempt($("#sessions-note"), async () => {
    await ask("DELETE", `${userPath()}/sessions/${encodeURIComponent(id)}`);
    const missing = await showSessions();
    focusRow($("#session-rows"), place, $("#sessions-heading"));
    return missing || "Ended. Its token is still good: to keep the user out, revoke.";
  });
}

async function endAll() {
  const user = subject?.user;
  if (!(await sure(`End all sessions of ${user}?`, "They are told to stay away. Their tokens are still good.", "End all"))) return;
  await attempt($("#sessions-note"), async () => {
    await ask("DELETE", `${userPath()}/sessions`);
    return (await showSessions()) || "All ended.";
  });
}

async function revoke() {
  const user = subject?.user;
  const text = "Every token issued to them so far is refused from now on, and their sessions end. They must sign in again.";
  if (!(await sure(`Revoke all tokens of ${user}?`, text, "Revoke"))) return;
  await attempt($("#sessions-note"), async () => {
    const { revoked_before } = await ask("POST", `${userPath()}/revoke`);
    await showSessions();
    return `Tokens from before ${moment.format(new Date(revoked_before))} are refused.`;
  });
}

// ---- sending -------------------------------------------------------------------------------------------

/** @param {HTMLFormElement} form */
async function send(form) {
  const fields = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  const target = { type: "user", id: subject?.user };
  const sent = await ask("POST", MESSAGES, { body: { ...fields, target, channel: subject?.channel } });
  await attempt($("#feed-note"), showFeed);
  return `Sent: ${sent.id}`;
}

// ---- the calls -----------------------------------------------------------------------------------------

/** @param {import("./calls.js").Call} call */
function showCall(call) {
  const { method, url, headers, body, status, ms, at, answer, requestId } = call;
  const root = new URL(".", document.baseURI).pathname;
  const path = `/${decoded(url.pathname.slice(root.length))}${url.search}`;
  const good = status >= 200 && status < 300;
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  const asked = [`${method} ${url.pathname}${url.search}`, ...lines];
  if (body !== undefined) asked.push("", pretty(body));
  const answered = [status === 0 ? "no answer" : `${status}`];
  if (requestId !== null) answered.push(`x-request-id: ${requestId}`);
  if (answer !== null) answered.push("", pretty(answer));
  const brief = [
    make("b", { class: "method", "data-method": method }, method),
    make("span", { class: "path" }, path),
    make("span", { class: "status", "data-state": good ? "ok" : "fail" }, String(status || "–")),
    make("span", { class: "ms" }, `${ms} ms`),
  ];
  $("#last").replaceChildren(...brief.map((part) => part.cloneNode(true)));
  $("#last").hidden = false;
  const item = make(
    "li",
    {},
    make(
      "details",
      {},
      make("summary", { class: "call" }, ...brief),
      make("div", { class: "copy" }, make("span", { class: "meta" }, clock.format(at)), button("Copy as curl", path, copy(call))),
      make("pre", { tabindex: "0", role: "group", "aria-label": "Request" }, asked.join("\n")),
      make("pre", { tabindex: "0", role: "group", "aria-label": "Answer" }, answered.join("\n")),
    ),
  );
  const log = $("#log");
  log.prepend(item);
  if (log.children.length > CALLS) log.lastElementChild.remove();
}

/** @param {string} path */
function decoded(path) {
  try {
    return decodeURI(path);
  } catch {
    return path;
  }
}

/** @param {import("./calls.js").Call} call */
function copy(call) {
  return async (/** @type {HTMLElement} */ pressed) => {
    try {
      await navigator.clipboard.writeText(curl(call));
      pressed.textContent = "Copied";
    } catch {
      // Plain HTTP has no clipboard: the text to select, in the place of the request.
      const pre = pressed.closest("details")?.querySelector("pre");
      if (pre) pre.textContent = curl(call);
    }
  };
}

// ---- the page ------------------------------------------------------------------------------------------

/**
 * @param {string} selector of a form
 * @param {(form: HTMLFormElement) => Promise<void>} work once at a time
 */
function onSubmit(selector, work) {
  const form = $(selector);
  form.addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    const pressed = form.querySelector("button");
    if (pressed.getAttribute("aria-disabled") === "true") return;
    pressed.setAttribute("aria-disabled", "true");
    try {
      await work(form);
    } finally {
      pressed.removeAttribute("aria-disabled");
    }
  });
}

onSubmit("#sign-in", async () => {
  const key = $("#key").value;
  $("#key").value = "";
  await open(key);
});
onSubmit("#look-up", lookUp);
onSubmit("#send-form", (form) => attempt($("#send-note"), () => send(form)));
$("#forget").addEventListener("click", () => close());
$("#check").addEventListener("click", () => attempt($("#health-note"), checkHealth));
$("#project").addEventListener("change", showChannels);
$("#status").addEventListener("change", () => attempt($("#feed-note"), () => showEntries()));
$("#again").addEventListener("click", () => attempt($("#feed-note"), showFeed));
$("#older").addEventListener("click", () => attempt($("#feed-note"), () => showEntries(after)));
$("#end-all").addEventListener("click", endAll);
$("#revoke").addEventListener("click", revoke);
$("#clear").addEventListener("click", () => $("#log").replaceChildren());
$("#plain").hidden = window.isSecureContext;
$("#key").focus();
