/**
 * Everything the elements say, and how a language counts.
 * @module
 */

/** `{n}`, `{title}` and `{error}` are filled in; a map has a text for each plural category of the language. */
export const english = {
  bell: "Notifications",
  bellNew: "Notifications, {n} new",
  bellUnread: "Notifications, {n} unread",
  heading: "Notifications",
  filters: "Filter",
  all: "All",
  unread: "Unread",
  archived: "Archived",
  markAll: "Mark {n} read",
  close: "Close",
  pill: "{n} new",
  arrived: { one: "{n} new notification", other: "{n} new notifications" },
  important: "Important",
  read: "Mark read: {title}",
  archive: "Archive: {title}",
  unarchive: "Move back: {title}",
  archiveDone: "Archived",
  unarchiveDone: "Moved back",
  undo: "Undo",
  undoKey: "Press Z to undo.",
  allEmpty: "You’re all caught up",
  allEmptyMore: "What is new appears here.",
  unreadEmpty: "Nothing left to read",
  unreadEmptyMore: "What is new appears here.",
  archivedEmpty: "Nothing is archived",
  archivedEmptyMore: "What you archive appears here.",
  reconnecting: "Reconnecting…",
  // Why, by the code of the reason or error; for one that has no text here: `closed`, and the code.
  closed: "Notifications can’t be shown",
  nobody: "Nobody is signed in",
  signed_out: "You have signed out",
  other_user: "Somebody else has signed in",
  retry: "Try again",
  desktop: "Show on desktop",
  failed: "That did not work: {error}",
};

/** @typedef {Record<string, string | Partial<Record<Intl.LDMLPluralRule, string>>>} Strings */
/** @typedef {(key: keyof typeof english, values?: {n?: number, title?: string, error?: string}) => string} Translate */

/**
 * @param {Strings} strings what differs from English
 * @param {string | undefined} lang BCP 47
 * @returns {Translate}
 */
export function translator(strings, lang) {
  /** @type {Strings} */
  const all = { ...english, ...strings };
  const rules = new Intl.PluralRules(lang);
  const numbers = new Intl.NumberFormat(lang);
  return (key, { n = 0, ...values } = {}) => {
    const entry = all[key] ?? "";
    const text = typeof entry === "string" ? entry : (entry[rules.select(n)] ?? entry.other ?? "");
    /** @type {Record<string, string | undefined>} */
    const filled = { n: numbers.format(n), ...values };
    return text.replace(/\{(\w+)\}/g, (hole, name) => filled[name] ?? hole);
  };
}

/**
 * A language that `Intl` takes, or none: what pages write into `lang` may be anything.
 * @param {string | null | undefined} lang
 * @returns {string | undefined}
 */
export function language(lang) {
  try {
    return Intl.getCanonicalLocales(lang || undefined)[0];
  } catch {
    return undefined;
  }
}
