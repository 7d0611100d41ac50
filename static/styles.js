/**
 * How the elements look. One constructed sheet for all of them: no inline style, so pages may forbid it.
 * @module
 */

const css = `
:host {
  --_accent: var(--bell-accent, light-dark(#4f46e5, #a5a9ff));
  --_surface: var(--bell-surface, light-dark(#fff, #1a1b20));
  --_text: var(--bell-text, light-dark(#191b22, #eeeef2));
  --_muted: var(--bell-muted, light-dark(#5c6170, #a3a8b8));
  --_line: var(--bell-line, light-dark(#e9eaef, #2e3038));
  --_hover: var(--bell-hover, light-dark(#f5f6f9, #23252c));
  --_new: var(--bell-new, light-dark(#f3f3ff, #22233a));
  --_badge: var(--bell-badge, #d92d20);
  --_badge-text: var(--bell-badge-text, #fff);
  --_radius: var(--bell-radius, 14px);
  --_shadow: var(--bell-shadow, 0 0 0 1px light-dark(#1018280f, #ffffff14), 0 4px 8px -2px #1018280f, 0 20px 40px -8px light-dark(#10182833, #000a));
  --_width: var(--bell-width, 25rem);
  --_height: var(--bell-height, 36rem);
  display: inline-block;
  font-size: 0.875rem;
  line-height: 1.45;
}
:host(notification-inbox) { display: flex; max-height: 100%; min-height: 0; }
:host([hidden]) { display: none; }
:host([theme=light]) { color-scheme: light; }
:host([theme=dark]) { color-scheme: dark; }
:host([theme=auto]) { color-scheme: light dark; }
*, ::before { box-sizing: border-box; }
[hidden] { display: none !important; }
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; margin: 0; cursor: pointer; text-align: start; -webkit-tap-highlight-color: transparent; }
:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
svg { display: block; width: 1.25em; height: 1.25em; fill: none; stroke: currentColor; stroke-width: 1.7; stroke-linecap: round; stroke-linejoin: round; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.bell { position: relative; display: grid; place-items: center; width: 2.5rem; height: 2.5rem; border-radius: 50%; font-size: 1.1em; transition: background 0.15s; }
.bell:hover, .bell[aria-expanded=true] { background: color-mix(in srgb, currentColor 9%, transparent); }
.bell.off > svg, .bell.off > slot { opacity: 0.45; transition: opacity 0.3s 2.5s; }
.badge { position: absolute; inset-block-start: 1px; inset-inline-start: 55%; min-width: 1.2rem; height: 1.2rem; padding-inline: 0.3rem; border-radius: 1rem; font-size: 0.6875rem; font-weight: 650; line-height: 1.2rem; text-align: center; font-variant-numeric: tabular-nums; color: var(--_badge-text); background: var(--_badge); animation: pop 0.25s ease-out; }
.dot { width: 0.5rem; height: 0.5rem; border-radius: 50%; background: var(--_accent); }
.bell .dot { position: absolute; inset-block-start: 0.5rem; inset-inline-end: 0.55rem; }

.panel { flex: 1; display: flex; flex-direction: column; min-height: 0; min-width: 0; color: var(--_text); background: var(--_surface); overflow: hidden; }
.panel[popover] { display: none; position: fixed; inset: auto; margin: 0; padding: 0; border: 0; width: min(var(--_width), 100vw - 1rem); max-height: min(var(--_height), var(--room, 100vh)); border-radius: var(--_radius); box-shadow: var(--_shadow); text-align: start; white-space: normal; animation: rise 0.16s ease-out; }
.panel:popover-open { display: flex; }
header { padding: 1.1rem 1.25rem 0.75rem; border-bottom: 1px solid var(--_line); }
.head { display: flex; align-items: center; gap: 0.5rem; min-height: 2rem; }
h2 { flex: 1; margin: 0; font-size: 1.125rem; font-weight: 650; letter-spacing: -0.01em; line-height: 1.3; }
h2:focus { outline: 0; }
[role=toolbar], .filters { display: flex; flex-wrap: wrap; align-items: center; gap: 0.25rem; }
[role=toolbar] { justify-content: space-between; margin-block-start: 0.6rem; min-height: 1.9rem; }
.filters { margin-inline-start: -0.6rem; }
.filters button, .plain { padding: 0.25rem 0.6rem; border-radius: 0.5rem; font-weight: 500; color: var(--_muted); transition: background 0.12s, color 0.12s; }
.filters button:hover, .plain:hover { background: var(--_hover); color: var(--_text); }
.filters [aria-pressed=true] { color: var(--_text); background: var(--_hover); font-weight: 600; }
.plain { color: var(--_accent); font-weight: 600; white-space: nowrap; }
[role=toolbar] .plain { margin-inline-end: -0.6rem; }
.plain.icon { padding: 0.4rem; margin-inline-end: -0.4rem; color: var(--_muted); }

.scroll { flex: 1; min-height: 9rem; overflow-y: auto; overscroll-behavior: contain; scrollbar-width: thin; scrollbar-color: var(--_line) transparent; }
.edge { display: block; height: 1px; margin-block-end: -1px; visibility: hidden; pointer-events: none; }
.end { height: 24rem; margin-block: -24rem 0; }
[part=pill] { position: sticky; z-index: 1; inset-block-start: 0.6rem; display: block; margin: 0.6rem auto -2.6rem; padding: 0.3rem 0.9rem; height: 2rem; border-radius: 2rem; font-weight: 600; color: var(--_surface); background: var(--_accent); box-shadow: 0 4px 14px #10182840; animation: rise 0.16s ease-out; }
[part=pill]::before { content: "↑ "; }
ul { list-style: none; margin: 0; padding: 0; }
li { position: relative; display: flex; align-items: start; content-visibility: auto; contain-intrinsic-size: auto 5rem; }
li + li { border-top: 1px solid var(--_line); }
li.new { background: var(--_new); }
li:hover { background: var(--_hover); }
li.new:hover { background: color-mix(in srgb, var(--_new), var(--_accent) 6%); }
li > .dot { position: absolute; inset-block-start: 1.95rem; inset-inline-start: 0.45rem; visibility: hidden; }
li.unread > .dot { visibility: visible; }
.main { flex: 1; min-width: 0; display: flex; gap: 0.8rem; padding: 0.95rem 1.25rem; color: inherit; text-decoration: none; }
.main:focus-visible { outline-offset: -3px; border-radius: 6px; }
.face { flex: none; display: grid; place-items: center; width: 2.25rem; height: 2.25rem; border-radius: 50%; overflow: hidden; font-size: 0.8rem; font-weight: 650; color: var(--_accent); background: color-mix(in srgb, var(--_accent) 12%, var(--_surface)); }
.face img { width: 100%; height: 100%; object-fit: cover; }
.what { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.what > span:not(.hidden) { display: block; }
.title, .text { text-align: -webkit-match-parent; text-align: match-parent; }
.title { font-weight: 450; }
.unread .title { font-weight: 620; }
.text { color: var(--_muted); display: -webkit-box !important; -webkit-box-orient: vertical; -webkit-line-clamp: 3; overflow: hidden; }
.text:empty { display: none !important; }
.meta { margin-block-start: 0.2rem; font-size: 0.78rem; color: var(--_muted); }
.important:not(:empty) { margin-inline-start: 0.35rem; padding: 0.05rem 0.4rem; border-radius: 0.4rem; font-weight: 600; color: light-dark(#b42318, #fda29b); background: light-dark(#fef1f0, #43201d); }
.actions { position: absolute; inset-block-end: 0.6rem; inset-inline-end: 0.75rem; display: flex; gap: 1px; padding: 2px; border-radius: 0.6rem; background: var(--_surface); box-shadow: 0 0 0 1px var(--_line), 0 2px 6px #1018281a; opacity: 0; transition: opacity 0.12s; }
li:hover .actions, .actions:focus-within { opacity: 1; }
li:has(:focus-visible) .actions { opacity: 1; }
.actions button { padding: 0.35rem; border-radius: 0.5rem; color: var(--_muted); font-size: 0.95em; }
.actions button:hover { color: var(--_text); background: var(--_hover); }
.actions button:focus-visible { outline-offset: -2px; }
.off:where(button[data-verb]) { display: none; }
@media (hover: none) {
  .actions { position: static; flex-direction: column; align-self: center; margin-inline-end: 0.6rem; opacity: 1; box-shadow: none; background: none; }
  .actions button { padding: 0.7rem; }
  .main { padding-inline-end: 0.5rem; }
}

.skeleton { padding: 0.5rem 1.25rem; animation: appear 0s 0.15s both; }
.skeleton i { display: block; position: relative; height: 4.6rem; }
.skeleton i::before { content: ""; position: absolute; inset-block: 0.6rem auto; inset-inline: 0; height: 2.25rem; background:
  radial-gradient(circle at 1.125rem, var(--_line) 1.1rem, transparent 1.13rem); animation: pulse 1.6s ease-in-out infinite; }
.skeleton i::after { content: ""; position: absolute; inset-block-start: 0.75rem; inset-inline: 3.05rem 20%; height: 0.7rem; border-radius: 1rem; background: var(--_line); box-shadow: 0 1.2rem 0 var(--_line); animation: pulse 1.6s ease-in-out infinite; }
.empty { display: grid; justify-items: center; gap: 0.35rem; padding: 3.25rem 2rem 3.5rem; text-align: center; color: var(--_muted); text-wrap: balance; }
.empty strong { color: var(--_text); font-size: 1rem; font-weight: 620; }
.empty .face { width: 3.25rem; height: 3.25rem; margin-block-end: 0.6rem; font-size: 1.2rem; }
.empty .plain { margin-block-start: 0.4rem; }
.note { display: flex; align-items: center; justify-content: space-between; gap: 0.75rem; margin: 0.6rem; padding-block: 0.5rem; padding-inline: 1rem 0.5rem; min-height: 2.75rem; border-radius: 0.7rem; color: var(--_surface); background: var(--_text); animation: rise 0.16s ease-out; }
.note span { min-width: 0; overflow: hidden; text-overflow: ellipsis; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; }
.note .plain { color: inherit; text-decoration: underline; text-underline-offset: 3px; }
.note .plain:hover { background: color-mix(in srgb, currentColor 15%, transparent); }
.note :focus-visible { outline-color: currentColor; }
.away { padding: 0.45rem 1.25rem; border-top: 1px solid var(--_line); font-size: 0.78rem; color: var(--_muted); animation: unfold 0s 2.5s both; }

@keyframes appear { from { visibility: hidden; } to { visibility: visible; } }
@keyframes unfold { from { display: none; visibility: hidden; } to { display: block; visibility: visible; } }
@keyframes pop { from { transform: scale(0.5); } }
@keyframes rise { from { opacity: 0; transform: translateY(-4px); } }
@keyframes pulse { 50% { opacity: 0.45; } }
@media (max-width: 480px) {
  .panel[popover] { inset: auto 0 0 0 !important; width: 100%; max-width: none; max-height: 85dvh; border-radius: var(--_radius) var(--_radius) 0 0; padding-block-end: env(safe-area-inset-bottom); }
  .panel[popover]::backdrop { background: #10182866; }
}
@media (prefers-reduced-motion: reduce) {
  .badge, .panel, [part=pill], .note, .skeleton i::before, .skeleton i::after { animation: none !important; }
  * { transition: none !important; }
}
@media (prefers-contrast: more) {
  :host { --_muted: var(--_text); --_line: var(--_text); }
}
@media (forced-colors: active) {
  .dot { forced-color-adjust: none; background: Highlight; }
  .badge, .panel[popover], [part=pill], .note, .actions { border: 1px solid; }
  .filters [aria-pressed=true] { outline: 1px solid Highlight; }
  li.new { border-inline-start: 3px solid Highlight; }
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
