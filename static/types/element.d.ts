/**
 * What the elements have in common: a client by attributes or as a property, strings, a language.
 * @module
 */
/** Where there is no DOM, as on a server that renders pages, importing defines nothing and does no harm. */
declare const Base: typeof HTMLElement;
export type Client = import("./client.js").BellhubClient;
/**
 * Attributes: `url` of the hub's socket, `api-key`, `channel` (`inbox`), `token-endpoint` (answers `GET` with the
 * user's token, as text or as JSON `{token}`; 401 or 204: nobody is signed in) or, in development, `user`; `lang`.
 */
export declare class BellElement extends Base {
    #private;
    static observedAttributes: string[];
    /** The list, where an element has one. @type {import("./panel.js").Panel | undefined} */
    panel: import("./panel.js").Panel | undefined;
    constructor();
    /** A client of the page's own, which connects and closes it; instead of the attributes. */
    get client(): import("./client.js").BellhubClient | null;
    set client(client: import("./client.js").BellhubClient | null);
    /** Fetches a user token; instead of `token-endpoint`. */
    get getToken(): (() => Promise<string | null>) | null;
    set getToken(getToken: (() => Promise<string | null>) | null);
    /** What differs from the English strings. @type {import("./strings.js").Strings} */
    get strings(): import("./strings.js").Strings;
    set strings(strings: import("./strings.js").Strings);
    /** Draws the content of an entry, put into the light DOM, where the page's styles reach it. null: as ever. */
    get renderItem(): ((entry: any) => Node | null) | null;
    set renderItem(renderItem: ((entry: any) => Node | null) | null);
    /** The client in use, however it came. @returns {Client | null} */
    get current(): Client | null;
    get snapshot(): any;
    /** How things are written here. @returns {import("./row.js").Look} */
    get look(): import("./row.js").Look;
    /** Where the keyboard begins. */
    focus(): void;
    /** Mark everything read that is shown; what arrives meanwhile is spared. */
    markAllRead(): Promise<import("./inbox.js").Frame> | undefined;
    connectedCallback(): void;
    disconnectedCallback(): void;
    attributeChangedCallback(/** @type {string} */ name: string): void;
    /** Soon, and once however much changes: frameworks set attributes one by one, and move elements. */
    refresh(): void;
    /** Show `snapshot`. */
    draw(): void;
    /** For elements: one arrived. @param {any} detail */
    notification(detail: any): void;
    /**
     * The page may take a click over: `bell-click`, cancelable.
     * @param {any} entry
     * @param {boolean} follows a link
     * @returns {boolean} whether the link is to be followed
     */
    clicked(entry: any, follows: boolean): boolean;
}
export {};
