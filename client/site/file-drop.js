/**
 * Take files that are dropped anywhere on the page.
 * @param {HTMLElement} hint shown while a file is held above the page
 * @param {(file: File) => void} onfile told of the first file dropped
 */
export function acceptDrops(hint, onfile) {
  const holdsFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes('Files') ?? false;
  addEventListener('dragover', (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    hint.hidden = false;
  });
  addEventListener('dragleave', (event) => {
    // The pointer has left the window, and not just one element for another.
    if (!event.relatedTarget) hint.hidden = true;
  });
  addEventListener('drop', (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    hint.hidden = true;
    const file = event.dataTransfer?.files[0];
    if (file) onfile(file);
  });
}
