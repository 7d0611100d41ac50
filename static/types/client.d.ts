/**
 * A client of a notification hub for browsers: a WebSocket, a storage and one timer around the rules of
 * `protocol.js` and `outbox.js`.
 *
 *     import { BellhubClient } from "./static/client.js";
 *     const bell = new BellhubClient({ url: "ws/v1", apiKey: "pk_…", channel: "inbox", getToken });
 *     bell.subscribe(() => draw(bell.getSnapshot()));
 *     bell.connect();
 * @module
 */
/** A hub said no, or the client was closed before it could answer. `code` as in the protocol, or `closed`. */
export declare class BellhubError extends Error {
    name: string;
    code: string;
    /** @param {{code: string, message: string, temporary?: boolean, details?: object}} frame */
    constructor({ message, ...more }: {
        code: string;
        message: string;
        temporary?: boolean;
        details?: object;
    });
}
export type Entry = import("./inbox.js").Entry;
export type Frame = import("./inbox.js").Frame;
export type Ask = import("./outbox.js").Ask;
export type Job = import("./outbox.js").Job;
export type Step = import("./protocol.js").Step;
export type Snapshot = {
    /**
     * not every lost connection means `closed`: only `close()`,
     * `logout()`, or a hub that says stay away
     */
    state: import("./protocol.js").State;
    /**
     * why the connection ended, if it did
     */
    reason: import("./protocol.js").Why | undefined;
    /**
     * among the tabs of this browser
     */
    role: "solo" | "leader" | "follower";
    user: string | null;
    /**
     * of the whole feed, unanswered marks included
     */
    counts: {
        unseen: number;
        unread: number;
        total: number;
    };
    /**
     * those neither archived nor dismissed, newest first, unanswered marks included
     */
    entries: Entry[];
    /**
     * the place in the feed that this shows
     */
    cursor: string | null;
    /**
     * `older()` has some
     */
    more: boolean;
    /**
     * marks that the hub has not acknowledged
     */
    pending: number;
};
/** @typedef {import("./inbox.js").Entry} Entry */
/** @typedef {import("./inbox.js").Frame} Frame */
/** @typedef {import("./outbox.js").Ask} Ask */
/** @typedef {import("./outbox.js").Job} Job */
/** @typedef {import("./protocol.js").Step} Step */
/**
 * @typedef {object} Snapshot what to show; frozen, and the same object until something changes
 * @property {import("./protocol.js").State} state not every lost connection means `closed`: only `close()`,
 *   `logout()`, or a hub that says stay away
 * @property {import("./protocol.js").Why | undefined} reason why the connection ended, if it did
 * @property {"solo" | "leader" | "follower"} role among the tabs of this browser
 * @property {string | null} user
 * @property {{unseen: number, unread: number, total: number}} counts of the whole feed, unanswered marks included
 * @property {Entry[]} entries those neither archived nor dismissed, newest first, unanswered marks included
 * @property {string | null} cursor the place in the feed that this shows
 * @property {boolean} more `older()` has some
 * @property {number} pending marks that the hub has not acknowledged
 */
/**
 * One user's feed on one channel, kept up to date until `close()`.
 *
 * Events, all of them `CustomEvent`s:
 * - `change`: there is another snapshot.
 * - `notification`: `{entry}`; a new entry, or one from while we were away; none of a snapshot.
 * - `state`: `{state, code?, reason?}`.
 * - `refused`: `{verb, ids, error}`; a mark was undone, since the hub will not have it. `ids`: those asked for;
 *   undefined for a mark-all.
 * - `auth`: `{code, reason}`; the hub will not have this user, or nobody is signed in. The client is closed:
 *   `connect()` asks for another token.
 * - `frame`: `{direction: "in" | "out", frame, size}` in bytes; tokens are blotted out.
 * - `error`: `{error}`; what no call is waiting for.
 *
 * What a listener throws is reported as any uncaught error and stops nothing here.
 */
export declare class BellhubClient extends EventTarget {
    #private;
    /**
     * @param {object} options
     * @param {string} [options.url] of the hub's socket, relative to the page; `http` becomes `ws`
     * @param {string} options.apiKey the project's public key, `pk_…`
     * @param {string} options.channel UUID or handle
     * @param {() => Promise<string | null>} [options.getToken] fetches a user token; called again only when that has
     *   expired. null: nobody is signed in
     * @param {string | null} [options.user] instead of a token, on a hub in development mode; beside `getToken`: who is
     *   signed in, if the page knows; then one token serves all tabs, otherwise each asks for one to see whose it is
     * @param {boolean} [options.tabs] share one socket among the tabs of this browser
     * @param {Storage | null} [options.storage] keeps unanswered marks over a reload, `localStorage` by
     *   default; null: nothing does
     * @param {typeof globalThis.WebSocket} [options.WebSocket]
     * @param {typeof CLOCK} [options.clock]
     * @param {() => number} [options.random] in [0, 1); spreads reconnects
     */
    constructor({ url, apiKey, channel, getToken, user, tabs, storage, WebSocket, clock, random, }: {
        url?: string;
        apiKey: string;
        channel: string;
        getToken?: () => Promise<string | null>;
        user?: string | null;
        tabs?: boolean;
        storage?: Storage | null;
        WebSocket?: typeof globalThis.WebSocket;
        clock?: typeof CLOCK;
        random?: () => number;
    });
    /** @returns {Snapshot} */
    getSnapshot(): Snapshot;
    /**
     * Be told when there is another snapshot: with `getSnapshot` a store for any framework.
     * @param {() => void} fn
     * @returns {() => void} ends it
     */
    subscribe(fn: () => void): () => void;
    /** Connect and stay connected; while waiting to come back, try at once. */
    connect(): void;
    /** Close. Calls without an answer fail with the code `closed`; their marks are kept and sent the next time. */
    close(): void;
    /** The user leaves: close, here and in all tabs, and forget marks that were not sent. */
    logout(): void;
    /**
     * Mark entries: shown at once, and resolved when it is stored. Lost connections and reloads are survived and
     * nothing counts twice. What the hub will not have is undone.
     * @param {"seen" | "read" | "click" | "archive" | "unarchive" | "dismiss"} verb
     * @param {string[]} ids at most 500
     * @param {{signal?: AbortSignal}} [options] aborting takes a mark back that was not sent yet
     * @returns {Promise<Frame>} the `ack`
     * @throws {BellhubError}
     */
    mark(verb: "seen" | "read" | "click" | "archive" | "unarchive" | "dismiss", ids: string[], options?: {
        signal?: AbortSignal;
    }): Promise<Frame>;
    /**
     * Mark everything that had arrived at a place in the feed; what came later is spared.
     * @param {"seen" | "read" | "archive" | "dismiss"} verb
     * @param {object} [options]
     * @param {string | null} [options.upto] the `cursor` of the snapshot that was shown; now, by default
     * @param {string} [options.topic] only entries of this topic
     * @param {AbortSignal} [options.signal]
     * @returns {Promise<Frame>} the `ack`
     * @throws {BellhubError}
     */
    markAll(verb: "seen" | "read" | "archive" | "dismiss", { upto, topic, ...options }?: {
        upto?: string | null;
        topic?: string;
        signal?: AbortSignal;
    }): Promise<Frame>;
    /**
     * A page of the feed, whatever this client holds, in the order of the marks before it.
     * @param {object} [filters] as in REST, with one of `after` and `before`, and `limit`
     * @param {{signal?: AbortSignal}} [options]
     * @returns {Promise<Frame>} the `page`
     * @throws {BellhubError}
     */
    list(filters?: object, options?: {
        signal?: AbortSignal;
    }): Promise<Frame>;
    /**
     * Take the next older page into the snapshot.
     * @param {{signal?: AbortSignal}} [options]
     * @returns {Promise<void>}
     * @throws {BellhubError}
     */
    older(options?: {
        signal?: AbortSignal;
    }): Promise<void>;
}
/**
 * The one client for this feed of this user, so that two elements of a page share a socket. Who comes first says the
 * rest of the options. It is connected by its users and closed by nobody in particular; a closed one is replaced.
 * @param {ConstructorParameters<typeof BellhubClient>[0]} options with the same function `getToken`, to share
 * @returns {BellhubClient}
 */
export declare function shared(options: ConstructorParameters<typeof BellhubClient>[0]): BellhubClient;
/** Milliseconds since 1970 that never run backwards. They go on in a machine's sleep, unlike `performance.now()`. */
declare const CLOCK: {
    now(): number;
    setTimeout: (/** @type {() => void} */ fn: () => void, /** @type {number} */ ms: number) => number;
    clearTimeout: (/** @type {any} */ timer: any) => void;
};
export {};
