/**
 * What screen readers say without being asked: politely, few words, and only in a tab that is looked at.
 * @module
 */
/** A Web Lock that every tab shares while it is looked at: it ends with the tab, however that ends. */
export declare const LOOKED_AT = "bellhub:visible";
/** The region must be there before its text changes, and in the light DOM: some readers miss those in shadow trees. */
export declare function prepare(): void;
/** @param {string} text */
export declare function say(text: string): void;
/** What is said of those that have just arrived, behind their number: of the latest three. @type {string[]} */
export declare const told: string[];
/**
 * Says how many notifications arrived.
 * @param {EventTarget} client
 * @param {(n: number) => string} words asked at the time of speaking
 */
export declare function announceArrivals(client: EventTarget, words: (n: number) => string): void;
