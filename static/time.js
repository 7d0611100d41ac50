/**
 * Times as people say them: "2 min ago", "yesterday", and after a week a date.
 * @module
 */

export const MINUTE = 60_000;
const UNITS = /** @type {const} */ ([
  ["day", 24 * 60 * MINUTE],
  ["hour", 60 * MINUTE],
  ["minute", MINUTE],
]);

/**
 * @param {string | undefined} lang BCP 47
 * @returns {{ago: (time: Date, now: number) => string, exact: (time: Date) => string}}
 */
export function clock(lang) {
  const relative = new Intl.RelativeTimeFormat(lang, { numeric: "auto", style: "short" });
  const date = new Intl.DateTimeFormat(lang, { dateStyle: "medium" });
  const exact = new Intl.DateTimeFormat(lang, { dateStyle: "full", timeStyle: "short" });
  return {
    ago(time, now) {
      // Clocks differ: what seems to come from the future is from now.
      const age = Math.max(0, now - time.getTime());
      if (age >= 7 * UNITS[0][1]) return date.format(time);
      const [unit, length] = UNITS.find(([, length]) => age >= length) ?? ["second", Infinity];
      return relative.format(-Math.floor(age / length), unit);
    },
    exact: (time) => exact.format(time),
  };
}
