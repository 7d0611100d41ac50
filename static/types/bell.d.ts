/**
 * `<notification-bell>`, `<notification-inbox>` and `<notification-toasts>`: one script tag, no build.
 *
 *     <script type="module" src="static/bell.js"></script>
 *     <notification-bell api-key="pk_…" token-endpoint="/notification-token">
 *       <a href="/notifications">Notifications</a>
 *     </notification-bell>
 * @module
 */
import { BellElement } from "./element.js";
import { Panel } from "./panel.js";
/**
 * A bell with a badge, which opens a list.
 *
 * Attributes besides those of `BellElement`: `placement` (`bottom-end`, `bottom-start`, `top-end`, `top-start`),
 * `theme` (`light`, `dark`, `auto`; without it the page's own), `max-badge` (99), `open`, `title-count`
 * (the badge in the title of the page too).
 */
export declare class NotificationBell extends BellElement {
    #private;
    static observedAttributes: string[];
    panel: Panel;
    constructor();
    connectedCallback(): void;
    disconnectedCallback(): void;
    attributeChangedCallback(/** @type {string} */ name: string): void;
    get isOpen(): any;
    /**
     * A method; and to be set, since frameworks set a property where an element has one of an attribute's name.
     * @returns {() => void}
     */
    get open(): () => void;
    set open(/** @type {any} */ open: any);
    close(): void;
    /** @param {boolean} [open] */
    toggle(open?: boolean): void;
    focus(): void;
    draw(): void;
    clicked(/** @type {any} */ entry: any, /** @type {boolean} */ follows: boolean): boolean;
}
/** The list without a bell, for a page or a side bar of its own. Attributes: those of `BellElement`, and `theme`. */
export declare class NotificationInbox extends BellElement {
    panel: Panel;
    constructor();
}
