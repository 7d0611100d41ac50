/**
 * Building elements without markup: nothing here can turn text into elements, and no style attribute is written,
 * so that pages may forbid both (`Content-Security-Policy: default-src 'self'`).
 * @module
 */
/**
 * An element with properties or, where it has no such property, attributes.
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string)} children strings become text
 * @returns {any}
 */
export declare function make(tag: string, properties?: Record<string, any>, ...children: (Node | string)[]): any;
/**
 * Writes only what differs: a text that is replaced by itself would be read out again, and selections lost.
 * @param {any} element
 * @param {Record<string, any>} values properties or attributes
 */
export declare function set(element: any, values: Record<string, any>): void;
declare const PATHS: {
    bell: string;
    read: string;
    archive: string;
    unarchive: string;
    close: string;
};
/**
 * @param {keyof typeof PATHS} name
 * @returns {SVGElement}
 */
export declare function icon(name: keyof typeof PATHS): SVGElement;
export {};
