/**
 * How the elements look. One constructed sheet for all of them: no inline style, so pages may forbid it.
 * @module
 */
/** @returns {CSSStyleSheet} */
export declare function sheet(): CSSStyleSheet;
