/**
 * One client's side of the socket protocol, version 1: connections, one followed feed, one request at a time.
 *
 * Pure: no socket, no clock, no timer. The caller reports what happened and when, and does what the returned
 * steps say. Times are milliseconds since 1970 by a clock that does not run backwards.
 * @module
 */
/** The WebSocket subprotocol. */
export declare const SUBPROTOCOL = "bellhub.v1.json";
export type Frame = import("./inbox.js").Frame;
export type Step = {
    act: "connect";
} | {
    act: "drop";
} | {
    act: "send";
    frame: Frame;
} | {
    act: "token";
} | ({
    act: "state";
    state: State;
} & Partial<Why>) | {
    act: "notification";
    entry: import("./inbox.js").Entry;
} | {
    act: "answer";
    answer: Frame;
} | ({
    act: "auth";
} & Why) | {
    act: "error";
    error: Frame;
};
export type Why = {
    code: number | string;
    reason: string;
};
export type Steps = Step[] | undefined;
export type State = "idle" | "connecting" | "connected" | "reconnecting" | "closed";
/** @typedef {import("./inbox.js").Frame} Frame */
/**
 * What the caller is to do.
 * - `connect`: open a socket, then report `open` or `closed`.
 * - `drop`: forget the socket, nothing of it counts any more; no `closed` is expected.
 * - `send`: write this frame.
 * - `token`: fetch a user token, then report `token` or `tokenFailed`.
 * - `state`: the state is now this; `code` and `reason` say why a connection ended, if one did.
 * - `notification`: an entry that was not there before, now or while this client was away.
 * - `answer`: the answer to the request: an `ack`, a `page` or an `error`.
 * - `auth`: the hub will not have this user, or nobody is signed in. It ended.
 * - `error`: an error that answers no request.
 * @typedef {{act: "connect"} | {act: "drop"} | {act: "send", frame: Frame} | {act: "token"}
 *   | {act: "state", state: State} & Partial<Why>
 *   | {act: "notification", entry: import("./inbox.js").Entry} | {act: "answer", answer: Frame}
 *   | {act: "auth"} & Why | {act: "error", error: Frame}} Step
 */
/**
 * Why a connection ended. `code`: that of the close or of the error, or `closed`, `nobody`, `signed_out`,
 * `other_user`. `reason` is for developers.
 * @typedef {{code: number | string, reason: string}} Why
 */
/** No step is needed where nothing is returned. @typedef {Step[] | undefined} Steps */
/** @typedef {"idle" | "connecting" | "connected" | "reconnecting" | "closed"} State */
/**
 * The rules of one client. Every input returns the steps to do, in order.
 *
 * Phases: idle → (token →) opening → open (`auth` and `subscribe` are sent) → welcomed → (leaving: the hub said
 * `bye` →) waiting → … ; paused while the page is away; closed after `stop` or a close code that says stay away.
 */
export declare class Connection {
    #private;
    /**
     * @param {object} options
     * @param {string} options.apiKey
     * @param {string} options.channel UUID or handle
     * @param {string | null} [options.user] development sign-in; without it tokens are asked for
     * @param {() => number} options.random in [0, 1)
     */
    constructor({ apiKey, channel, user, random }: {
        apiKey: string;
        channel: string;
        user?: string | null;
        random: () => number;
    });
    /** @returns {State} */
    get state(): State;
    /** @returns {import("./inbox.js").Inbox} */
    get inbox(): import("./inbox.js").Inbox;
    /** When `tick` wants to be called; Infinity: not before something else happens. */
    get due(): number;
    /** Whether `request` may be called: connected, and nothing else waits for its answer. */
    get ready(): boolean;
    /** Connect; while waiting to come back: now. @returns {Step[]} */
    start(/** @type {number} */ now: number): Step[];
    /**
     * Network or page are back: do not sit out a wait, unless the hub itself asked for it, and do not trust an open
     * socket either: it may have died while nobody looked. A page that comes back is seen again before it is told so.
     * @returns {Step[]}
     */
    wake(/** @type {number} */ now: number): Step[];
    /** The page goes away and may come back: let go of the socket until `start`, when somebody else may be signed in. @returns {Step[]} */
    pause(): Step[];
    /** There is another way to the hub, which may need the token that this one did not. @returns {Step[]} */
    restart(/** @type {number} */ now: number): Step[];
    /** Close for good. `refused`: since somebody else is to be served. @returns {Step[]} */
    stop(/** @type {Why} */ why: Why, /** @type {boolean} */ refused: boolean): Step[];
    /** @param {string | null} token null: nobody is signed in @returns {Step[]} */
    token(token: string | null, /** @type {number} */ now: number): Step[];
    /**
     * No token could be had: a failed attempt like any other. An open socket lasts as long as the token it has, and
     * until then more are asked for.
     * @returns {Step[]}
     */
    tokenFailed(/** @type {number} */ now: number): Step[];
    /** @returns {Step[]} */
    open(/** @type {number} */ now: number): Step[];
    /** The socket closed, or never opened. One that was dropped is not spoken of any more. @returns {Step[]} */
    closed(/** @type {number} */ code: number, /** @type {number} */ now: number): Step[];
    /** @param {Frame} frame of the hub @returns {Step[]} */
    frame(frame: Frame, /** @type {number} */ now: number): Step[];
    /** @returns {Step[]} */
    tick(/** @type {number} */ now: number): Step[];
    /**
     * Ask for something that one `ack`, `page` or `error` answers. A request whose connection is lost is forgotten:
     * the caller, who alone knows whether it matters, asks again when `ready`.
     * @param {Frame} frame a mark or a `list`, without `ref` and `channel`
     * @returns {Step[]}
     */
    request(frame: Frame): Step[];
    /** Take the older page that was asked for with this `after` into the inbox. */
    append(/** @type {Frame} */ page: Frame, /** @type {string} */ after: string): void;
}
