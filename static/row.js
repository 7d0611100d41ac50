/**
 * One entry in a list: a link or button, and beside it, never inside, what else can be done with it.
 * @module
 */

import { icon, make, set } from "./dom.js";
import { safeLink } from "./reading.js";

/** @typedef {{t: import("./strings.js").Translate, clock: ReturnType<typeof import("./time.js").clock>,
 *   render: ((entry: any) => Node) | null, host: HTMLElement}} Look */

export class Row {
  /** @type {any} */
  entry = null;
  #fresh = false;
  /** @type {Look | null} */
  #look = null;
  /** What the page itself drew: in the light DOM, where the page's own styles reach it. @type {HTMLElement | null} */
  #own = null;

  #word = make("span", { className: "hidden" });
  #title = make("span", { part: "item-title", className: "title", dir: "auto" });
  #text = make("span", { part: "item-text", className: "text", dir: "auto" });
  #time = make("time", { part: "item-time" });
  #important = make("span", { part: "item-important", className: "important" });
  #face = make("span", { part: "item-face", className: "face", ariaHidden: "true" });
  #read = make("button", { type: "button", part: "action" }, icon("read"));
  #place = make("button", { type: "button", part: "action" });

  /** @param {any} entry */
  constructor(entry) {
    this.linked = safeLink(entry.data.action_url) !== null;
    this.main = make(this.linked ? "a" : "button", { part: "item-link", className: "main" }, this.#word);
    if (!this.linked) this.main.type = "button";
    this.#read.dataset.verb = "read";
    this.element = make(
      "li",
      { part: "item" },
      make("span", { part: "item-dot", className: "dot", ariaHidden: "true" }),
      this.main,
      make("span", { className: "actions" }, this.#read, this.#place),
    );
    this.element.row = this;
    this.reach(false);
  }

  /** Whether this row can show that entry: what it is made of cannot be exchanged without losing the focus. */
  fits(/** @type {any} */ entry) {
    return this.linked === (safeLink(entry.data.action_url) !== null);
  }

  /**
   * @param {any} entry
   * @param {boolean} fresh it was new when this opening began
   * @param {Look} look
   */
  draw(entry, fresh, look) {
    if (entry === this.entry && fresh === this.#fresh && look === this.#look) return;
    const again = entry.data !== this.entry?.data || look !== this.#look;
    Object.assign(this, { entry });
    this.#fresh = fresh;
    this.#look = look;
    const { t } = look;
    if (again) this.#content(entry, look);
    const title = titleOf(entry);
    const verb = entry.archived_at ? "unarchive" : "archive";
    this.element.classList.toggle("new", fresh);
    this.element.classList.toggle("unread", !entry.read_at);
    set(this.element, { part: ["item", !entry.read_at && "item-unread", fresh && "item-new"].filter(Boolean).join(" ") });
    set(this.#word, { textContent: entry.read_at ? "" : `${t("unread")}. ` });
    // Hidden, not gone: a button that vanishes under the keyboard takes the focus with it.
    this.#read.classList.toggle("off", Boolean(entry.read_at));
    this.#name(this.#read, t("read", { title }));
    this.#name(this.#place, t(verb, { title }));
    if (this.#place.dataset.verb !== verb) {
      this.#place.dataset.verb = verb;
      this.#place.replaceChildren(icon(verb));
    }
  }

  /** @param {number} now */
  tell(now) {
    if (this.#look && !this.#own) set(this.#time, { textContent: this.#look.clock.ago(new Date(this.entry.sent_at), now) });
  }

  /** @param {boolean} tabbed */
  reach(tabbed) {
    for (const element of [this.main, this.#read, this.#place]) set(element, { tabIndex: tabbed ? 0 : -1 });
  }

  remove() {
    this.element.remove();
    this.#own?.remove();
  }

  #content(/** @type {any} */ entry, /** @type {Look} */ { t, clock, render, host }) {
    const url = safeLink(entry.data.action_url);
    if (url !== null) set(this.main, { href: url });
    this.#own?.remove();
    this.#own = null;
    if (render) {
      const slot = `entry-${entry.id}`;
      this.#own = make("div", { slot }, render(entry));
      host.append(/** @type {HTMLElement} */ (this.#own));
      this.main.replaceChildren(this.#word, make("slot", { name: slot }));
      return;
    }
    const time = new Date(entry.sent_at);
    this.#title.textContent = titleOf(entry);
    this.#text.textContent = entry.data.body ?? "";
    set(this.#time, { dateTime: entry.sent_at, title: clock.exact(time) });
    this.#important.textContent = entry.priority === "high" ? t("important") : "";
    this.#face.replaceChildren(...face(entry));
    this.main.replaceChildren(
      this.#face,
      make("span", { className: "what" }, this.#word, this.#title, " ", this.#text, " ",
        make("span", { className: "meta" }, this.#time, " ", this.#important)),
    );
  }

  #name(/** @type {HTMLElement} */ button, /** @type {string} */ name) {
    set(button, { ariaLabel: name, title: name.split(":")[0] });
  }
}

/** @param {any} entry */
export function titleOf({ data, notiflow_handle }) {
  return String(data.title ?? notiflow_handle);
}

/** The picture of who caused it, or an initial. */
function face(/** @type {any} */ { actor }) {
  const name = [actor?.first_name, actor?.last_name].filter(Boolean);
  if (name.length === 0) return [icon("bell")];
  const initials = name.map((part) => [...part][0]).join("").toUpperCase();
  const avatar = safeLink(actor.avatar);
  if (avatar === null) return [initials];
  const image = make("img", { alt: "", loading: "lazy", referrerPolicy: "no-referrer", src: avatar });
  image.addEventListener("error", () => image.replaceWith(initials), { once: true });
  return [image];
}
