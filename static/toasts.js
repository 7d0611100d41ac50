/**
 * What is told outside of a list: `<notification-toasts>`, the count in the title of the page, desktop notifications.
 * @module
 */

import { LOOKED_AT, told } from "./announce.js";
import { make, set } from "./dom.js";
import { BellElement } from "./element.js";
import { watched } from "./panel.js";
import { safeLink } from "./reading.js";
import { onRowClick, Row, titleOf } from "./row.js";

/** A toast stays this long, and as long again after somebody has pointed at one or has the focus there, ms. */
const STAY_MS = 6000;
const MOST = 3;
const BUSY = ":hover, :focus-within";
/** The system is told of three at once, then of one in this time, ms: of the others badge and list will tell. */
const EACH_MS = 2000;
let due = 0;

/**
 * Notifications that arrive while the page is looked at and no panel is open. Attributes besides those of
 * `BellElement`: `desktop`: those that arrive while no tab is looked at become notifications of the system, if
 * somebody has allowed it by the button under the toasts.
 */
export class NotificationToasts extends BellElement {
  #list = make("ul", { role: "list", part: "toasts" });
  #allow = make("button", { part: "allow", className: "note", onclick: () => this.allowDesktop() });
  /** In the top layer: above whatever the page has, and not bound to where the element is. */
  #box = make("section", { popover: "manual", className: "toasts" }, this.#list, this.#allow);
  /** Where the focus came from. @type {any} */
  #from = null;

  constructor() {
    super();
    this.shadowRoot?.append(this.#box);
    this.addEventListener("focusin", ({ relatedTarget }) => (this.#from = relatedTarget ?? this.#from));
    onRowClick(this.#list, this, (verb, { id }) => this.current?.mark(verb, [id]));
  }

  connectedCallback() {
    super.connectedCallback();
    document.addEventListener("keydown", this.#key);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    document.removeEventListener("keydown", this.#key);
  }

  /** Ask for desktop notifications. Only from a click: browsers hold it against pages that ask by themselves. */
  allowDesktop() {
    globalThis.Notification?.requestPermission().then(() => this.refresh());
  }

  /** A focus that leaves with its toast goes on to the next, and from the last one back. */
  draw(dismiss = false) {
    const { entries } = this.snapshot;
    const focused = this.#box.matches(":focus-within");
    for (const { row } of [...this.#list.children]) {
      const wanted = entries.some((/** @type {any} */ { id, read_at }) => id === row.entry.id && !read_at);
      if (dismiss || watched.size || !wanted) row.remove();
    }
    const ask = this.hasAttribute("desktop") && globalThis.Notification?.permission === "default";
    const { childElementCount: n, firstChild } = this.#list;
    set(this.#allow, { textContent: this.look.t("desktop"), hidden: !ask });
    set(this.#box, { ariaLabel: this.look.t("arrived", { n }) });
    this.#box.togglePopover(n > 0);
    if (focused && !this.#box.matches(":focus-within")) (firstChild?.row.main ?? this.#from)?.focus();
  }

  notification(/** @type {any} */ { entry }) {
    if (document.visibilityState !== "visible") return void this.#desktop(entry).catch(() => {}); // there may be none
    if (watched.size) return;
    told.push(titleOf(entry));
    const row = new Row(entry);
    row.draw(entry, false, this.look);
    row.reach(true);
    this.#list.prepend(row.element);
    const toasts = [...this.#list.children];
    // The list ends at the edge of the window: without one below it, what is pointed at would move away.
    const busy = toasts.findIndex((toast) => toast.matches(BUSY));
    if (toasts.length > MOST) toasts.at(busy < 0 ? -1 : busy - 1).row.remove();
    this.#expire(row);
  }

  #expire(/** @type {Row} */ row) {
    setTimeout(() => {
      if (this.#box.matches(BUSY)) return this.#expire(row);
      row.remove();
      this.refresh();
    }, STAY_MS);
  }

  #key = (/** @type {KeyboardEvent} */ { key }) => {
    if (key === "Escape") this.draw(true);
  };

  /** One for all tabs, if nobody looks at any. Unallowed ones are not shown by the browser. */
  async #desktop(/** @type {any} */ entry) {
    if (!this.hasAttribute("desktop")) return;
    if ((await navigator.locks.query()).held?.some(({ name }) => name === LOOKED_AT)) return;
    // Every tab counts those that others show, too: each would have room for more.
    const now = performance.now();
    if (due > now + 2 * EACH_MS) return;
    due = Math.max(due, now) + EACH_MS;
    await navigator.locks.request(entry.id, { ifAvailable: true }, (first) => {
      if (!first) return;
      const shown = new Notification(titleOf(entry), { body: entry.data.body, tag: entry.id });
      shown.onclick = () => {
        shown.close();
        focus();
        this.current?.mark("click", [entry.id]);
        const link = safeLink(entry.data.action_url);
        if (this.clicked(entry, Boolean(link)) && link) location.assign(link);
      };
      // Until no other tab is to be expected. One that is later replaces it, by the tag.
      return new Promise((resolve) => setTimeout(resolve, STAY_MS));
    });
  }
}

/** What this module has put before the title. */
let prefix = "";
/** The bell that has its count in the title. @type {Bell | undefined} */
let counting;
/** @type {MutationObserver | undefined} */
let observer;

function write() {
  const { title } = document;
  const count = counting?.snapshot.counts.unseen;
  const own = title.startsWith(prefix) ? title.slice(prefix.length).trimStart() : title;
  prefix = count ? `(${count})` : "";
  const wanted = `${prefix} ${own}`.trim();
  if (title !== wanted) document.title = wanted;
}

/** @typedef {import("./bell.js").NotificationBell} Bell */

/**
 * The title of the page has the count of a bell with `title-count` before it, until that is 0 or the bell is removed,
 * and again when the page has changed it.
 * @param {Bell} bell
 */
export function countInTitle(bell) {
  const wanted = bell.isConnected && bell.hasAttribute("title-count");
  if (!wanted && counting !== bell) return;
  counting = wanted ? bell : undefined;
  observer ??= new MutationObserver(write);
  observer.observe(document.head, { childList: true, subtree: true, characterData: true });
  write();
}
