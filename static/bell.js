/**
 * `<notification-bell>`, `<notification-inbox>` and `<notification-toasts>`: one script tag, no build.
 *
 *     <script type="module" src="static/bell.js"></script>
 *     <notification-bell api-key="pk_…" token-endpoint="/notification-token">
 *       <a href="/notifications">Notifications</a>
 *     </notification-bell>
 * @module
 */

import { icon, make, set } from "./dom.js";
import { BellElement } from "./element.js";
import { Panel } from "./panel.js";
import { countInTitle, NotificationToasts } from "./toasts.js";

/** Between the bell and its panel, and the panel and the window, px. */
const GAP = 8;
/** Less room than this below makes a panel open upwards, px. */
const ROOM = 320;

/**
 * A bell with a badge, which opens a list.
 *
 * Attributes besides those of `BellElement`: `placement` (`bottom-end`, `bottom-start`, `top-end`, `top-start`),
 * `theme` (`light`, `dark`, `auto`; without it the page's own), `max-badge` (99), `open`, `title-count`
 * (the badge in the title of the page too).
 */
export class NotificationBell extends BellElement {
  static observedAttributes = [...BellElement.observedAttributes, "open", "max-badge", "title-count"];

  #badge = make("span", { part: "badge", className: "badge", ariaHidden: "true" });
  #dot = make("span", { part: "dot", className: "dot" });
  #button = make(
    "button",
    { part: "bell", className: "bell", popovertarget: "panel", "aria-haspopup": "dialog", "aria-expanded": "false" },
    make("slot", { name: "icon" }, icon("bell")),
    this.#badge,
    this.#dot,
  );
  panel = new Panel(this, () => this.close());
  #popover = this.panel.element;
  #opened = new AbortController();

  constructor() {
    super();
    const root = /** @type {ShadowRoot} */ (this.shadowRoot);
    set(this.#popover, { popover: "auto", role: "dialog", id: "panel" });
    root.append(this.#button, this.#popover);
    this.#popover.addEventListener("beforetoggle", (/** @type {ToggleEvent} */ { newState }) => {
      if (newState === "open") return this.#opening();
      // In a shadow tree the browser lets the focus fall to the page.
      if (this.#popover.contains(root.activeElement) || this.matches(":focus-within")) this.focus();
      // Not by `toggle`, which does not tell of a panel that is opened again at once.
      this.#opened.abort();
      this.panel.reset();
    });
    this.#popover.addEventListener("toggle", (/** @type {ToggleEvent} */ { newState }) => this.#toggled(newState === "open"));
    this.#popover.addEventListener("focusout", (/** @type {FocusEvent} */ { relatedTarget }) => this.#left(relatedTarget));
  }

  connectedCallback() {
    super.connectedCallback();
    this.#obey();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.#opened.abort();
    this.#toggled(false);
    countInTitle(this);
  }

  attributeChangedCallback(/** @type {string} */ name) {
    super.attributeChangedCallback(name);
    if (name === "open") this.#obey();
  }

  get isOpen() {
    return this.#popover.matches(":popover-open");
  }

  /**
   * A method; and to be set, since frameworks set a property where an element has one of an attribute's name.
   * @returns {() => void}
   */
  get open() {
    return () => this.toggle(true);
  }
  set open(/** @type {any} */ open) {
    this.toggleAttribute("open", Boolean(open));
  }

  close() {
    this.toggle(false);
  }

  /** @param {boolean} [open] */
  toggle(open) {
    if (this.isConnected) this.#popover.togglePopover(open);
  }

  focus() {
    this.#button.focus();
  }

  draw() {
    const { counts, state } = this.snapshot;
    const { t } = this.look;
    const { unseen, unread } = counts;
    const most = Number(this.getAttribute("max-badge")) || 99;
    const name = unseen > 0 ? "bellNew" : unread > 0 ? "bellUnread" : "bell";
    set(this.#button, { ariaLabel: t(name, { n: unseen || unread }) });
    set(this.#badge, { textContent: unseen > most ? `${most}+` : String(unseen), hidden: unseen < 1 });
    set(this.#dot, { hidden: unseen > 0 || unread < 1 });
    this.#button.classList.toggle("off", state === "reconnecting" || state === "closed");
    countInTitle(this);
    if (this.isOpen) this.panel.draw();
  }

  /** When the microtask runs, a framework has set the other attributes too. */
  #obey() {
    queueMicrotask(() => this.toggle(this.hasAttribute("open")));
  }

  clicked(/** @type {any} */ entry, /** @type {boolean} */ follows) {
    const proceed = super.clicked(entry, follows);
    if (follows || !proceed) this.close();
    return proceed;
  }

  #opening() {
    this.#opened = new AbortController();
    const { signal } = this.#opened;
    for (const type of ["scroll", "resize"]) addEventListener(type, this.#place, { signal, capture: true });
    this.#place();
    this.panel.draw();
  }

  #toggled(/** @type {boolean} */ open) {
    this.#button.setAttribute("aria-expanded", String(open));
    this.toggleAttribute("open", open);
    if (open) this.panel.focus();
  }

  /** Out of the panel by Tab: the panel would lie over what has the focus. */
  #left(/** @type {EventTarget | null} */ to) {
    const inside = to === null || to === this.#button || this.contains(/** @type {Node} */ (to));
    if (!inside && !this.#popover.contains(/** @type {Node} */ (to))) this.close();
  }

  /** Beside the bell where there is room; under 480 px the style sheet makes it a sheet. */
  #place = () => {
    const bell = this.#button.getBoundingClientRect();
    const { clientWidth, clientHeight } = document.documentElement;
    const [side, align] = (this.getAttribute("placement") ?? "bottom-end").split("-");
    const [above, below] = [bell.top, clientHeight - bell.bottom];
    const up = side === "top" ? above >= ROOM || above > below : below < ROOM && above > below;
    const right = (align === "start") === (getComputedStyle(this).direction === "rtl");
    const beside = right ? clientWidth - bell.right : bell.left;
    this.#popover.style.cssText = `${up ? "bottom" : "top"}: ${GAP + (up ? below + bell.height : bell.bottom)}px;
      ${right ? "right" : "left"}: clamp(${GAP}px, ${beside}px, 100% - var(--_width) - ${GAP}px); --room: ${(up ? above : below) - 2 * GAP}px`;
  };
}

/** The list without a bell, for a page or a side bar of its own. Attributes: those of `BellElement`, and `theme`. */
export class NotificationInbox extends BellElement {
  panel = new Panel(this, null);

  constructor() {
    super();
    this.shadowRoot?.append(this.panel.element);
  }
}

const elements = {
  "notification-bell": NotificationBell,
  "notification-inbox": NotificationInbox,
  "notification-toasts": NotificationToasts,
};
for (const [name, element] of Object.entries(elements)) {
  if (globalThis.customElements && !customElements.get(name)) customElements.define(name, element);
}
