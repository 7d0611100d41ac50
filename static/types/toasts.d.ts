/**
 * What is told outside of a list: `<notification-toasts>`, the count in the title of the page, desktop notifications.
 * @module
 */
import { BellElement } from "./element.js";
/**
 * Notifications that arrive while the page is looked at and no panel is open. Attributes besides those of
 * `BellElement`: `desktop`: those that arrive while no tab is looked at become notifications of the system, if
 * somebody has allowed it by the button under the toasts.
 */
export declare class NotificationToasts extends BellElement {
    #private;
    constructor();
    connectedCallback(): void;
    disconnectedCallback(): void;
    /** Ask for desktop notifications. Only from a click: browsers hold it against pages that ask by themselves. */
    allowDesktop(): void;
    /** A focus that leaves with its toast goes on to the next, and from the last one back. */
    draw(dismiss?: boolean): void;
    notification(/** @type {any} */ { entry }: any): undefined;
}
export type Bell = import("./bell.js").NotificationBell;
/** @typedef {import("./bell.js").NotificationBell} Bell */
/**
 * The title of the page has the count of a bell with `title-count` before it, until that is 0 or the bell is removed,
 * and again when the page has changed it.
 * @param {Bell} bell
 */
export declare function countInTitle(bell: Bell): void;
