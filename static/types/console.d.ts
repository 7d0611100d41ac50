/**
 * The operator's console: the feed, the badge and the sessions of any user, and the hub they are on.
 * Everything that came from a hub is put into the page as text, never as markup.
 * @module
 */
export type Project = {
    id: string;
    name: string;
    api_key: string;
    channels: {
        id: string;
        handle: string;
    }[];
};
export type Subject = {
    project: Project;
    channel: string;
    user: string;
};
