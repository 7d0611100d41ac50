/**
 * What somebody sees of a feed while reading it. Pure: decides what is shown, what is held back and what is new.
 * @module
 */
export type Filter = "all" | "unread" | "archived";
export type Snapshot = import("./client.js").Snapshot;
/** @typedef {"all" | "unread" | "archived"} Filter */
/** @typedef {import("./client.js").Snapshot} Snapshot */
/** One opening of a list. */
export declare class Reading {
    #private;
    /**
     * @param {any[]} entries what there is, newest first
     * @param {Pick<Snapshot, "cursor" | "counts">} snapshot
     * @param {boolean} still what is being read must not move: what comes on top is held back
     * @returns {{shown: any[], held: number, upto: string | null, unread: number, unseen: number}} `upto`: the place
     *   in the feed up to which everything is shown; `unread` and `unseen` count no entry that is held back
     */
    take(entries: any[], { cursor, counts }: Pick<Snapshot, "cursor" | "counts">, still: boolean): {
        shown: any[];
        held: number;
        upto: string | null;
        unread: number;
        unseen: number;
    };
    /** @param {string} id */
    isNew(id: string): boolean;
}
/**
 * The entries of a filter. The snapshot has the newest; `pages` what the hub listed for this filter, which may be
 * a moment older.
 * @param {Filter} filter
 * @param {Snapshot} snapshot
 * @param {any[]} pages
 * @returns {any[]} newest first
 */
export declare function filtered(filter: Filter, snapshot: Snapshot, pages: any[]): any[];
/**
 * An address that a link may have: http, https or relative. Anything else could run as a script.
 * @param {unknown} url
 * @returns {string | null}
 */
export declare function safeLink(url: unknown): string | null;
