/**
 * A bell in a React application (React 19 or newer): the element as it is, and the same client for whatever is drawn
 * by the application itself. Both share one socket, and always show the same.
 *
 * Bundlers leave imports from an address alone; the browser loads them from the hub, whose types are at
 * `static/types/`.
 */

import { useEffect, useSyncExternalStore } from "react";
import { createRoot } from "react-dom/client";
import "https://bell.example.com/static/bell.js";
import { BellhubClient } from "https://bell.example.com/static/client.js";

/** One for the application, and outside of it: a component that is drawn twice must not connect twice. */
const bell = new BellhubClient({
  url: "https://bell.example.com/ws/v1",
  apiKey: "pk_…",
  channel: "inbox",
  async getToken() {
    const answer = await fetch("/bell-token");
    if (answer.status === 401) return null; // nobody is signed in
    if (!answer.ok) throw new Error(`no token: ${answer.status}`);
    return answer.text();
  },
});

const subscribe = (fn) => bell.subscribe(fn);
const getSnapshot = () => bell.getSnapshot();

/** What the hub says of this user: `{state, counts, entries, …}`. Drawn again when it changes. */
export function useBell() {
  useEffect(() => bell.connect(), []);
  return useSyncExternalStore(subscribe, getSnapshot);
}

/** `navigate` is the router's. */
export function Header({ navigate }) {
  const follow = (event) => {
    event.preventDefault();
    navigate(event.detail.entry.data.action_url);
  };
  return (
    <header>
      <notification-bell client={bell} onbell-click={follow}>
        <a href="/notifications">Notifications</a>
      </notification-bell>
    </header>
  );
}

/** A list of the application's own. */
export function Latest() {
  const { counts, entries } = useBell();
  return (
    <section aria-label="Latest">
      <p>{counts.unread} unread</p>
      <ul>
        {entries.slice(0, 5).map(({ id, data, read_at }) => (
          <li key={id}>
            {data.title} {!read_at && <button onClick={() => bell.mark("read", [id])}>Read</button>}
          </li>
        ))}
      </ul>
      <button onClick={() => bell.markAll("read")}>Read all</button>
    </section>
  );
}

function Application() {
  return (
    <>
      <Header navigate={(url) => history.pushState(null, "", url)} />
      <Latest />
    </>
  );
}

createRoot(document.getElementById("root")).render(<Application />);
