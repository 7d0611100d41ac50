/**
 * The list of a feed with all that can be done with it: what a bell opens, and what an inbox is.
 * @module
 */
export type Filter = import("./reading.js").Filter;
export type BellElement = import("./element.js").BellElement;
export type Verb = import("./row.js").Verb;
/** Lists that are looked at: what arrives is seen there, and needs no toast. @type {Set<Panel>} */
export declare const watched: Set<Panel>;
export declare class Panel {
    #private;
    element: any;
    /**
     * @param {BellElement} host
     * @param {(() => void) | null} close for a panel that can be closed
     */
    constructor(host: BellElement, close: (() => void) | null);
    /** Begin to watch what is on the screen. */
    attach(): void;
    detach(): void;
    /** An opening ended: what was new is not new the next time, and nothing is drawn until then. */
    reset(): void;
    /** Where the keyboard begins. */
    focus(): void;
    /** The client will not have a mark. @param {any} detail */
    refused({ verb, error }: any): void;
    /** Everything that is shown here; what arrived meanwhile is spared. */
    markAllRead(): Promise<import("./inbox.js").Frame> | undefined;
    /** Brings everything in line with the client. Cheap where nothing changed. */
    draw(): void;
}
