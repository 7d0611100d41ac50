/**
 * Everything the elements say, and how a language counts.
 * @module
 */
/** `{n}`, `{title}` and `{error}` are filled in; a map has a text for each plural category of the language. */
export declare const english: {
    bell: string;
    bellNew: string;
    bellUnread: string;
    heading: string;
    filters: string;
    all: string;
    unread: string;
    archived: string;
    markAll: string;
    close: string;
    pill: string;
    arrived: {
        one: string;
        other: string;
    };
    important: string;
    read: string;
    archive: string;
    unarchive: string;
    archiveDone: string;
    unarchiveDone: string;
    undo: string;
    undoKey: string;
    allEmpty: string;
    allEmptyMore: string;
    unreadEmpty: string;
    unreadEmptyMore: string;
    archivedEmpty: string;
    archivedEmptyMore: string;
    reconnecting: string;
    closed: string;
    nobody: string;
    signed_out: string;
    other_user: string;
    retry: string;
    desktop: string;
    failed: string;
};
export type Strings = Record<string, string | Partial<Record<Intl.LDMLPluralRule, string>>>;
export type Translate = (key: keyof typeof english, values?: {
    n?: number;
    title?: string;
    error?: string;
}) => string;
/** @typedef {Record<string, string | Partial<Record<Intl.LDMLPluralRule, string>>>} Strings */
/** @typedef {(key: keyof typeof english, values?: {n?: number, title?: string, error?: string}) => string} Translate */
/**
 * @param {Strings} strings what differs from English
 * @param {string | undefined} lang BCP 47
 * @returns {Translate}
 */
export declare function translator(strings: Strings, lang: string | undefined): Translate;
/**
 * A language that `Intl` takes, or none: what pages write into `lang` may be anything.
 * @param {string | null | undefined} lang
 * @returns {string | undefined}
 */
export declare function language(lang: string | null | undefined): string | undefined;
