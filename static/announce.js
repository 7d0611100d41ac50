/**
 * What screen readers say without being asked: politely, few words, and only in a tab that is looked at.
 * @module
 */

/** Between two counts of what arrived, ms. */
const PAUSE_MS = 5000;
/** A burst is one sentence, ms. */
const BURST_MS = 300;

/** A Web Lock that every tab shares while it is looked at: it ends with the tab, however that ends. */
export const LOOKED_AT = "bellhub:visible";

let leave = (/** @type {unknown} */ _) => {};

function look() {
  leave(0);
  if (document.visibilityState !== "visible") return;
  const looking = new Promise((resolve) => (leave = resolve));
  // Where a page may keep nothing there are no locks either: then a tab hears of no other.
  navigator.locks?.request(LOOKED_AT, { mode: "shared" }, () => looking).catch(() => {});
}

/** @type {any} */
let region;

/** The region must be there before its text changes, and in the light DOM: some readers miss those in shadow trees. */
export function prepare() {
  if (region?.isConnected) return;
  region = document.createElement("div");
  region.role = "status";
  // Not by an attribute: pages may forbid those.
  region.style.cssText = "position: fixed; top: 0; clip-path: inset(50%)";
  document.body.append(region);
  // The same function once, however often. A page that is left is hidden too, and with the lock gone the back/forward
  // cache may keep it.
  document.addEventListener("visibilitychange", look);
  look();
}

/** @param {string} text */
export function say(text) {
  prepare();
  if (document.visibilityState !== "visible") return;
  // The same words twice are a change only if something differs.
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
}

/** What is said of those that have just arrived, behind their number: of the latest three. @type {string[]} */
export const told = [];

/** Clients that are listened to: two elements with one client speak once. */
const heard = new WeakSet();

/**
 * Says how many notifications arrived.
 * @param {EventTarget} client
 * @param {(n: number) => string} words asked at the time of speaking
 */
export function announceArrivals(client, words) {
  if (heard.has(client)) return;
  heard.add(client);
  let arrived = 0;
  let next = 0;
  const speak = () => {
    say([words(arrived), ...told.splice(0).slice(-3)].join(". "));
    arrived = 0;
    next = performance.now() + PAUSE_MS;
  };
  client.addEventListener("notification", () => {
    if (document.visibilityState !== "visible") return;
    if (arrived++ === 0) setTimeout(speak, Math.max(BURST_MS, next - performance.now()));
  });
}
