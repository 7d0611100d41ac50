/**
 * How long to wait before coming back. Pure: the caller brings the time and the random numbers.
 * @module
 */
/** A connection that lasted this long forgets earlier failures, ms. A shorter one counts as another failure. */
export declare const STABLE_MS = 10000;
/**
 * Full jitter: anywhere between the shortest wait and a ceiling that doubles with each attempt.
 * @param {number} attempt 0 for the first; Infinity: the whole range
 * @param {() => number} random in [0, 1)
 * @param {number[]} range [shortest, longest], ms
 * @returns {number} ms
 */
export declare function jitter(attempt: number, random: () => number, [min, max]: number[]): number;
/** The waits of one client, over all its connections. */
export declare class Backoff {
    #private;
    /** [shortest, longest] wait until a hub says otherwise (`welcome.retry_ms`), ms. */
    range: number[];
    /** @param {() => number} random in [0, 1) */
    constructor(random: () => number);
    /** A hub welcomed us. An open socket alone proves nothing: a proxy in front of a dead hub opens too. */
    up(/** @type {number} */ now: number): void;
    /**
     * The connection is lost: how long to wait.
     * @param {number} now ms
     * @param {number[]} [asked] the range that the hub asked for (`bye.delay_ms`), which wins
     * @returns {number} ms
     */
    next(now: number, asked?: number[]): number;
}
