/**
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id of an element that the page is known to have
 * @returns {T}
 */
export function byId(id) {
  return /** @type {T} */ (document.getElementById(id));
}

/**
 * Write a text where it differs, so that screen readers hear it once.
 * @param {HTMLElement} element
 * @param {string} text
 */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Let people use the page. Until its script runs, what they press would do nothing, and nobody would say so. */
export function enablePage() {
  /** @type {HTMLElement} */ (document.querySelector('main')).inert = false;
}
