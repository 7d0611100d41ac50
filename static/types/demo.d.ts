/**
 * The demo page of a hub in development mode: two devices of one user, a send panel, and the frames as they pass.
 * Everything that came from a hub is put into the page as text, never as markup.
 * @module
 */
import "./bell.js";
export type Frame = import("./inbox.js").Frame;
export type Snapshot = import("./client.js").Snapshot;
export type Counts = Snapshot["counts"];
