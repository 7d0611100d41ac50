/**
 * What the elements have in common: a client by attributes or as a property, strings, a language.
 * @module
 */

import { announceArrivals, prepare } from "./announce.js";
import { shared } from "./client.js";
import { EMPTY } from "./inbox.js";
import { language, translator } from "./strings.js";
import { sheet } from "./styles.js";
import { clock } from "./time.js";

/** Where there is no DOM, as on a server that renders pages, importing defines nothing and does no harm. */
const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

/** @typedef {import("./client.js").BellhubClient} Client */

/** @type {any} */
const NOTHING = { ...EMPTY, state: "idle" };

/** Where this module's own hub listens; a copy that is served by somebody else: below the page. */
const URL_HERE = /^https?:.*\/(?=static\/)/.exec(import.meta.url)?.[0].concat("ws/v1") ?? "ws/v1";

const PROPERTIES = ["client", "getToken", "strings", "renderItem", "open"];

/**
 * Attributes: `url` of the hub's socket, `api-key`, `channel` (`inbox`), `token-endpoint` (answers `GET` with the
 * user's token, as text or as JSON `{token}`; 401 or 204: nobody is signed in) or, in development, `user`; `lang`.
 */
export class BellElement extends Base {
  static observedAttributes = ["url", "api-key", "channel", "token-endpoint", "user", "lang"];

  #given = /** @type {Client | null} */ (null);
  #getToken = /** @type {(() => Promise<string | null>) | null} */ (null);
  #strings = {};
  #renderItem = /** @type {((entry: any) => Node | null) | null} */ (null);
  /** The client in use, and what it was made of. */
  #client = /** @type {Client | null} */ (null);
  #made = /** @type {unknown[]} */ ([]);
  #leave = () => {};
  #due = false;
  /** @type {import("./row.js").Look | null} */
  #look = null;

  /** The list, where an element has one. @type {import("./panel.js").Panel | undefined} */
  panel;

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).adoptedStyleSheets = [sheet()];
  }

  /** A client of the page's own, which connects and closes it; instead of the attributes. */
  get client() {
    return this.#given;
  }
  set client(client) {
    this.#given = client;
    this.refresh();
  }

  /** Fetches a user token; instead of `token-endpoint`. */
  get getToken() {
    return this.#getToken;
  }
  set getToken(getToken) {
    this.#getToken = getToken;
    this.refresh();
  }

  /** What differs from the English strings. @type {import("./strings.js").Strings} */
  get strings() {
    return this.#strings;
  }
  set strings(strings) {
    this.#strings = strings ?? {};
    this.#look = null;
    this.refresh();
  }

  /** Draws the content of an entry, put into the light DOM, where the page's styles reach it. null: as ever. */
  get renderItem() {
    return this.#renderItem;
  }
  set renderItem(renderItem) {
    this.#renderItem = renderItem;
    this.#look = null;
    this.refresh();
  }

  /** The client in use, however it came. @returns {Client | null} */
  get current() {
    return this.#client;
  }

  get snapshot() {
    return this.#client?.getSnapshot() ?? NOTHING;
  }

  /** How things are written here. @returns {import("./row.js").Look} */
  get look() {
    if (this.#look) return this.#look;
    // From inside of a shadow tree `closest` does not see the page.
    const lang = language(/** @type {HTMLElement} */ (this.closest("[lang]") ?? document.documentElement).lang);
    return (this.#look = { t: translator(this.#strings, lang), clock: clock(lang), render: this.#renderItem, host: this });
  }

  /** Where the keyboard begins. */
  focus() {
    this.panel?.focus();
  }

  /** Mark everything read that is shown; what arrives meanwhile is spared. */
  markAllRead() {
    return this.panel?.markAllRead();
  }

  connectedCallback() {
    prepare();
    for (const name of PROPERTIES) this.#adopt(name);
    this.panel?.attach();
    this.refresh();
  }

  disconnectedCallback() {
    this.panel?.detach();
    this.refresh();
  }

  attributeChangedCallback(/** @type {string} */ name) {
    if (name === "lang") this.#look = null;
    this.refresh();
  }

  /** Soon, and once however much changes: frameworks set attributes one by one, and move elements. */
  refresh() {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      this.#settle();
      if (this.isConnected) this.draw();
    });
  }

  /** Show `snapshot`. */
  draw() {
    this.panel?.draw();
  }

  /** For elements: one arrived. @param {any} detail */
  notification(detail) {}

  /**
   * The page may take a click over: `bell-click`, cancelable.
   * @param {any} entry
   * @param {boolean} follows a link
   * @returns {boolean} whether the link is to be followed
   */
  clicked(entry, follows) {
    return this.dispatchEvent(
      new CustomEvent("bell-click", { detail: { entry }, bubbles: true, composed: true, cancelable: true }),
    );
  }

  /** A property that was set before this element was defined hides the accessor. */
  #adopt(/** @type {string} */ name) {
    if (!Object.hasOwn(this, name)) return;
    const self = /** @type {any} */ (this);
    const value = self[name];
    delete self[name];
    self[name] = value;
  }

  #settle() {
    const options = this.isConnected && !this.#given && this.#options();
    const made = Object.values(options || {});
    if (options && made.every((value, place) => value === this.#made[place])) return;
    this.#made = made;
    const client = options ? shared(options) : this.isConnected ? this.#given : null;
    if (client === this.#client) return;
    this.#leave();
    this.#client = client;
    // A list, a filter or an undo of somebody else's is not for this one.
    this.panel?.reset();
    this.#leave = client ? this.#follow(client, Boolean(options)) : () => {};
  }

  #options() {
    const [apiKey, user, endpoint] = ["api-key", "user", "token-endpoint"].map((name) => this.getAttribute(name));
    const getToken = this.#getToken ?? (endpoint ? (endpoints[endpoint] ??= () => fetchToken(endpoint)) : undefined);
    // Without a key it is the hub that says, in the console and in the list, what is missing.
    if (!(getToken || user)) return null;
    const url = this.getAttribute("url") ?? URL_HERE;
    return { url, apiKey: /** @type {string} */ (apiKey), channel: this.getAttribute("channel") ?? "inbox", getToken, user: user ?? undefined };
  }

  #follow(/** @type {Client} */ client, /** @type {boolean} */ own) {
    const following = new AbortController();
    const on = (/** @type {string} */ type, /** @type {(detail: any) => void} */ fn) =>
      client.addEventListener(type, (/** @type {any} */ { detail }) => fn(detail), { signal: following.signal });
    on("change", () => this.refresh());
    on("refused", (detail) => this.panel?.refused(detail));
    on("notification", (detail) => this.notification(detail));
    // For developers: people are told less, in their own language.
    on("error", console.warn);
    on("auth", console.info);
    announceArrivals(client, (n) => this.look.t("arrived", { n }));
    users.add(this);
    if (own && client.getSnapshot().state === "idle") client.connect();
    return () => {
      following.abort();
      users.delete(this);
      if (own) setTimeout(release, 1000, client);
    };
  }
}

/** Elements with a client. @type {Set<BellElement>} */
const users = new Set();

/** The last one closes it, a moment later: a page that is drawn anew has another element by then. */
function release(/** @type {Client} */ client) {
  if (![...users].some(({ current }) => current === client)) client.close();
}

/**
 * The same function for the same address: elements with it share a client.
 * @type {Record<string, () => Promise<string | null>>}
 */
const endpoints = {};

async function fetchToken(/** @type {string} */ endpoint) {
  const answer = await fetch(endpoint, { cache: "no-store" });
  if (answer.status === 401 || answer.status === 204) return null;
  if (!answer.ok) throw new Error(`${endpoint} answered ${answer.status}`);
  const text = (await answer.text()).trim();
  return text.startsWith("{") ? JSON.parse(text).token : text;
}
