/**
 * One feed as a client holds it. Pure: `apply(state, frame)` gives the next state and changes nothing in place.
 *
 * Counts are never computed here: every event carries them, absolute (protocol, section 4). Those of an `ack` or a
 * `page` are not needed: where they may be taken, they are those of the event at the same cursor.
 * @module
 */
export type Frame = Record<string, any>;
export type Entry = Record<string, any> & {
    id: string;
};
export type Inbox = {
    /**
     * where in the feed's log this state is; null: ask for a snapshot
     */
    cursor: string | null;
    /**
     * of the whole feed, not of what is held
     */
    counts: {
        unseen: number;
        unread: number;
        total: number;
    };
    /**
     * all that are held, newest first; archived ones too, since they can come back
     */
    entries: Entry[];
    /**
     * the token of the next older page; null: nothing older
     */
    after: string | null;
    /**
     * the way since the last snapshot: each event, and the entry it brought
     */
    trail: {
        cursor: string;
        id?: string;
    }[];
    /**
     * an event did not link: subscribe again from `cursor`
     */
    gap: boolean;
};
/** One message of the protocol (`docs/protocol.md`). @typedef {Record<string, any>} Frame */
/** A notification in a feed (`docs/api.md`, A user's feed). @typedef {Record<string, any> & {id: string}} Entry */
/**
 * @typedef {object} Inbox
 * @property {string | null} cursor where in the feed's log this state is; null: ask for a snapshot
 * @property {{unseen: number, unread: number, total: number}} counts of the whole feed, not of what is held
 * @property {Entry[]} entries all that are held, newest first; archived ones too, since they can come back
 * @property {string | null} after the token of the next older page; null: nothing older
 * @property {{cursor: string, id?: string}[]} trail the way since the last snapshot: each event, and the entry it brought
 * @property {boolean} gap an event did not link: subscribe again from `cursor`
 */
/** The state before the first `subscribed`. @type {Inbox} */
export declare const EMPTY: Inbox;
/** @returns {boolean} whether a bell lists it: neither archived nor dismissed */
export declare function active(/** @type {Entry} */ { archived_at, dismissed_at }: Entry): boolean;
/**
 * The held entries that had not arrived at this place of the log.
 * @param {Inbox} state
 * @param {string} cursor
 * @returns {Set<string | undefined> | null} their ids; null: this inbox never stood there
 */
export declare function arrivedAfter({ trail }: Inbox, cursor: string): Set<string | undefined> | null;
/**
 * The state after one frame of the hub. The same object when the frame changes nothing.
 * @param {Inbox} state
 * @param {Frame} frame
 * @returns {Inbox}
 */
export declare function apply(state: Inbox, frame: Frame): Inbox;
/**
 * An older page, asked for with the state's own `after`.
 * @param {Inbox} state
 * @param {Frame} frame a `page`
 * @returns {Inbox}
 */
export declare function append(state: Inbox, frame: Frame): Inbox;
/**
 * Section 6 of the protocol for one entry.
 * @param {Entry} entry
 * @param {string[]} verbs
 * @param {string} at the time of the event
 * @returns {Entry}
 */
export declare function mark(entry: Entry, verbs: string[], at: string): Entry;
