/**
 * One entry in a list: a link or button, and beside it, never inside, what else can be done with it.
 * @module
 */

import { icon, make, set } from "./dom.js";
import { safeLink } from "./reading.js";

/** @typedef {{t: import("./strings.js").Translate, clock: ReturnType<typeof import("./time.js").clock>,
 *   render: ((entry: any) => Node | null) | null, host: HTMLElement}} Look */

/** Elements that outlive what they show, so that the focus can stay on them. */
export class Row {
  /** @type {any} */
  entry = null;
  #fresh = false;
  /** @type {Look | null} */
  #look = null;
  /** What the page itself drew: in the light DOM, where the page's own styles reach it. @type {HTMLElement | null} */
  #own = null;
  #time = make("time", { part: "item-time" });
  /** A picture that is made anew blinks. @type {Node | null} */
  #face = null;
  #actions = [0, 1].map(() => make("button", { part: "action" }));

  /** @param {any} entry */
  constructor(entry) {
    this.linked = linkOf(entry) !== null;
    this.main = make(this.linked ? "a" : "button", { part: "item-link", className: "main" });
    const dot = make("span", { part: "item-dot", className: "dot" });
    this.element = make("li", {}, dot, this.main, make("span", { className: "actions" }, ...this.#actions));
    this.element.row = this;
    this.reach(false);
  }

  /** A link does not become a button without losing the focus. @param {any} entry */
  fits(entry) {
    return this.linked === (linkOf(entry) !== null);
  }

  /**
   * @param {any} entry
   * @param {boolean} fresh it was new when this opening began
   * @param {Look} look
   */
  draw(entry, fresh, look) {
    if (entry === this.entry && fresh === this.#fresh && look === this.#look) return;
    this.entry = entry;
    this.#fresh = fresh;
    this.#look = look;
    const { t, render, host } = look;
    const title = titleOf(entry);
    const unread = !entry.read_at;
    const states = [unread && "unread", fresh && "new"].filter(Boolean);
    set(this.element, { className: states.join(" "), part: ["item", ...states.map((state) => `item-${state}`)].join(" ") });
    if (this.linked) set(this.main, { href: linkOf(entry) });
    const verbs = /** @type {const} */ (["read", entry.archived_at ? "unarchive" : "archive"]);
    verbs.forEach((verb, place) => {
      const name = t(verb, { title });
      const button = this.#actions[place];
      set(button, { ariaLabel: name, title: name, className: place || unread ? "" : "off", "data-verb": verb });
      button.replaceChildren(icon(verb));
    });
    const word = make("span", { className: "hidden" }, unread ? `${t("unread")}. ` : "");
    this.#own?.remove();
    const own = drawn(render, entry);
    if (own) {
      const slot = `entry-${entry.id}`;
      host.append((this.#own = make("div", { slot }, own)));
      this.main.replaceChildren(word, make("slot", { name: slot }));
    } else this.main.replaceChildren(word, ...this.#content(look, title));
    this.tell(Date.now());
  }

  /** @param {number} now */
  tell(now) {
    if (this.#look) set(this.#time, { textContent: this.#look.clock.ago(new Date(this.entry.sent_at), now) });
  }

  /** @param {boolean} tabbed */
  reach(tabbed) {
    for (const element of [this.main, ...this.#actions]) element.tabIndex = tabbed ? 0 : -1;
  }

  remove() {
    this.element.remove();
    this.#own?.remove();
  }

  #content(/** @type {Look} */ { t, clock }, /** @type {string} */ title) {
    const { actor, data, priority, sent_at } = this.entry;
    const span = (/** @type {string} */ name, /** @type {object} */ more, /** @type {(Node | string)[]} */ ...children) =>
      make("span", { part: `item-${name}`, className: name, ...more }, ...children);
    const own = { dir: "auto" };
    set(this.#time, { dateTime: sent_at, title: clock.exact(new Date(sent_at)) });
    const what = [span("title", own, title), " "];
    if (data.body) what.push(span("text", own, data.body), " ");
    const important = priority === "high" ? [" ", span("important", {}, t("important"))] : [];
    this.#face ??= span("face", { ariaHidden: "true" }, face(actor));
    return [/** @type {Node} */ (this.#face), span("what", {}, ...what, span("meta", {}, this.#time, ...important))];
  }
}

/** @typedef {"read" | "click" | "archive" | "unarchive"} Verb */

/**
 * Clicks in a list of rows mark, and follow a link unless the page takes that over.
 * @param {any} list
 * @param {{clicked(entry: any, follows: boolean): boolean}} host
 * @param {(verb: Verb, entry: any) => void} mark
 */
export function onRowClick(list, host, mark) {
  list.onclick = list.onauxclick = (/** @type {any} */ event) => {
    const { button } = event;
    // What the page has drawn is in a tree of its own: `closest` begins at its slot.
    const target = event.composedPath().find(list.contains, list);
    const row = target.closest("li")?.row;
    const verb = target.closest("[data-verb]")?.dataset.verb;
    if (verb) return button || mark(verb, row.entry);
    if (!target.closest(".main") || button > +row.linked) return;
    const { entry } = row;
    if (!entry.clicked_at) mark("click", entry);
    // Another tab or window is the browser's business: only a plain click can be taken over by the page.
    const plain = button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
    if (plain && !host.clicked(entry, row.linked)) event.preventDefault();
  };
}

/** By the page; where it fails, or leaves it to us: nothing. */
function drawn(/** @type {Look["render"]} */ render, /** @type {any} */ entry) {
  try {
    return render?.(entry);
  } catch (error) {
    reportError(error);
  }
}

/** One of blanks says as little as none. @param {any} entry @returns {string} */
export function titleOf({ data, notiflow_handle }) {
  return String(data.title ?? "").trim() || notiflow_handle;
}

function linkOf(/** @type {any} */ { data }) {
  return safeLink(data.action_url);
}

/** The picture of who caused it, or initials. */
function face(/** @type {any} */ actor) {
  const names = [actor?.first_name, actor?.last_name].filter(Boolean);
  if (!names[0]) return icon("bell");
  const initials = names.map((name) => [...name][0]).join("");
  const src = safeLink(actor.avatar);
  if (!src) return initials;
  const image = make("img", { alt: "", loading: "lazy", referrerPolicy: "no-referrer", src });
  image.onerror = () => image.replaceWith(initials);
  return image;
}
