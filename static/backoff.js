/**
 * How long to wait before coming back. Pure: the caller brings the time and the random numbers.
 * @module
 */

/** A connection that lasted this long forgets earlier failures, ms. A shorter one counts as another failure. */
export const STABLE_MS = 10_000;

/**
 * Full jitter: anywhere between the shortest wait and a ceiling that doubles with each attempt.
 * @param {number} attempt 0 for the first; Infinity: the whole range
 * @param {() => number} random in [0, 1)
 * @param {number[]} range [shortest, longest], ms
 * @returns {number} ms
 */
export function jitter(attempt, random, [min, max]) {
  const ceiling = Math.max(min, Math.min(max, (min || 1) * 2 ** (attempt + 1)));
  return Math.round(min + random() * (ceiling - min));
}

/** The waits of one client, over all its connections. */
export class Backoff {
  /** [shortest, longest] wait until a hub says otherwise (`welcome.retry_ms`), ms. */
  range = [500, 20_000];
  #random;
  #attempt = 0;
  #upSince = Infinity;

  /** @param {() => number} random in [0, 1) */
  constructor(random) {
    this.#random = random;
  }

  /** A hub welcomed us. An open socket alone proves nothing: a proxy in front of a dead hub opens too. */
  up(/** @type {number} */ now) {
    this.#upSince = now;
  }

  /**
   * The connection is lost: how long to wait.
   * @param {number} now ms
   * @param {number[]} [asked] the range that the hub asked for (`bye.delay_ms`), which wins
   * @returns {number} ms
   */
  next(now, asked) {
    if (now - this.#upSince >= STABLE_MS) this.#attempt = 0;
    this.#upSince = Infinity;
    const attempt = this.#attempt++;
    return jitter(asked ? Infinity : attempt, this.#random, asked ?? this.range);
  }
}
