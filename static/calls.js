/**
 * Calls to the hub as its operator, each of them told as it was made. Only the operator's key is left out.
 * @module
 */

/** Stands in the place of the key wherever a call is shown. */
export const BLOT = "••••••••";
const KEY_HEADER = "x-bellhub-operator";
/** Where a shell finds the key of a call that was copied: the setting of the hub. */
const KEY_VARIABLE = "$BELLHUB_CONSOLE_KEY";

/**
 * What to ask. `apiKey` names the project, `user` whom it is done for.
 * @typedef {{apiKey?: string, user?: string, query?: Record<string, string>, body?: unknown}} Said
 */
/**
 * One call as it was made. `status` 0: nobody answered. `answer` is JSON where it is JSON, else text.
 * @typedef {{method: string, url: URL, headers: Record<string, string>, body?: unknown, at: Date, ms: number,
 *   status: number, answer: unknown, requestId: string | null}} Call
 */

/** A call that did not do what it was to do. `status` 0: nobody answered. */
export class CallError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The way to one hub with the operator's key, which is kept here and nowhere else. Event `call` {detail: Call}. */
export class Calls extends EventTarget {
  #key;

  /** @param {string} key */
  constructor(key) {
    super();
    this.#key = key;
  }

  /**
   * What the hub answers; null where there is nothing in the answer. Throws CallError.
   * @param {string} method
   * @param {string} path below the hub's own address; names in it percent-encoded
   * @param {Said} said
   * @returns {Promise<any>}
   */
  async ask(method, path, { apiKey, user, query, body } = {}) {
    const url = new URL(path, document.baseURI);
    url.search = new URLSearchParams(query).toString();
    /** @type {Record<string, string>} */
    const headers = { [KEY_HEADER]: BLOT };
    if (apiKey !== undefined) headers["x-notiflows-api-key"] = apiKey;
    if (user !== undefined) headers["x-bellhub-user"] = user;
    if (body !== undefined) headers["content-type"] = "application/json";
    const call = { method, url, headers, body, at: new Date(), ms: 0, status: 0, answer: null, requestId: null };
    await this.#make(call);
    if (call.status >= 200 && call.status < 300) return call.answer;
    throw new CallError(call.status, reason(call));
  }

  /** @param {Call} call */
  async #make(call) {
    const began = performance.now();
    try {
      const response = await fetch(call.url, {
        method: call.method,
        headers: { ...bytes(call.headers), [KEY_HEADER]: this.#key },
        body: call.body === undefined ? undefined : JSON.stringify(call.body),
        cache: "no-store",
        credentials: "omit",
        redirect: "error", // the key is for this hub
      });
      call.answer = read(await response.text());
      call.status = response.status;
      call.requestId = response.headers.get("x-request-id");
    } catch (error) {
      call.answer = error instanceof Error ? error.message : String(error);
    }
    call.ms = Math.round(performance.now() - began);
    this.dispatchEvent(new CustomEvent("call", { detail: call }));
  }
}

/**
 * The call for a shell, which takes the key from its environment.
 * @param {Call} call
 */
export function curl({ method, url, headers, body }) {
  const parts = [`curl -X ${method} ${quoted(url.href)}`];
  for (const [name, value] of Object.entries(headers)) {
    parts.push(`-H ${name === KEY_HEADER ? `"${name}: ${KEY_VARIABLE}"` : quoted(`${name}: ${value}`)}`);
  }
  if (body !== undefined) parts.push(`-d ${quoted(JSON.stringify(body))}`);
  return parts.join(" \\\n  ");
}

/** @param {string} text */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * `fetch` takes a character a byte; the hub reads UTF-8.
 * @param {Record<string, string>} headers
 */
function bytes(headers) {
  const encoder = new TextEncoder();
  const encoded = (/** @type {string} */ text) => String.fromCharCode(...encoder.encode(text));
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, encoded(value)]));
}

/** @param {string} text */
function read(text) {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return text;
  }
}

/** @param {Call} call */
function reason({ status, answer }) {
  if (status === 0) return "the hub does not answer";
  return /** @type {any} */ (answer)?.error?.message ?? `the hub answers ${status}`;
}
