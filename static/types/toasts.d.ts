/**
 * What is told outside of a list: `<notification-toasts>`, the count in the title of the page, desktop notifications.
 * @module
 */
import { BellElement } from "./element.js";
/** Bells whose panel is open: who looks at a list needs no toast. */
export declare const panels: Set<any>;
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
    draw(): void;
    notification(/** @type {any} */ { entry }: any): undefined;
}
export type Bell = import("./bell.js").NotificationBell;
/** @typedef {import("./bell.js").NotificationBell} Bell */
/**
 * What the state of a bell, drawn or removed, means outside of it: for toasts, and for the title of the page, which
 * has the count before it (`title-count`) until that is 0, and again when the page has changed it.
 * @param {Bell} bell
 */
export declare function outside(bell: Bell): void;
