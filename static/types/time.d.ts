/**
 * Times as people say them: "2 min ago", "yesterday", and after a week a date.
 * @module
 */
/**
 * @param {string | undefined} lang BCP 47
 * @returns {{ago: (time: Date, now: number) => string, exact: (time: Date) => string}}
 */
export declare function clock(lang: string | undefined): {
    ago: (time: Date, now: number) => string;
    exact: (time: Date) => string;
};
/**
 * Call back at every full minute: one timer for the page, and none where nobody waits.
 * @param {() => void} fn
 * @returns {() => void} ends it
 */
export declare function everyMinute(fn: () => void): () => void;
