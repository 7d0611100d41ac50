/**
 * Times as people say them: "2 min ago", "yesterday", and after a week a date.
 * @module
 */
export declare const MINUTE = 60000;
/**
 * @param {string | undefined} lang BCP 47
 * @returns {{ago: (time: Date, now: number) => string, exact: (time: Date) => string}}
 */
export declare function clock(lang: string | undefined): {
    ago: (time: Date, now: number) => string;
    exact: (time: Date) => string;
};
