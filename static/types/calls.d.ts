/**
 * Calls to the hub as its operator, each of them told as it was made. Only the operator's key is left out.
 * @module
 */
/** Stands in the place of the key wherever a call is shown. */
export declare const BLOT = "\u2022\u2022\u2022\u2022\u2022\u2022\u2022\u2022";
export type Said = {
    apiKey?: string;
    user?: string;
    query?: Record<string, string>;
    body?: unknown;
};
export type Call = {
    method: string;
    url: URL;
    headers: Record<string, string>;
    body?: unknown;
    at: Date;
    ms: number;
    status: number;
    answer: unknown;
    requestId: string | null;
};
/**
 * What to ask. `apiKey` names the project, `user` whom it is done for.
 * @typedef {{apiKey?: string, user?: string, query?: Record<string, string>, body?: unknown}} Said
 */
/**
 * One call as it was made. `status` 0: nobody answered. `answer` is JSON where it is JSON, else text.
 * @typedef {{method: string, url: URL, headers: Record<string, string>, body?: unknown, at: Date, ms: number,
 *   status: number, answer: unknown, requestId: string | null}} Call
 */
/** A call that did not do what it was to do. `status` 0: nobody answered. */
export declare class CallError extends Error {
    status: number;
    /**
     * @param {number} status
     * @param {string} message
     */
    constructor(status: number, message: string);
}
/** The way to one hub with the operator's key, which is kept here and nowhere else. Event `call` {detail: Call}. */
export declare class Calls extends EventTarget {
    #private;
    /** @param {string} key */
    constructor(key: string);
    /**
     * What the hub answers; null where there is nothing in the answer. Throws CallError.
     * @param {string} method
     * @param {string} path below the hub's own address; names in it percent-encoded
     * @param {Said} said
     * @returns {Promise<any>}
     */
    ask(method: string, path: string, { apiKey, user, query, body }?: Said): Promise<any>;
}
/**
 * The call for a shell, which takes the key from its environment.
 * @param {Call} call
 */
export declare function curl({ method, url, headers, body }: Call): string;
