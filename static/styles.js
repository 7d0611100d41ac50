/**
 * How the elements look. One constructed sheet for all of them: no inline style, so pages may forbid it.
 * @module
 */

// `all: initial`: what a header says of its own texts (nowrap, capitals) is not meant for a panel in it.
const css = `
:host {
  --_accent: var(--bell-accent, light-dark(#4f46e5, #a5a9ff));
  --_surface: var(--bell-surface, light-dark(#fff, #1a1b20));
  --_text: var(--bell-text, light-dark(#191b22, #eeeef2));
  --_muted: var(--bell-muted, light-dark(#5c6170, #a3a8b8));
  --_line: var(--bell-line, #8883);
  --_hover: var(--bell-hover, #8881);
  --_new: var(--bell-new, light-dark(#f3f3ff, #22233a));
  --_radius: var(--bell-radius, 14px);
  display: inline-block;
  font-size: 0.875rem;
  line-height: 1.45;
}
.panel, .toasts{all: initial; visibility: inherit; font-family: inherit; font-size: inherit; line-height: inherit; color-scheme: inherit; color: var(--_text)}
[popover]{--_width: min(var(--bell-width, 25rem), 100vw - 2rem); position: fixed; width: var(--_width)}
[popover]:not(:popover-open){display: none}
:host(notification-inbox){display: flex; max-height: 100%}
:host([hidden]), [hidden]{display: none !important}
:host([theme=light]){color-scheme: light}
:host([theme=dark]){color-scheme: dark}
:host([theme=auto]){color-scheme: light dark}
*{box-sizing: border-box}
button{font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; text-align: start}
:focus-visible{outline: 2px solid var(--_accent); outline-offset: 2px}
svg{display: block; margin: auto; width: 1.25em; fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round}
.bell{position: relative; display: grid; place-items: center; width: 2.5rem; height: 2.5rem; border-radius: 50%; font-size: 1.1em}
.bell:hover, .bell[aria-expanded=true]{background: #8883}
.bell.off > slot{opacity: 0.5; transition: opacity 0s 2.5s}
.badge{position: absolute; top: 1px; inset-inline-start: 55%; min-width: 1.2rem; padding-inline: 0.25rem; border-radius: 2rem; font-size: 0.7rem; font-weight: 600; line-height: 1.2rem; text-align: center; color: var(--bell-badge-text, #fff); background: var(--bell-badge, #d92d20)}
.dot{position: absolute; top: 0.5rem; inset-inline-end: 0.55rem; width: 0.5rem; height: 0.5rem; border-radius: 50%; background: var(--_accent)}
.panel{flex: 1; display: flex; flex-direction: column; background: var(--_surface); overflow: auto}
.panel[popover]{max-height: min(var(--bell-height, 36rem), var(--room)); border-radius: var(--_radius); box-shadow: var(--bell-shadow, 0 0 0 1px var(--_line), 0 20px 40px -8px #0004)}
.header{padding: 1rem 1.25rem 0.75rem; border-bottom: 1px solid var(--_line)}
.head, [role=toolbar]{display: flex; flex-wrap: wrap; align-items: center; gap: 0.25rem}
.head{margin-inline-end: -0.6rem}
[role=toolbar]{margin: 0.6rem -0.6rem 0}
[part=mark-all], [part=close]{margin-inline-start: auto}
h2{flex: 1; margin: 0; font-size: 1.125rem; font-weight: 600; outline: 0}
.plain{padding: 0.25rem 0.6rem; border-radius: 0.6rem; font-weight: 600; text-align: center; color: var(--_accent); white-space: nowrap}
[part=filter], [part=close]{font-weight: 500; color: var(--_muted)}
.plain:hover, [aria-pressed=true]{color: var(--_text); background: var(--_hover)}
[aria-pressed=true]{box-shadow: 0 0 0 1px var(--_line)}
.scroll{flex: 1; min-height: min(9rem, 20dvh); overflow-y: auto; overscroll-behavior: contain}
.edge{display: block; height: 1px; margin-top: -1px; visibility: hidden}
.end{height: 24rem; margin-top: -24rem}
.pill{position: sticky; z-index: 1; top: 0.6rem; display: block; margin: 0.6rem auto -2.6rem; padding: 0 1rem; height: 2rem; border-radius: 2rem; font-weight: 600; color: var(--_surface); background: var(--_accent)}
.pill::before{content: "↑ "}
ul{list-style: none; margin: 0; padding: 0}
li{position: relative; display: flex; content-visibility: auto; contain-intrinsic-size: auto 5rem}
li + li{border-top: 1px solid var(--_line)}
li.new{background: var(--_new)}
li:hover{background-image: linear-gradient(var(--_hover) 0 0)}
li > .dot{top: 1.9rem; inset-inline: 0.45rem auto}
li:not(.unread) > .dot{visibility: hidden}
.main{flex: 1; min-width: 0; display: flex; gap: 0.75rem; padding: 1rem 1.25rem; color: inherit; text-decoration: none}
.main:focus-visible{outline-offset: -3px}
.face{flex: none; display: grid; place-items: center; width: 2.25rem; height: 2.25rem; border-radius: 50%; overflow: hidden; font-size: 0.8rem; font-weight: 600; color: var(--_accent); background: #8883}
img{width: 100%}
.what{flex: 1; overflow-wrap: anywhere}
.what > *{display: block; text-align: match-parent; text-align: -webkit-match-parent}
.unread .title{font-weight: 600}
.text, time, .away, .empty{color: var(--_muted)}
.text{display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden}
.meta, .away{font-size: 0.8rem; margin-top: 0.25rem}
.important{font-weight: 600; color: light-dark(#b42318, #fda29b)}
.hidden{position: absolute; clip-path: inset(50%)}
.actions{position: absolute; bottom: 0.4rem; inset-inline-end: 0.4rem; display: flex; padding: 2px; border-radius: 0.6rem; color: var(--_muted); background: var(--_surface); box-shadow: 0 0 0 1px var(--_line); opacity: 0}
li:hover .actions, li:has(:focus-visible) .actions{opacity: 1}
.actions button{padding: 0.4rem; border-radius: 0.6rem}
.actions button:hover{color: var(--_text)}
button.off[data-verb]{display: none}
@media (hover: none) {
  .actions{position: static; flex-direction: column; align-self: center; margin-inline-end: 0.6rem; opacity: 1; box-shadow: none; background: none}
  button{min-width: 44px; min-height: 44px}
}
:host(notification-toasts){display: contents}
.toasts{bottom: 1rem; inset-inline-end: 1rem; max-height: calc(100% - 2rem); overflow-y: auto}
.toasts li{margin-bottom: 0.6rem; border: 1px solid var(--_line); border-radius: var(--_radius); background: var(--_surface)}
.skeleton{padding: 0.25rem 1.25rem; animation: appear 0s 0.15s both}
.skeleton i{display: block; height: 2.5rem; margin-block: 1rem; border-radius: 2rem; background: var(--_line)}
.empty{display: grid; justify-items: center; gap: 0.25rem; padding: 3rem 2rem; text-align: center}
.empty strong{color: var(--_text)}
.note{display: flex; align-items: center; justify-content: space-between; gap: 0.6rem; margin: 0.6rem; padding: 0.6rem; padding-inline-start: 1.25rem; border-radius: 0.6rem; color: var(--_surface); background: var(--_text)}
.note *{color: inherit; outline-color: currentColor; overflow-wrap: anywhere}
.note .plain:hover{background: none}
.away{padding: 0.6rem 1.25rem; border-top: 1px solid var(--_line); animation: unfold 0s 2.5s both}
@keyframes appear{from{visibility: hidden} }
@keyframes unfold{from{display: none} }
@keyframes rise{from{opacity: 0; transform: translateY(-4px)} }
@media (max-width: 480px) {
  .panel[popover]{inset: auto 0 0 !important; width: 100%; max-height: 85dvh; border-radius: var(--_radius) var(--_radius) 0 0}
  .panel::backdrop{background: #0006}
}
@media (prefers-reduced-motion: no-preference) {
  .panel[popover], .pill, .note, .toasts li{animation: rise 0.16s}
}
@media (prefers-contrast: more) {
  :host{--_muted: var(--_text); --_line: var(--_text)}
}
@media (forced-colors: active) {
  .dot{forced-color-adjust: none; background: Highlight}
  .badge, .panel, .pill, .note, .actions, [aria-pressed=true]{border: 1px solid}
}
`;

/** @type {CSSStyleSheet | undefined} */
let made;

/** @returns {CSSStyleSheet} */
export function sheet() {
  if (!made) {
    made = new CSSStyleSheet();
    made.replaceSync(css);
  }
  return made;
}
