/**
 * The list of a feed with all that can be done with it: what a bell opens, and what an inbox is.
 * @module
 */

import { say } from "./announce.js";
import { icon, make, set } from "./dom.js";
import { EMPTY, mark } from "./inbox.js";
import { filtered, Reading } from "./reading.js";
import { onRowClick, Row, titleOf } from "./row.js";
import { MINUTE } from "./time.js";

/** How long it must be looked at to be seen, ms. */
const MOMENT_MS = 500;
/** How long an archive can be taken back with a button, ms. */
const UNDO_MS = 7000;
/** Between a change of the feed and asking for a filter's list again, ms. */
const FRESH_MS = 250;
/** Entries of one list (protocol, section 4). */
const PAGE = 100;

/** @typedef {import("./reading.js").Filter} Filter */
/** @typedef {import("./element.js").BellElement} BellElement */
/** @typedef {import("./row.js").Verb} Verb */
/** @type {Filter[]} */
const FILTERS = ["all", "unread", "archived"];
const NOTHING = new Reading().take([], EMPTY, false);
const OPPOSITE = /** @type {const} */ ({ archive: "unarchive", unarchive: "archive" });

function button(/** @type {string} */ part, /** @type {Node[]} */ ...children) {
  return make("button", { part, className: "plain" }, ...children);
}

function box(/** @type {string} */ name, /** @type {Node[]} */ ...children) {
  return make("div", { part: name, className: name }, ...children);
}

/** @returns {Row | undefined} */
function rowOf(/** @type {any} */ element) {
  return element?.closest("li")?.row;
}

/** Lists that are looked at: what arrives is seen there, and needs no toast. @type {Set<Panel>} */
export const watched = new Set();

export class Panel {
  #host;
  #reading = new Reading();
  /** @type {Filter} */
  #filter = "all";
  /** What the hub listed for a filter; null: nothing yet. @type {{entries: any[], after: string | null} | null} */
  #listed = null;
  #listedAt = /** @type {string | null} */ (null);
  /** Ends what was asked for a list that is not shown any more. */
  #asking = new AbortController();
  /** @type {Map<string, Row>} in the order shown */
  #rows = new Map();
  /** The row that Tab reaches. */
  #current = "";
  #view = NOTHING;
  #undo = /** @type {{verb: "archive" | "unarchive", id: string} | null} */ (null);
  /** What is to be said for a while. */
  #told = "";
  /** Why this list could not be had: that is said until it is tried again. @type {any} */
  #lost = null;
  #back = "";
  #fetching = false;

  #atTop = true;
  #onScreen = false;
  #seen = /** @type {string | null} */ (null);
  #timers = /** @type {Record<string, any>} */ ({});
  #observer;

  #title = make("h2", { id: "title", part: "heading", tabindex: "-1" });
  #close = button("close", icon("close"));
  #filters = FILTERS.map((name) => Object.assign(button("filter"), { value: name, onclick: () => this.#choose(name) }));
  #all = button("mark-all");
  #toolbar = make("div", { role: "toolbar", part: "toolbar" }, ...this.#filters, this.#all);
  #pill = make("button", { part: "pill", className: "pill" });
  #list = make("ul", { role: "list", part: "list", "aria-labelledby": "title" });
  #waiting = make("div", { part: "loading", className: "skeleton" }, make("i"), make("i"), make("i"));
  #emptyTitle = make("strong");
  #emptyMore = make("span");
  #empty = box("empty", make("slot", { name: "empty" }, make("span", { className: "face" }, icon("bell")), this.#emptyTitle, this.#emptyMore));
  #top = make("i", { className: "edge" });
  #end = make("i", { className: "edge end" });
  #scroll = box("scroll", this.#top, this.#pill, this.#list, this.#waiting, this.#empty, this.#end);
  #noteText = make("span");
  #noteAct = button("note-action");
  #note = box("note", this.#noteText, this.#noteAct);
  #away = make("div", { part: "reconnecting", className: "away" });

  /**
   * @param {BellElement} host
   * @param {(() => void) | null} close for a panel that can be closed
   */
  constructor(host, close) {
    this.#host = host;
    this.element = make("section", { part: "panel", className: "panel", "aria-labelledby": "title" },
      box("header",
        make("div", { className: "head" }, this.#title, make("slot", { name: "header" }), this.#close),
        this.#toolbar),
      this.#scroll, this.#note, this.#away, make("slot", { name: "footer" }));
    this.#close.hidden = !close;
    this.#close.onclick = close;
    this.#all.onclick = () => this.markAllRead();
    this.#pill.onclick = () => this.#reveal();
    this.#noteAct.onclick = () => (this.#undo ? this.#takeBack() : this.#again());
    onRowClick(this.#list, host, (verb, entry) => this.#mark(verb, entry));
    this.#list.addEventListener("focusin", (/** @type {any} */ { target }) => this.#reach(rowOf(target)?.entry.id));
    this.element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.#observer = new IntersectionObserver((changes) => this.#sight(changes));
  }

  /** Begin to watch what is on the screen. */
  attach() {
    this.#observer.observe(this.#top);
    this.#observer.observe(this.#scroll);
    this.#askForEnd();
    document.addEventListener("visibilitychange", this.#look);
    this.#timers.clock = setInterval(this.#tell, MINUTE);
  }

  detach() {
    this.#observer.disconnect();
    clearInterval(this.#timers.clock);
    document.removeEventListener("visibilitychange", this.#look);
    this.#onScreen = false;
    this.reset();
  }

  /** An opening ended: what was new is not new the next time, and nothing is drawn until then. */
  reset() {
    this.#reading = new Reading();
    this.#view = NOTHING;
    this.#look(); // not when the browser tells what is on the screen: by then a moment may have passed
    watched.delete(this);
    for (const row of this.#rows.values()) row.remove();
    this.#rows = new Map();
    clearTimeout(this.#timers.note);
    this.#current = this.#told = "";
    this.#undo = null;
    this.#turnTo("all");
  }

  /** Where the keyboard begins. */
  focus() {
    (this.#rows.get(this.#current)?.main ?? this.#title).focus();
  }

  /** The client will not have a mark. @param {any} detail */
  refused({ verb, error }) {
    // Nobody asked for `seen`, so nobody needs to hear that it failed.
    if (verb !== "seen") this.#fail(error);
  }

  /** Everything that is shown here; what arrived meanwhile is spared. */
  markAllRead() {
    const client = this.#host.current;
    const { upto } = this.#view;
    this.#locally("read", ({ read_at }) => !read_at);
    return client?.markAll("read", upto ? { upto } : {});
  }

  // ---- drawing --------------------------------------------------------------------------------------

  /** Brings everything in line with the client. Cheap where nothing changed. */
  draw() {
    const snapshot = this.#host.snapshot;
    const { look } = this.#host;
    const { t } = look;
    const { state, reason, cursor } = snapshot;
    const filter = this.#filter;
    const focus = this.#focus; // which is lost as soon as what has it is hidden
    this.#ask(snapshot);
    const ready = cursor !== null && (filter === "all" || this.#listed !== null);
    const entries = ready ? filtered(filter, snapshot, this.#listed?.entries ?? []) : [];
    // A page may scroll instead of this list; that is known a moment later.
    const still = this.#scroll.scrollTop > 1 || !this.#atTop;
    this.#view = this.#reading.take(entries, snapshot, still && filter !== "archived");
    const { shown, held, unread } = this.#view;
    const dead = state === "closed";
    if (dead) [this.#told, this.#undo] = ["", null]; // nothing can be taken back now: say why, and offer to try again
    this.#drawRows(shown, look);

    for (const button of this.#filters) {
      set(button, { textContent: t(button.value), ariaPressed: String(button.value === filter) });
    }
    set(this.#title, { textContent: t("heading") });
    set(this.#close, { ariaLabel: t("close"), title: t("close") });
    set(this.#toolbar, { ariaLabel: t("filters") });
    set(this.#all, { textContent: t("markAll", { n: unread }), hidden: filter === "archived" || unread < 1 });
    set(this.#pill, { textContent: t("pill", { n: held }), hidden: held < 1 });
    const waiting = !dead && !this.#lost && state !== "idle" && (!ready || this.#fetching);
    set(this.#scroll, { ariaBusy: String(waiting) });
    set(this.#waiting, { hidden: !waiting });
    set(this.#empty, { hidden: dead || !ready || shown.length > 0 || this.#more });
    set(this.#emptyTitle, { textContent: t(`${filter}Empty`) });
    set(this.#emptyMore, { textContent: t(`${filter}EmptyMore`) });
    set(this.#away, { textContent: t("reconnecting"), hidden: dead || state === "connected" || state === "idle" });
    set(this.#note, { hidden: !this.#told && !dead });
    set(this.#noteText, { textContent: this.#told || t(reason?.code) || `${t("closed")} (${reason?.code})` });
    set(this.#noteAct, { textContent: t(this.#undo ? "undo" : "retry"), hidden: this.#told !== "" && !this.#undo && !this.#lost });
    this.#look();
    if (focus?.closest("[hidden]")) this.#title.focus();
    if (focus?.classList.contains("off")) rowOf(focus)?.main.focus();
  }

  #drawRows(/** @type {any[]} */ shown, /** @type {import("./row.js").Look} */ look) {
    const refuge = this.#refuge(new Set(shown.map(({ id }) => id)));
    this.#list.hidden = !shown[0]; // before anything in it can have the focus
    /** @type {Map<string, Row>} */
    const rows = new Map();
    for (const entry of shown) {
      const held = this.#rows.get(entry.id);
      rows.set(entry.id, held?.fits(entry) ? held : new Row(entry));
    }
    for (const [id, row] of this.#rows) if (rows.get(id) !== row) row.remove();
    let next = this.#list.firstChild;
    for (const entry of shown) {
      const row = /** @type {Row} */ (rows.get(entry.id));
      row.draw(entry, this.#reading.isNew(entry.id), look);
      if (row.element === next) next = next.nextSibling;
      else this.#list.insertBefore(row.element, next);
    }
    const grown = rows.size !== this.#rows.size;
    this.#rows = rows;
    if (grown) this.#askForEnd();
    const goal = rows.get(this.#back) ?? refuge;
    if (rows.has(this.#back)) this.#back = "";
    if (!rows.has(this.#current)) this.#reach(refuge?.entry?.id ?? shown[0]?.id ?? "");
    else rows.get(this.#current)?.reach(true);
    if (goal !== undefined) (goal?.main ?? this.#title).focus();
  }

  /** Where the focus goes whose row leaves: on, else back, else (null) to the heading. undefined: it stays. */
  #refuge(/** @type {Set<string>} */ staying) {
    const row = this.#focused;
    if (!row || staying.has(row.entry.id)) return undefined;
    const rows = [...this.#rows.values()];
    const place = rows.indexOf(row);
    const candidates = [...rows.slice(place + 1), ...rows.slice(0, place).reverse()];
    return candidates.find(({ entry }) => staying.has(entry.id)) ?? null;
  }

  get #focus() {
    return this.#host.shadowRoot?.activeElement;
  }

  get #focused() {
    return rowOf(this.#focus);
  }

  /** One row is a stop for Tab, the arrows lead to the others. */
  #reach(/** @type {string} */ id) {
    this.#rows.get(this.#current)?.reach(false);
    this.#current = id;
    this.#rows.get(id)?.reach(true);
  }

  #tell = () => {
    const now = Date.now();
    for (const row of this.#rows.values()) row.tell(now);
  };

  // ---- what is on the screen ------------------------------------------------------------------------

  #sight(/** @type {IntersectionObserverEntry[]} */ changes) {
    const now = new Map(changes.map(({ target, isIntersecting }) => [target, isIntersecting]));
    this.#onScreen = now.get(this.#scroll) ?? this.#onScreen;
    // What is not on the screen is not being read, and may move.
    this.#atTop = !this.#onScreen || (now.get(this.#top) ?? this.#atTop);
    if (!this.#onScreen) return this.#look();
    if (now.get(this.#end)) this.#older();
    this.draw();
  }

  /** Only changes are told: is the end in sight now, too? */
  #askForEnd() {
    this.#observer.unobserve(this.#end);
    this.#observer.observe(this.#end);
  }

  /** Looked at for a moment, in a page that is visible: seen, up to what was shown then. */
  #look = () => {
    const looking = this.#onScreen && document.visibilityState === "visible";
    watched[looking ? "add" : "delete"](this);
    const { upto, unseen, shown } = this.#view;
    const wanted = looking && unseen > 0 && shown.length > 0 && upto !== this.#seen && this.#filter !== "archived";
    if (!wanted) {
      clearTimeout(this.#timers.seen);
      this.#timers.seen = undefined;
    } else {
      this.#timers.seen ??= setTimeout(() => {
        this.#timers.seen = undefined;
        this.#seen = upto;
        this.#host.current?.markAll("seen", upto ? { upto } : {});
        this.#look();
      }, MOMENT_MS);
    }
  };

  #reveal() {
    this.#atTop = true;
    this.#scroll.scrollTop = 0;
    this.#top.scrollIntoView({ block: "nearest" });
    this.draw();
    this.#go(() => 0);
  }

  // ---- lists ----------------------------------------------------------------------------------------

  get #more() {
    return this.#filter === "all" ? this.#host.snapshot.more : Boolean(this.#listed?.after);
  }

  #choose(/** @type {Filter} */ filter) {
    this.#turnTo(filter);
    this.draw();
  }

  #turnTo(/** @type {Filter} */ filter) {
    this.#asking.abort();
    this.#asking = new AbortController();
    clearTimeout(this.#timers.list);
    this.#fetching = false;
    this.#filter = filter;
    this.#listed = this.#listedAt = this.#lost = null;
    this.#scroll.scrollTop = 0;
    this.#atTop = true;
  }

  /**
   * Lists of other filters than `all` are the hub's: asked for again when the feed has changed. One that is longer
   * than a page would lose its end under somebody's eyes, and stays as it is.
   * @param {import("./client.js").Snapshot} snapshot
   */
  #ask({ cursor }) {
    const held = this.#listed?.entries.length ?? 0;
    if (this.#filter === "all" || cursor === null || cursor === this.#listedAt || held > PAGE) return;
    clearTimeout(this.#timers.list);
    this.#listedAt = cursor;
    this.#timers.list = setTimeout(
      () =>
        this.#while(async (signal) => {
          const { entries, page } = await this.#page({ limit: Math.max(20, held) }, signal);
          this.#listed = { entries, after: page.after };
        }),
      held && FRESH_MS,
    );
  }

  #again() {
    this.#say("");
    this.#host.current?.connect();
    this.#choose(this.#filter);
  }

  #older() {
    if (!this.#more || this.#fetching) return;
    this.#fetching = true;
    this.draw();
    this.#while(async (signal) => {
      const client = this.#host.current;
      if (this.#filter === "all") return client?.older({ signal });
      const { entries, page } = await this.#page({ after: this.#listed?.after }, signal);
      this.#listed = { entries: [...(this.#listed?.entries ?? []), ...entries], after: page.after };
    });
  }

  /** @returns {Promise<any>} a `page` */
  #page(/** @type {object} */ filters, /** @type {AbortSignal} */ signal) {
    return /** @type {any} */ (this.#host.current).list({ status: this.#filter, ...filters }, { signal });
  }

  /** For the list that is shown: nothing comes of it once that is another one. */
  async #while(/** @type {(signal: AbortSignal) => Promise<void>} */ act) {
    const { signal } = this.#asking;
    const error = await act(signal).catch((error) => error);
    if (signal.aborted) return;
    this.#fetching = false;
    this.#lost = error;
    if (error) return this.#fail(error);
    this.draw();
    this.#askForEnd();
  }

  // ---- marks ----------------------------------------------------------------------------------------

  #mark(/** @type {Verb} */ verb, /** @type {any} */ entry) {
    if (verb === "read" && entry.read_at) return;
    this.#send(verb, entry.id);
    if (verb === "read" || verb === "click") return;
    const { t } = this.#host.look;
    this.#say(`${t(`${verb}Done`)}: ${titleOf(entry)}`, { verb: OPPOSITE[verb], id: entry.id });
    this.draw();
    say(`${t(`${verb}Done`)}. ${t("undoKey")}`);
  }

  #send(/** @type {Verb} */ verb, /** @type {string} */ id) {
    this.#locally(verb, (entry) => entry.id === id);
    this.#host.current?.mark(verb, [id]);
    this.draw();
  }

  /** What the hub listed knows nothing of a mark until it is listed again. */
  #locally(/** @type {string} */ verb, /** @type {(entry: any) => boolean} */ which) {
    if (!this.#listed) return;
    const at = new Date().toISOString();
    this.#listed.entries = this.#listed.entries.map((entry) => (which(entry) ? mark(entry, [verb], at) : entry));
  }

  #takeBack() {
    const { verb, id } = /** @type {{verb: "archive" | "unarchive", id: string}} */ (this.#undo);
    if (this.#focus === this.#noteAct) this.#title.focus();
    this.#say("");
    this.#back = id;
    this.#send(verb, id);
    say(this.#host.look.t(`${verb}Done`));
  }

  #fail(/** @type {any} */ { code, message }) {
    const { t } = this.#host.look;
    const text = t("failed", { error: t(code) || message });
    this.#say(text);
    // A closed panel is not drawn.
    this.#host.draw();
    say(text);
  }

  #say(/** @type {string} */ text, /** @type {{verb: "archive" | "unarchive", id: string} | null} */ undo = null) {
    this.#told = text;
    this.#undo = undo;
    this.#expire();
  }

  #expire() {
    clearTimeout(this.#timers.note);
    this.#timers.note = setTimeout(() => {
      if (this.#lost || this.#note.matches(":hover, :focus-within")) return this.#expire();
      this.#say("");
      this.draw();
    }, UNDO_MS);
  }

  // ---- keyboard -------------------------------------------------------------------------------------

  #key(/** @type {KeyboardEvent} */ event) {
    const target = /** @type {HTMLElement} */ (event.composedPath()[0]);
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (target.closest?.("input, textarea, select, [contenteditable]")) return;
    if (!this.#act(event.key, target)) return;
    event.preventDefault();
    event.stopPropagation(); // the page may have another meaning for `e`
  }

  /** @returns {any} whether the key meant something */
  #act(/** @type {string} */ key, /** @type {HTMLElement} */ target) {
    const row = this.#focused;
    switch (key) {
      case "ArrowDown":
      case "j":
        return this.#go((place) => place + 1);
      case "ArrowUp":
      case "k":
        return this.#go((place) => Math.max(0, place - 1));
      case "Home":
        return this.#go(() => 0);
      case "End":
        return this.#go(() => Infinity);
      case "ArrowLeft":
      case "ArrowRight":
        return this.#along(target, key === "ArrowRight");
      case "e":
        return row && (this.#mark(row.entry.archived_at ? "unarchive" : "archive", row.entry), true);
      case "I":
        return row && (this.#mark("read", row.entry), true);
      case "A":
        return !this.#all.hidden && this.markAllRead();
      case "z":
        return this.#undo && (this.#takeBack(), true);
    }
  }

  #go(/** @type {(place: number) => number} */ where) {
    const rows = [...this.#rows.values()];
    const place = this.#focused ? rows.indexOf(this.#focused) : -1;
    const row = rows[Math.min(where(place), rows.length - 1)];
    row?.main.focus();
    return row;
  }

  /** Through the buttons of the toolbar or of a row, in reading direction. */
  #along(/** @type {HTMLElement} */ target, /** @type {boolean} */ right) {
    const group = target.closest("[role=toolbar], li");
    const buttons = /** @type {HTMLElement[]} */ ([...(group?.querySelectorAll("a, button") ?? [])]);
    const shown = buttons.filter((button) => button.checkVisibility({ visibilityProperty: true }));
    const step = right === (getComputedStyle(target).direction === "ltr") ? 1 : -1;
    const next = shown[shown.indexOf(target) + step];
    next?.focus();
    return next;
  }
}
