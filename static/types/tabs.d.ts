/**
 * One socket for all tabs of a user in one browser. One tab, the leader, has it. To the others the leader plays the
 * hub, over a BroadcastChannel: they speak to it as they would to a hub, through a `WebSocket` of this module, so that
 * the rules of `protocol.js` are the same in every tab, and nothing can get lost in between that they would not notice.
 *
 * Who leads is decided by a Web Lock. Where there are none (plain http) every tab is `solo`, with a socket of its own.
 * @module
 */
export type Frame = import("./inbox.js").Frame;
export type Line = Pick<WebSocket, "send" | "close" | "addEventListener">;
export type Options = {
    /**
     * of this tab
     */
    id: string;
    /**
     * of the feed: the same in all tabs that show it, to whomever
     */
    name: string;
    /**
     * what this tab holds; null while it is not connected
     */
    mine: () => Mine | null;
    /**
     * another role: whatever socket there is is not to be used any more
     */
    changed: () => void;
    /**
     * the leader can be reached again: connect now
     */
    wake: () => void;
    /**
     * in another tab; null: this user has signed out there
     */
    signedIn: (user: string | null) => void;
    clock: {
        now(): number;
        setTimeout(fn: () => void, ms: number): any;
        clearTimeout(timer: any): void;
    };
    /**
     * without one every tab is alone
     */
    Channel?: typeof BroadcastChannel | false;
};
export type Role = "solo" | "leader" | "follower";
export type Mine = {
    /**
     * the hub's last
     */
    welcome: Frame;
    /**
     * the hub's last
     */
    subscribed: Frame;
    inbox: import("./inbox.js").Inbox;
};
/** @typedef {import("./inbox.js").Frame} Frame */
/** @typedef {Pick<WebSocket, "send" | "close" | "addEventListener">} Line as much of a socket as a client uses */
/**
 * @typedef {object} Options
 * @property {string} id of this tab
 * @property {string} name of the feed: the same in all tabs that show it, to whomever
 * @property {() => Mine | null} mine what this tab holds; null while it is not connected
 * @property {() => void} changed another role: whatever socket there is is not to be used any more
 * @property {() => void} wake the leader can be reached again: connect now
 * @property {(user: string | null) => void} signedIn in another tab; null: this user has signed out there
 * @property {{now(): number, setTimeout(fn: () => void, ms: number): any, clearTimeout(timer: any): void}} clock
 * @property {typeof BroadcastChannel | false} [Channel] without one every tab is alone
 */
/** @typedef {"solo" | "leader" | "follower"} Role */
/**
 * @typedef {object} Mine
 * @property {Frame} welcome the hub's last
 * @property {Frame} subscribed the hub's last
 * @property {import("./inbox.js").Inbox} inbox
 */
export declare class Tabs {
    #private;
    /** @type {Role} */
    role: Role;
    /** @param {Options} is */
    constructor(is: Options);
    /**
     * Join the other tabs of this user. Called again after `stop`, come back.
     * @param {string | null} user null: until it is known who that is, this tab is alone
     */
    start(user: string | null): void;
    /** Leave the others; a leader's place is free. */
    stop(): void;
    /** Tell all tabs who is signed in; null: nobody any more. */
    announce(/** @type {string | null} */ user: string | null): void;
    /**
     * A socket to the hub, or to the tab that has one.
     * @param {() => WebSocket} connect
     * @returns {Line}
     */
    open(connect: () => WebSocket): Line;
    /** Whether a frame of the hub answers another tab, which has it now. */
    passOn(/** @type {Frame} */ frame: Frame): string;
    /** A frame of the hub has been taken in here: the others need it too. */
    tookIn(/** @type {Frame} */ frame: Frame): void;
    /** The page was hidden, or is seen again: a leader that is hidden offers its place. */
    looked(): void;
}
