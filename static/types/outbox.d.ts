/**
 * What a client asked of the hub and has no answer to yet, in the order asked. Marks show at once, are kept until
 * the hub has stored or refused them, and fewer frames are made of them where that changes nothing.
 *
 * Pure: no storage, no clock. Times are milliseconds since 1970.
 * @module
 */
/** Jobs that may wait; the next one is refused. */
export declare const WAITING = 500;
/** A mark that could not be sent for so long is forgotten, ms. */
export declare const KEPT_MS: number;
/** Ids in one frame. */
export declare const IDS = 500;
export type Entry = import("./inbox.js").Entry;
export type Frame = import("./inbox.js").Frame;
export type Ask = {
    ids?: string[];
    /**
     * of a mark-all: the held entries that it changes
     */
    reached?: string[];
    /**
     * of a mark-all: it changes everything older than what is held, too
     */
    all?: boolean;
    /**
     * a page to be taken into the inbox
     */
    older?: boolean;
    /**
     * tells the caller
     */
    resolve?: (answer: any) => void;
    reject?: (error: unknown) => void;
    /**
     * may take the call back: it shares its job with no other
     */
    signal?: AbortSignal;
};
export type Job = {
    /**
     * the same for every attempt
     */
    op: string;
    /**
     * without `ids`, `op`, `ref` and `channel`
     */
    frame: Frame;
    asks: Ask[];
    /**
     * perhaps on its way or done: it must not change any more
     */
    sent: boolean;
    /**
     * when it was asked for
     */
    at: number;
    /**
     * where the inbox stood when it was sent
     */
    from?: string | null;
    /**
     * of its event, once it is stored
     */
    cursor?: string;
};
/** @typedef {import("./inbox.js").Entry} Entry */
/** @typedef {import("./inbox.js").Frame} Frame */
/**
 * What one call asked for. Several may share a job, and are answered together.
 * @typedef {object} Ask
 * @property {string[]} [ids]
 * @property {string[]} [reached] of a mark-all: the held entries that it changes
 * @property {boolean} [all] of a mark-all: it changes everything older than what is held, too
 * @property {boolean} [older] a page to be taken into the inbox
 * @property {(answer: any) => void} [resolve] tells the caller
 * @property {(error: unknown) => void} [reject]
 * @property {AbortSignal} [signal] may take the call back: it shares its job with no other
 */
/**
 * One frame to be answered.
 * @typedef {object} Job
 * @property {string} op the same for every attempt
 * @property {Frame} frame without `ids`, `op`, `ref` and `channel`
 * @property {Ask[]} asks
 * @property {boolean} sent perhaps on its way or done: it must not change any more
 * @property {number} at when it was asked for
 * @property {string | null} [from] where the inbox stood when it was sent
 * @property {string} [cursor] of its event, once it is stored
 */
/** The jobs of one client. */
export declare class Outbox {
    #private;
    /** Another one: there is something else to show or to keep. */
    version: {};
    /** Those without an answer. @type {Job[]} */
    jobs: Job[];
    /** @returns {Job[]} those that change something */
    get marks(): Job[];
    /**
     * Jobs of an earlier page or of another tab: their frames, and when they were asked for. They may have been sent.
     * @param {(Frame & {op: string, at: number})[]} kept
     * @param {number} now
     */
    load(kept: (Frame & {
        op: string;
        at: number;
    })[], now: number): void;
    /**
     * @param {string} op
     * @param {Frame} frame a `list`, or a mark without ids
     * @param {Ask} ask
     * @param {number} now
     * @param {import("./inbox.js").Inbox} inbox
     * @throws {RangeError} too many ids, too many waiting
     */
    add(op: string, frame: Frame, ask: Ask, now: number, inbox: import("./inbox.js").Inbox): void;
    /** It was answered. @param {Job} job @param {Frame} answer @param {import("./inbox.js").Inbox} inbox */
    done(job: Job, { replayed, changed, cursor }: Frame, inbox: import("./inbox.js").Inbox): void;
    /** This was applied: an event, or a snapshot, which knows of everything. */
    landed(/** @type {Frame} */ { mode, prev, cursor }: Frame): void;
    /**
     * The hub refused a job of several calls, perhaps for one of them: each goes again by itself.
     * @param {Job} job
     * @param {() => string} op
     */
    split(job: Job, op: () => string): void;
    /** Take the call back that has this `reject`, unless it was sent. @param {Ask["reject"]} reject */
    withdraw(reject: Ask["reject"]): void;
    /** Forget all but these. Where there are no others nothing has changed. @param {Job[]} kept */
    keep(kept: Job[]): void;
    /**
     * What to show of an inbox.
     *
     * The counts are the hub's own plus what the unanswered marks change of the entries held: worked out anew from
     * the hub's counts each time, so that nothing adds up to an error, and exactly the hub's when nothing waits.
     * @param {import("./inbox.js").Inbox} inbox
     * @returns {{entries: Entry[], counts: {unseen: number, unread: number, total: number}}}
     */
    show({ entries, counts }: import("./inbox.js").Inbox): {
        entries: Entry[];
        counts: {
            unseen: number;
            unread: number;
            total: number;
        };
    };
}
/**
 * The frame of a job, without `ref` and `channel`: always the same once it may have been sent.
 * @param {Job} job
 * @returns {Frame}
 */
export declare function frameOf(job: Job): Frame;
