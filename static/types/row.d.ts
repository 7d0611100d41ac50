/**
 * One entry in a list: a link or button, and beside it, never inside, what else can be done with it.
 * @module
 */
export type Look = {
    t: import("./strings.js").Translate;
    clock: ReturnType<typeof import("./time.js").clock>;
    render: ((entry: any) => Node | null) | null;
    host: HTMLElement;
};
/** @typedef {{t: import("./strings.js").Translate, clock: ReturnType<typeof import("./time.js").clock>,
 *   render: ((entry: any) => Node | null) | null, host: HTMLElement}} Look */
/** Elements that outlive what they show, so that the focus can stay on them. */
export declare class Row {
    #private;
    linked: boolean;
    main: any;
    element: any;
    /** @type {any} */
    entry: any;
    /** @param {any} entry */
    constructor(entry: any);
    /** A link does not become a button without losing the focus. @param {any} entry */
    fits(entry: any): boolean;
    /**
     * @param {any} entry
     * @param {boolean} fresh it was new when this opening began
     * @param {Look} look
     */
    draw(entry: any, fresh: boolean, look: Look): void;
    /** @param {number} now */
    tell(now: number): void;
    /** @param {boolean} tabbed */
    reach(tabbed: boolean): void;
    remove(): void;
}
export type Verb = "read" | "click" | "archive" | "unarchive";
/** @typedef {"read" | "click" | "archive" | "unarchive"} Verb */
/**
 * Clicks in a list of rows mark, and follow a link unless the page takes that over.
 * @param {any} list
 * @param {{clicked(entry: any, follows: boolean): boolean}} host
 * @param {(verb: Verb, entry: any) => void} mark
 */
export declare function onRowClick(list: any, host: {
    clicked(entry: any, follows: boolean): boolean;
}, mark: (verb: Verb, entry: any) => void): void;
/** One of blanks says as little as none. @param {any} entry @returns {string} */
export declare function titleOf({ data, notiflow_handle }: any): string;
