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
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  set(element, properties);
  element.append(...children);
  return element;
}

/**
 * Writes only what differs: a text that is replaced by itself would be read out again, and selections lost.
 * @param {any} element
 * @param {Record<string, any>} values properties or attributes
 */
export function set(element, values) {
  for (const [name, value] of Object.entries(values)) {
    if (name in element) {
      if (element[name] !== value) element[name] = value;
    } else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  }
}

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  bell: "M18 9a6 6 0 1 0-12 0c0 6-2.5 7.5-2.5 7.5h17S18 15 18 9M9.8 20a2.5 2.5 0 0 0 4.4 0",
  read: "m5 12.5 4.5 4.5L19 7.5",
  archive: "M3.5 4.5h17V9h-17zM5.5 9v10.5h13V9M10 13h4",
  unarchive: "M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  close: "m6 6 12 12M18 6 6 18",
};

/**
 * @param {keyof typeof PATHS} name
 * @returns {SVGElement}
 */
export function icon(name) {
  const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS(SVG, tag));
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return /** @type {SVGElement} */ (svg);
}
